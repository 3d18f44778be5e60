"""Post-norm, pre-norm and sandwich at twelve blocks: who learns with a warm-up, without one, and at which rate.

Unusual: nothing eases the start. Matrices are Xavier's, none is scaled down by depth, gradients are not clipped and the
rate stays where the warm-up left it, as the theory of Xiong et al. 2020 (section 3) is about such a start. Every
placement has the same matrices and the same batches. A run has failed where the loss ends no lower than the entropy of
single bytes less a margin: it has learnt how often letters occur and nothing about their order.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb import datasets, training
from kb.lm import AblationConfig, AblationLM

DEVICES = ("cuda",)
MARGIN = 0.1  # nats below the entropy of single bytes from which a run counts as having learnt
POINTS = 25  # of a loss curve that are kept
PLACES, WARMED = ("post", "pre", "sandwich"), (False, True)


@dataclass(frozen=True)
class Setting:
    """What all runs share, and which there are.

    Attributes:
        layers: Blocks.
        width: D.
        heads: N.
        length: T, bytes of a window.
        batch: Windows of a step.
        steps: Of each run.
        warmup: Steps of the warm-up, where there is one.
        rates: Learning rates.
        seeds: Of matrices and batches, from 0.
        judged: Held-out windows on which a run is judged.
        workers: Processes.
    """

    layers: int = 12
    width: int = 128
    heads: int = 4
    length: int = 64
    batch: int = 16
    steps: int = 300
    warmup: int = 150
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    seeds: int = 3
    judged: int = 256
    workers: int = 6


@dataclass(frozen=True)
class Run:
    """One training; ``device`` as ``torch.device`` takes it."""

    place: str
    warmed: bool
    rate: float
    seed: int
    device: str
    setting: Setting


@dataclass(frozen=True)
class Outcome:
    """What a run came to; losses in nats a byte, infinite where the run broke off.

    Attributes:
        loss: On held-out text, after the last step.
        curve: Of the training loss, means over equal parts of the run; as far as it came.
        gradient_norm: Of all parameters at the first step.
    """

    loss: float
    curve: list[float]
    gradient_norm: float


def xavier(model: nn.Module, seed: int) -> None:
    """Set matrices to Xavier's normal start, embeddings to variance 1; the same for every placement of norms."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                fan = 2.0 if name.startswith("embed") else float(sum(parameter.shape))
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * math.sqrt(2 / fan))


def train(run: Run) -> Outcome:
    """Train and judge one model, and say so on the error stream."""
    setting, device = run.setting, torch.device(run.device)
    train_N, held_out_WT = _texts(setting.length)
    config = AblationConfig(
        256,
        setting.width,
        setting.layers,
        setting.heads,
        norm="layer",
        norm_place=run.place,
        position="learned",
        ffn="gelu",
        max_positions=setting.length,
    )
    model = AblationLM(config)
    xavier(model, run.seed)
    model.to(device)
    recipe = training.TrainConfig(
        setting.steps,
        learning_rate=run.rate,
        warmup=setting.warmup if run.warmed else 0,
        schedule=training.constant,
        weight_decay=0.0,
        betas=(0.9, 0.98),
        clip=None,
    )
    batches = training.random_windows(train_N.to(device), setting.length, setting.batch, seed=run.seed)
    steps: list[training.Step] = []
    try:
        training.train(model, batches, training.next_token_loss, recipe, after_step=steps.append)
        loss = training.evaluate(model, held_out_WT[: setting.judged].to(device).split(128))
    except ValueError:  # the loss or its gradient is no longer finite
        loss = math.inf
    part = max(1, setting.steps // POINTS)
    losses = [step.loss for step in steps]
    curve = [round(sum(some) / len(some), 4) for some in (losses[i : i + part] for i in range(0, len(losses), part))]
    print(f"{run.place:8} warm-up {run.warmed!s:5} rate {run.rate:g} seed {run.seed}: {loss:.3f}", file=sys.stderr)
    return Outcome(loss, curve, steps[0].gradient_norm if steps else math.inf)


def _texts(length: int) -> tuple[Tensor, Tensor]:
    return training.hold_out(training.encode_bytes(datasets.read("tiny-shakespeare", "input.txt")), length)


def byte_entropy(length: int) -> float:
    """The loss, in nats, of a model that knows how often each byte occurs in the training text and nothing else."""
    train_N, held_out_WT = _texts(length)
    share_V = torch.bincount(train_N, minlength=256).double().clamp(min=1.0) / len(train_N)
    return float(-share_V.log()[held_out_WT[:, 1:]].mean())


def measurement(setting: Setting, found: Mapping[Run, Outcome], bytes_alone: float) -> Measurement:
    """The record of all runs."""
    groups: dict[str, list[Outcome]] = {}
    for run, outcome in found.items():
        warm = "warm-up" if run.warmed else "no warm-up"
        groups.setdefault(f"{run.place}, {warm}, {run.rate:g}", []).append(outcome)
    failed = {name: sum(one.loss > bytes_alone - MARGIN for one in of) for name, of in groups.items()}
    return Measurement(
        title=f"{setting.layers} blocks of width {setting.width}, norms in three places, {setting.steps} steps on "
        "bytes of tiny-shakespeare",
        method=f"{setting.seeds} seeds of matrices and windows, the same for all; Xavier's start, AdamW without decay, "
        f"no clipping, constant rate after {setting.warmup} steps of warm-up or none",
        samples={
            name: Samples("nats a byte", [one.loss for one in of])
            for name, of in groups.items()
            if all(math.isfinite(one.loss) for one in of)
        },
        facts={
            "setting": {**setting.__dict__, "rates": list(setting.rates)},
            "loss of single bytes": round(bytes_alone, 4),
            "margin": MARGIN,
            "failed": failed,
            "curves": {name: [one.curve for one in of] for name, of in groups.items()},
            "gradient norm of the first step": {
                name: [_number(one.gradient_norm) for one in of] for name, of in groups.items()
            },
        },
    )


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def runs(setting: Setting, device: torch.device) -> Sequence[Run]:
    """All runs of a setting, the seeds of one kind beside each other."""
    kinds: Any = product(PLACES, WARMED, setting.rates, range(setting.seeds))
    return [Run(place, warmed, rate, seed, str(device), setting) for place, warmed, rate, seed in kinds]


def measure(device: torch.device) -> Measurement:
    """Train all, several at a time; the only bound is that pre-norm and sandwich learn at the lowest rate."""
    setting = Setting()
    jobs = runs(setting, device)
    found = dict(zip(jobs, one_thread.each(train, jobs, setting.workers), strict=True))
    made = measurement(setting, found, byte_entropy(setting.length))
    lowest = min(setting.rates)
    for place in ("pre", "sandwich"):
        lost = made.facts["failed"][f"{place}, warm-up, {lowest:g}"]  # type: ignore[index]
        assert not lost, f"{lost} runs of {place} with warm-up failed at a rate of {lowest}"
    return made
