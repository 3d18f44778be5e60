"""A mixture of 200 million parameters and the dense model of its arithmetic, trained on a GPU: loss, speed, balance.

The text is Python: the standard library and torch, as they are installed; every twentieth file is held out. Byte
tokens. One seed each, so the difference is an observation and has no interval. Products are bfloat16, by autocast;
weights and the optimizer's state float32.
"""

import hashlib
import math
import sysconfig
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measurement import Measurement, Samples
from kb import runtime, training
from kb.lm import DecoderLM, ModelConfig
from kb.moe import RouterConfig, max_violation
from kb.moe import language_model as moe_lm

DEVICES = ("cuda",)
WIDTH, LAYERS, HEADS, INNER, LENGTH, BATCH = 512, 8, 8, 2048, 512, 64
EXPERTS, TOP_K, STEPS, BALANCE, RATE = 16, 2, 500, 0.01, 1e-3
HELD_OUT_WINDOWS, EVERY = 1024, 20
_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests"}


def measure(device: torch.device) -> Measurement:
    """Train both on the same windows; assert that the mixture ends lower and that no expert is idle."""
    text_N, held_out_N = corpus([Path(sysconfig.get_path("stdlib")), Path(torch.__file__).parent])
    held_out = list(training.all_windows(held_out_N, LENGTH, BATCH))[: max(1, HELD_OUT_WINDOWS // BATCH)]
    held_out = [tokens.to(device) for tokens in held_out]
    config = ModelConfig(
        vocab_size=256,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_layers=LAYERS,
        num_heads=HEADS,
        num_kv_heads=HEADS,
        head_dim=WIDTH // HEADS,
        max_positions=LENGTH,
    )
    samples: dict[str, Samples] = {}
    facts: dict[str, Any] = {"bytes of text": len(text_N), "steps": STEPS, "bytes a step": BATCH * LENGTH}
    losses: dict[str, float] = {}
    for name in ("dense", f"{EXPERTS} experts"):
        router = RouterConfig(EXPERTS, TOP_K, check_logits=False)
        model = DecoderLM(config) if name == "dense" else moe_lm.moe_language_model(config, router)
        training.initialize(model, seed=0)
        model.to(device)
        steps, milliseconds = _train(model, training.random_windows(text_N, LENGTH, BATCH, seed=0), device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            losses[name] = training.evaluate(model, held_out) / math.log(2)
        samples[f"{name}, step"] = Samples("ms", milliseconds)
        samples[f"{name}, loss on the batch"] = Samples("bits a byte", _every(steps))
        facts[f"{name}, parameters"] = sum(parameter.numel() for parameter in model.parameters())
        facts[f"{name}, held out, bits a byte"] = round(losses[name], 4)
        if name != "dense":
            with torch.autocast(device.type, dtype=torch.bfloat16):
                load_LE = moe_lm.load_over(model, held_out).sum(0)
            facts["MaxVio by layer, held out"] = [round(float(max_violation(load_E)), 3) for load_E in load_LE]
            facts["least share of an expert"] = round(float((load_LE / load_LE.sum(1, keepdim=True)).min()), 4)
    assert losses[f"{EXPERTS} experts"] < losses["dense"], f"held out, bits a byte: {losses}"
    assert facts["least share of an expert"] > 0, "an expert is idle on the held-out text"
    return Measurement(
        title=f"Decoders on Python as bytes: D {WIDTH}, {LAYERS} layers, inner width {INNER}; {EXPERTS} experts of "
        f"{INNER // TOP_K}, top {TOP_K}; bfloat16 autocast",
        method=f"{STEPS} steps of {BATCH} windows of {LENGTH} bytes, one seed; times of a step after the first tenth",
        samples=samples,
        ratios={"step, experts / dense": (f"{EXPERTS} experts, step", "dense, step")},
        facts=facts,
    )


def corpus(folders: Iterable[Path]) -> tuple[Tensor, Tensor]:
    """The Python files of folders, in the order of their names, as bytes to train on and bytes held out.

    A file is held out by the hash of its own text, so that copies of it are as well.
    """
    kept: tuple[list[str], list[str]] = ([], [])
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if _LEFT_OUT.isdisjoint(path.relative_to(folder).parts):
                text = path.read_text(encoding="utf-8", errors="ignore")
                digest = hashlib.sha256(text.encode()).digest()
                kept[int.from_bytes(digest[:4], "big") % EVERY == 0].append(text)
    train_N, held_out_N = (training.encode_bytes("\n\n".join(texts)) for texts in kept)
    return train_N, held_out_N


def _train(model: nn.Module, windows: Iterable[Tensor], device: torch.device) -> tuple[list[float], list[float]]:
    """Loss of the next token by step, in bits a byte, and milliseconds of a step once it runs evenly."""
    config = training.TrainConfig(STEPS, RATE, warmup=STEPS // 20, autocast=torch.bfloat16)
    ends: list[float] = []

    def after_step(step: training.Step) -> None:
        runtime.synchronize(device)
        ends.append(time.perf_counter())

    has_experts = bool(moe_lm.moe_layers(model))
    loss = moe_lm.moe_loss(moe_lm.Balancing(switch=BALANCE)) if has_experts else training.next_token_loss
    batches = (tokens.to(device) for tokens in windows)
    steps = training.train(model, batches, loss, config, after_step=after_step)
    bits = [float(step.metrics.get("next_token", step.loss)) / math.log(2) for step in steps]
    times = [1e3 * (after - before) for before, after in pairwise(ends)]
    return bits, times[len(times) // 10 :]


def _every(values: list[float], points: int = 50) -> list[float]:
    """As many means of neighbours."""
    size = max(1, len(values) // points)
    return [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
