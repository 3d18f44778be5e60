"""Two tasks on MovieLens, several seeds: separate models, a shared bottom, MMoE, PLE; then experts are deleted.

All models have the same number of parameters but for a few percent, so what differs is how they are shared. Deleted
are every single expert and every pair, of MMoE, of PLE, and of an ensemble: an MMoE whose gates were held at equal
weights while it learnt, so that no expert could become more than one voice of eight.
"""

import itertools
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import interval
from benchmarks.threads import limited
from kb.counting import count
from kb.moe.deletion import extraction_without, mixture_without
from kb.moe.multi_task import (
    MovieLens,
    MultiGateMixture,
    ProgressiveExtraction,
    SharedBottom,
    SingleTasks,
    binary_loss,
    epochs,
    expert_weights,
    movielens,
    perceptron,
    ranking_quality,
)
from kb.moe.multi_task.movielens import TASKS
from kb.training import TrainConfig, train

DEVICES = ("cpu",)
SEEDS, EPOCHS, BATCH, RATE, EXPERTS = 8, 2, 512, 3e-3, 8
GATED = ("MMoE", "PLE")
PAIRS = list(itertools.combinations(range(EXPERTS), 2))


def models(width: int) -> dict[str, Callable[[], nn.Module]]:
    """How each contender is made."""
    mixture = MultiGateMixture.perceptrons
    return {
        "separate": lambda: SingleTasks([perceptron([width, 128, 40, 16, 1], last_relu=False) for _ in TASKS]),
        "shared bottom": lambda: SharedBottom.perceptrons(width, 2, [256, 40], [16]),
        "ensemble": lambda: held(mixture(width, 2, EXPERTS, [32, 32], [16])),
        "MMoE": lambda: mixture(width, 2, EXPERTS, [32, 32], [16]),
        "MMoE top-2": lambda: mixture(width, 2, EXPERTS, [32, 32], [16], top_k=2),
        "PLE": lambda: ProgressiveExtraction.perceptrons(width, 2, 2, 4, [32, 32], [16]),
    }


def held(model: MultiGateMixture) -> MultiGateMixture:
    """The same with gates that weigh all experts alike, and do not learn."""
    for gate in model.gates:
        for parameter in gate.parameters():
            parameter.requires_grad_(False).zero_()
    return model


def without(model: Any, deleted: tuple[int, ...]) -> Any:
    """The model without some experts."""
    if isinstance(model, MultiGateMixture):
        return mixture_without(model, deleted)
    smaller = deepcopy(model)
    smaller.layers[-1] = extraction_without(model.layers[-1], deleted)
    return smaller


def measure(device: torch.device) -> Measurement:
    """Train every model with every seed, ask its gates, and delete its experts."""
    data = movielens()
    made = models(len(data.features))
    quality: dict[str, list[float]] = {}
    found: dict[str, list[float]] = {}
    with limited(1):
        for seed, (name, make) in itertools.product(range(SEEDS), made.items()):
            torch.manual_seed(seed)
            model = make()
            if name in GATED:
                _ask_gates(found, f"{name} untrained", model, data)
            steps = EPOCHS * -(-len(data.train) // BATCH)
            config = TrainConfig(steps, RATE, warmup=20, weight_decay=0.01)
            train(model, epochs(data.train, BATCH, EPOCHS, seed=seed), binary_loss, config)
            for task, value in zip(TASKS, ranking_quality(model, data.test), strict=True):
                quality.setdefault(f"{name}: {task}", []).append(value)
            if name in GATED:
                _ask_gates(found, name, model, data)
            if name in (*GATED, "ensemble"):
                _delete(found, name, model, data)
    _require_bounds(found)
    return Measurement(
        title="MovieLens-100k, two tasks: models that share, their gates, and what a deleted expert was worth",
        method=f"{SEEDS} seeds, {EPOCHS} epochs in batches of {BATCH}, AUC of the last fifth in time, 1 thread",
        samples={name: Samples("AUC", values) for name, values in quality.items()}
        | {name: Samples("AUC" if "lost" in name else "share", values) for name, values in found.items()},
        facts={
            "parameters": {name: sum(p.numel() for p in make().parameters()) for name, make in made.items()},
            "FLOPs of a row": {name: _flops(make(), data) for name, make in made.items()},
            "less the shared bottom": _differences(quality, "shared bottom"),
            "intervals": {name: _ends(values) for name, values in found.items()},
        },
    )


def _ask_gates(found: dict[str, list[float]], name: str, model: Any, data: MovieLens) -> None:
    """How far the two tasks' gates are apart, row by row, and what each gives to experts of its own."""
    with torch.no_grad():
        weights = [expert_weights(routing) for routing in model(data.test.x_NF)[1]]
    apart_N = (weights[0] - weights[1]).abs().sum(-1) / 2
    found.setdefault(f"{name}: distance of the gates", []).append(float(apart_N.mean()))
    mean_SE = torch.stack([weights_NE.mean(0) for weights_NE in weights])
    found.setdefault(f"{name}: distance of their means", []).append(float((mean_SE[0] - mean_SE[1]).abs().sum() / 2))
    if isinstance(model, ProgressiveExtraction):
        last: Any = model.layers[-1]
        for s, task in enumerate(TASKS):
            own = sum(float(mean_SE[s, e]) for e, owner in enumerate(last.owners) if owner == s)
            found.setdefault(f"{name}: weight of {task}'s own experts", []).append(own)


def _delete(found: dict[str, list[float]], name: str, model: nn.Module, data: MovieLens) -> None:
    """What every single expert, and every pair, was worth to each task: the mean, and the most."""
    whole_S = torch.tensor(ranking_quality(model, data.test))
    for words, choices in (("one", [(e,) for e in range(EXPERTS)]), ("two", PAIRS)):
        lost_CS = torch.stack([whole_S - torch.tensor(ranking_quality(without(model, c), data.test)) for c in choices])
        for s, task in enumerate(TASKS):
            found.setdefault(f"{name}: {task} lost by {words}, mean", []).append(float(lost_CS[:, s].mean()))
            found.setdefault(f"{name}: {task} lost by {words}, most", []).append(float(lost_CS[:, s].max()))


def _require_bounds(found: dict[str, list[float]]) -> None:
    """Gates held at equal weights have nothing to move to; the others' experts may not be worth nothing."""
    for name in GATED:
        assert min(found[f"{name}: seen lost by two, most"]) > 0, f"{name}: two experts were worth nothing"


def _flops(model: nn.Module, data: MovieLens) -> int:
    rows = 1000
    with torch.no_grad():
        return round(count(lambda: model(data.test.x_NF[:rows])).flops / rows)


def _differences(quality: dict[str, list[float]], rival: str) -> dict[str, dict[str, float]]:
    told = {}
    for name, values in quality.items():
        model, task = name.split(": ")
        if model != rival:
            pairs = zip(values, quality[f"{rival}: {task}"], strict=True)
            told[name] = _ends([ours - theirs for ours, theirs in pairs])
    return told


def _ends(values: list[float]) -> dict[str, float]:
    between = interval(values)
    return {"mean": round(between.mean, 6), "low": round(between.low, 6), "high": round(between.high, 6)}
