"""What each difference between the Transformer of 2017 and LLaMA does to the held-out loss of a small decoder.

Two views: the way from 2017 to LLaMA, one switch a step and each kept; and LLaMA with one switch turned back. Every
arm has its own learning rate, the best of three on a seed that is not counted, and all have the same warm-up, as
post-norm needs one. Unusual: one more arm spends on its feed-forward network what grouped queries save, as Llama 2 70B
and Llama 3 do.

Arms are equal in steps and windows; parameters differ by what a switch itself adds or takes, and are recorded.
Characters of tiny-shakespeare; products in bfloat16 by autocast, weights and the optimizer's state float32.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import interval
from kb import datasets, training
from kb.lm.ablation import AblationLM
from kb.lm.ablation_config import AblationConfig, count_parameters, forward_flops, gated_width, steps_to_llama

DEVICES = ("cuda",)
WIDTH, LAYERS, HEADS, KV_HEADS = 256, 4, 8, 2
LENGTH, BATCH, STEPS, WARMUP = 256, 16, 400, 40
RATES, SEEDS, TUNING_SEED = (8e-4, 2e-3, 5e-3), 4, 1000
WORKERS = 10
LAST = "embeddings as they are"  # the last step of the way that is LLaMA's own; grouped queries came with Llama 2 70B
BACK: Mapping[str, Mapping[str, str]] = {
    "LLaMA, post-norm": {"norm_place": "post"},
    "LLaMA, LayerNorm": {"norm": "layer"},
    "LLaMA, sinusoids": {"position": "sinusoidal"},
    "LLaMA, ALiBi": {"position": "alibi"},
    "LLaMA, ReLU": {"ffn": "relu"},
}
WIDER = "grouped queries, wider FFN"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: Of its arm.
        config: The decoder.
        rate: The highest learning rate.
        seed: Of weights and windows.
        device: Where, as torch names it.
    """

    name: str
    config: AblationConfig
    rate: float
    seed: int
    device: str


