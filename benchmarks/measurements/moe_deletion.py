"""What an expert of a language model is worth: every single one and every pair is deleted, and some models learn on.

Two kinds of small byte models of two layers of eight experts, with the same parameters: each token through its best
two, as language models do, and through all eight, weighted by the gate, as recommenders do. Of each, one expert of the
sixteen goes, then two; the worst pair's model learns on for a while, and so does the one that lost nothing.
"""

import itertools
from copy import deepcopy

import torch
from torch import Tensor

from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import interval
from benchmarks.threads import limited
from kb import datasets
from kb.lm import DecoderLM, ModelConfig
from kb.moe import RouterConfig
from kb.moe.deletion import language_model_without
from kb.moe.language_model import Balancing, moe_language_model, train_moe
from kb.training import (
    TrainConfig,
    all_windows,
    encode_bytes,
    evaluate,
    initialize,
    next_token_loss,
    random_windows,
    train,
)

DEVICES = ("cpu",)
SEEDS, STEPS, MORE_STEPS, BATCH, LENGTH, RATE = 4, 400, 40, 16, 64, 4e-3
LAYERS, EXPERTS, WIDTH = 2, 8, 64
ALL = list(itertools.product(range(LAYERS), range(EXPERTS)))
CONFIG = ModelConfig(
    vocab_size=256,
    hidden_size=WIDTH,
    intermediate_size=2 * WIDTH,
    num_layers=LAYERS,
    num_heads=4,
    num_kv_heads=4,
    head_dim=WIDTH // 4,
    max_positions=LENGTH,
    tie_embeddings=True,
)


def measure(device: torch.device) -> Measurement:
    """Train both kinds with every seed, and delete."""
    tokens_N = encode_bytes(datasets.read("tiny-shakespeare", "input.txt"))
    cut = len(tokens_N) * 9 // 10
    held_out = list(itertools.islice(all_windows(tokens_N[cut:], LENGTH, 64), 2))
    found: dict[str, list[float]] = {}
    with limited(1):
        for seed, (name, top_k) in itertools.product(range(SEEDS), (("top-2", 2), ("all 8", EXPERTS))):
            model = moe_language_model(CONFIG, RouterConfig(EXPERTS, top_k), inner=WIDTH)
            initialize(model, seed=seed)
            windows = random_windows(tokens_N[:cut], LENGTH, BATCH, seed=seed, steps=STEPS)
            train_moe(model, windows, Balancing(switch=0.01), TrainConfig(STEPS, RATE, warmup=STEPS // 10))
            _delete(found, name, model, tokens_N[:cut], held_out, seed)
    return Measurement(
        title=f"Small language models, {LAYERS} layers of {EXPERTS} experts, without one or two of them",
        method=f"{SEEDS} seeds, {STEPS} batches of {BATCH} x {LENGTH} bytes; all {len(ALL)} experts and all pairs",
        samples={name: Samples("nats a byte", values) for name, values in found.items()},
        facts={
            "intervals": {name: _ends(values) for name, values in found.items()},
            "top-2 less all 8": {
                name.removeprefix("top-2 "): _ends(
                    [a - b for a, b in zip(values, found[name.replace("top-2", "all 8", 1)], strict=True)]
                )
                for name, values in found.items()
                if name.startswith("top-2 ")
            },
            "held-out bytes": sum(windows[:, 1:].numel() for windows in held_out),
        },
    )


def _delete(
    found: dict[str, list[float]], name: str, model: DecoderLM, tokens_N: Tensor, held_out: list[Tensor], seed: int
) -> None:
    whole = evaluate(model, held_out)
    found.setdefault(f"{name} whole", []).append(whole)
    for words, number in (("one", 1), ("two", 2)):
        lost = {chosen: evaluate(_without(model, chosen), held_out) - whole for chosen in _choices(number)}
        found.setdefault(f"{name} lost by {words}, mean", []).append(sum(lost.values()) / len(lost))
        found.setdefault(f"{name} lost by {words}, most", []).append(max(lost.values()))
    worst = max(lost, key=lambda chosen: lost[chosen])
    for words, learner in (("whole", deepcopy(model)), ("without its worst pair", _without(model, worst))):
        windows = random_windows(tokens_N, LENGTH, BATCH, seed=seed + 1000, steps=MORE_STEPS)
        train(learner, windows, next_token_loss, TrainConfig(MORE_STEPS, RATE / 4))
        found.setdefault(f"{name} {words}, learnt on", []).append(evaluate(learner, held_out))


def _choices(number: int) -> list[tuple[tuple[int, int], ...]]:
    return list(itertools.combinations(ALL, number))


def _without(model: DecoderLM, chosen: tuple[tuple[int, int], ...]) -> DecoderLM:
    gone = {layer: [e for of, e in chosen if of == layer] for layer, _ in chosen}
    return language_model_without(model, gone)


def _ends(values: list[float]) -> dict[str, float]:
    between = interval(values)
    return {"mean": round(between.mean, 6), "low": round(between.low, 6), "high": round(between.high, 6)}
