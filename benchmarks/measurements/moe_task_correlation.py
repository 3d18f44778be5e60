"""Ma et al.'s experiment: two regressions that are less and less alike, and the error of models that share.

The experts together are as wide as the wide bottom and the two separate networks, so these have about as many
parameters; the narrow bottom is one expert. With a seed, inputs and first target are the same at every likeness, and
so are the starts of the models, so that differences between likenesses are paired too.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import interval
from benchmarks.threads import limited
from kb.moe.multi_task import MultiGateMixture, SharedBottom, SingleTasks, correlated_tasks, perceptron
from kb.training import TrainConfig, train

DEVICES = ("cpu",)
SEEDS, STEPS, BATCH, RATE = 10, 1_000, 256, 5e-3
WIDTH, TRAIN, TEST = 40, 20_000, 5_000
COSINES = (1.0, 0.5, 0.0)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "separate": lambda: SingleTasks([perceptron([WIDTH, 64, 8, 1], last_relu=False) for _ in range(2)]),
    "wide bottom": lambda: SharedBottom.perceptrons(WIDTH, 2, [128], [8]),
    "narrow bottom": lambda: SharedBottom.perceptrons(WIDTH, 2, [16], [8]),
    "MMoE": lambda: MultiGateMixture.perceptrons(WIDTH, 2, 8, [16], [8]),
}


def measure(device: torch.device) -> Measurement:
    """Train every model at every likeness with every seed."""
    errors: dict[str, list[float]] = {}
    alike: dict[str, list[float]] = {}
    with limited(1):
        for seed, cosine in itertools.product(range(SEEDS), COSINES):
            x_ND, target_N2 = correlated_tasks(TRAIN + TEST, WIDTH, cosine, seed=seed)
            target_N2 = (target_N2 - target_N2[:TRAIN].mean(0)) / target_N2[:TRAIN].std(0)
            alike.setdefault(f"{cosine}", []).append(float(torch.corrcoef(target_N2.T)[0, 1]))
            for name, make in MODELS.items():
                torch.manual_seed(seed)
                model = make()
                batches = _batches(x_ND[:TRAIN], target_N2[:TRAIN], seed)
                train(model, batches, _loss, TrainConfig(STEPS, RATE, warmup=20, weight_decay=0.01))
                with torch.no_grad():
                    error = float(_loss(model, (x_ND[TRAIN:], target_N2[TRAIN:])))
                errors.setdefault(f"{name}, cosine {cosine}", []).append(error)
    return Measurement(
        title="Two regressions of a known likeness: error of models that share, by the cosine of their directions",
        method=f"{SEEDS} seeds, {STEPS} batches of {BATCH}, {TEST} new rows, 1 thread",
        samples={name: Samples("variances of the target", values) for name, values in errors.items()}
        | {f"correlation, cosine {cosine}": Samples("correlation", values) for cosine, values in alike.items()},
        facts={
            "parameters": {name: sum(p.numel() for p in make().parameters()) for name, make in MODELS.items()},
            "intervals": {name: _ends(values) for name, values in errors.items()},
            "less MMoE": _between(errors, lambda name, cosine: (f"{name}, {cosine}", f"MMoE, {cosine}")),
            "rise from cosine 1": _between(errors, lambda name, cosine: (f"{name}, {cosine}", f"{name}, cosine 1.0")),
        },
    )


def _batches(x_ND: Tensor, target_N2: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen_B = torch.randint(len(x_ND), (BATCH,), generator=generator)
        yield x_ND[chosen_B], target_N2[chosen_B]


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    squares: Tensor = (model(batch[0])[0] - batch[1]).square()
    return squares.mean()


def _between(
    errors: dict[str, list[float]], sides: Callable[[str, str], tuple[str, str]]
) -> dict[str, dict[str, float]]:
    """Paired differences of two series, for every model and cosine where they are two."""
    told = {}
    for name in errors:
        above, below = sides(*name.split(", "))
        if above != below:
            told[name] = _ends([a - b for a, b in zip(errors[above], errors[below], strict=True)])
    return told


def _ends(values: list[float]) -> dict[str, float]:
    between = interval(values)
    return {"mean": round(between.mean, 6), "low": round(between.low, 6), "high": round(between.high, 6)}