def arms(vocab_size: int) -> dict[str, AblationConfig]:
    """Decoders by name: the way in its order, what may follow grouped queries, LLaMA with one switch turned back."""
    path = dict(steps_to_llama(AblationConfig(vocab_size, WIDTH, LAYERS, HEADS, KV_HEADS)))
    grouped = path["grouped queries"]
    saved = 2 * WIDTH * (WIDTH - KV_HEADS * grouped.head_dim)  # of a layer's key and value matrices
    inner = 3 * (gated_width(4 * WIDTH) + saved // (3 * WIDTH)) // 2
    path[WIDER] = replace(grouped, inner=inner)
    return path | {name: replace(path[LAST], **change) for name, change in BACK.items()}  # type: ignore[arg-type]


def texts() -> tuple[Tensor, Tensor, int]:
    """Characters to train with [N], windows [W, T + 1] held out, and how many characters there are."""
    whole_N = training.encode_bytes(datasets.read("tiny-shakespeare", "input.txt"))
    characters, ids_N = whole_N.unique(return_inverse=True)
    train_N, held_out_WT = training.hold_out(ids_N, LENGTH)
    return train_N, held_out_WT, len(characters)


def start(job: Job) -> AblationLM:
    """The model of a job before its first step."""
    made = AblationLM(job.config)
    training.initialize(made, seed=job.seed)
    return made.to(job.device)


def run(job: Job) -> float:
    """Held-out loss of one training, bits a character; infinite where it diverged."""
    train_N, held_out_WT, _ = texts()
    made, began = start(job), time.perf_counter()
    config = training.TrainConfig(STEPS, job.rate, warmup=WARMUP, autocast=torch.bfloat16)
    windows = training.random_windows(train_N.to(job.device), LENGTH, BATCH, seed=job.seed, steps=STEPS)
    try:
        training.train(made, windows, training.next_token_loss, config)
    except ValueError as error:
        print(f"{job.name}, rate {job.rate:g}, seed {job.seed}: {error}", file=sys.stderr, flush=True)
        return math.inf
    batches = [tokens.to(job.device) for tokens in held_out_WT.split(64)]
    with torch.autocast(torch.device(job.device).type, dtype=torch.bfloat16):
        bits = training.evaluate(made, batches) / math.log(2)
    told = f"{job.name}, rate {job.rate:g}, seed {job.seed}: {bits:.4f} bits, {time.perf_counter() - began:.0f} s"
    print(told, file=sys.stderr, flush=True)
    return bits


def measure(device: torch.device) -> Measurement:
    """Tune and train every arm; assert that all of them learnt more than how often characters are."""
    train_N, held_out_WT, vocab_size = texts()
    found = arms(vocab_size)
    tuned = tune(found, str(device))
    rates = {name: min(of, key=of.__getitem__) for name, of in tuned.items()}
    jobs = [
        Job(name, config, rates[name], seed, str(device)) for name, config in found.items() for seed in range(SEEDS)
    ]
    outcomes = iter(one_thread.each(run, jobs, WORKERS))
    losses = {name: [next(outcomes) for _ in range(SEEDS)] for name in found}
    worst = max(max(of) for of in losses.values())
    assert worst < 4, f"an arm is no better than counting characters: {worst} bits"
    return Measurement(
        title=f"From 2017 to LLaMA, a switch at a time: decoders of width {WIDTH}, {LAYERS} layers, bfloat16 autocast",
        method=f"{SEEDS} seeds of weights and windows, the same for all arms; {STEPS} steps of {BATCH} windows of "
        f"{LENGTH} characters; rates: best of {len(RATES)} on another seed",
        samples={f"{name}, held out": Samples("bits per character", of) for name, of in losses.items()},
        facts={
            "differences, bits per character": differences(losses),
            "rates": rates,
            "tuning": {name: {f"{rate:g}": finite(bits) for rate, bits in of.items()} for name, of in tuned.items()},
            "parameters": {name: count_parameters(config).total for name, config in found.items()},
            "forward flops of a window": {name: forward_flops(one, length=LENGTH) for name, one in found.items()},
            "sizes": {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "kv heads": KV_HEADS, "length": LENGTH},
            "training": {"steps": STEPS, "warmup": WARMUP, "windows a step": BATCH, "seeds": SEEDS},
            "characters": {"kinds": vocab_size, "train": len(train_N), "held out": held_out_WT[:, 1:].numel()},
        },
    )


def tune(found: Mapping[str, AblationConfig], device: str) -> dict[str, dict[float, float]]:
    """Held-out loss of every arm at every rate, on the seed that is not counted."""
    jobs = [Job(name, config, rate, TUNING_SEED, device) for name, config in found.items() for rate in RATES]
    outcomes = iter(one_thread.each(run, jobs, WORKERS))
    return {name: {rate: next(outcomes) for rate in RATES} for name in found}


def differences(losses: Mapping[str, Sequence[float]]) -> dict[str, dict[str, object]]:
    """Mean and interval, over seeds, of each step of the way against the one before, and of LLaMA turned back."""
    path = [name for name in losses if name not in BACK]
    pairs = [*((after, before) for before, after in pairwise(path)), *((name, LAST) for name in BACK)]
    pairs += [(LAST, "2017"), (WIDER, LAST)]
    told: dict[str, dict[str, object]] = {}
    for first, second in pairs:
        lies = interval([a - b for a, b in zip(losses[first], losses[second], strict=True)])
        ends = [round(lies.low, 4), round(lies.high, 4)]
        told[f"{first} - {second}"] = {"mean": round(lies.mean, 4), "95 % interval": ends}
    return told


def finite(bits: float) -> float | None:
    """For JSON, which has no infinity."""
    return round(bits, 4) if math.isfinite(bits) else None
