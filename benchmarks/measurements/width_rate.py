"""The best learning rate of small decoders of four widths, under the standard parametrization and under µP.

Unusual: the number that is judged is not a loss but a place: for each seed the rate whose loss is lowest, as a parabola
through the three lowest points of the grid has it. Heads keep their width, so attention's scale does not change.

Source: Yang et al. 2022, Tensor Programs V, figure 1 and table 3.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb import datasets, training
from kb.lm import DecoderLM, ModelConfig

DEVICES = ("cpu",)
SCHEMES = {"standard": training.standard_scales, "mup": training.mup_scales}


@dataclass(frozen=True)
class Setting:
    """What all runs share, and which there are.

    Attributes:
        widths: Of the models; the first is the base.
        exponents: Rates are powers of two.
        layers: Blocks.
        head: Width of a head.
        length: T, bytes of a window.
        batch: Windows of a step.
        steps: Of each run, the first tenth a warm-up, the rest along a cosine.
        seeds: Of weights and windows, from 0.
        judged: Held-out windows.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    exponents: tuple[int, ...] = (-10, -9, -8, -7, -6, -5, -4, -3)
    layers: int = 2
    head: int = 16
    length: int = 32
    batch: int = 8
    steps: int = 100
    seeds: int = 5
    judged: int = 128


@dataclass(frozen=True)
class Run:
    """One training."""

    scheme: str
    width: int
    exponent: int
    seed: int
    setting: Setting


def decoder(width: int, setting: Setting) -> DecoderLM:
    """A decoder for bytes."""
    heads = width // setting.head
    return DecoderLM(
        ModelConfig(256, width, 2 * width, setting.layers, heads, heads, setting.head, max_positions=setting.length)
    )


def _texts(length: int) -> tuple[Tensor, Tensor]:
    return training.hold_out(training.encode_bytes(datasets.read("tiny-shakespeare", "input.txt")), length)


def loss_of(run: Run) -> float:
    """Held-out loss, in nats a byte, after one training; infinite where it broke off."""
    setting = run.setting
    train_N, held_WT = _texts(setting.length)
    model = decoder(run.width, setting)
    scales = SCHEMES[run.scheme](model, decoder(setting.widths[0], setting))
    training.initialize_scaled(model, scales, seed=run.seed)
    recipe = training.TrainConfig(
        setting.steps, learning_rate=2.0**run.exponent, warmup=setting.steps // 10, weight_decay=0.0
    )
    windows = training.random_windows(train_N, setting.length, setting.batch, seed=run.seed)
    rates = {name: scale.rate for name, scale in scales.items()}
    try:
        training.train(model, windows, training.next_token_loss, recipe, rates=rates)
        loss = training.evaluate(model, held_WT[: setting.judged].split(64))
    except ValueError:  # the loss or its gradient is no longer finite
        loss = math.inf
    print(f"{run.scheme:8} width {run.width:3} rate 2^{run.exponent} seed {run.seed}: {loss:.3f}", file=sys.stderr)
    return loss


def best_exponent(exponents: Sequence[int], losses: Sequence[float]) -> float:
    """Where a parabola through the lowest loss and its neighbours has its minimum; the edge itself at an edge.

    Raises:
        ValueError: there are not as many losses as exponents, or none is finite.
    """
    if len(exponents) != len(losses) or not any(map(math.isfinite, losses)):
        raise ValueError(f"a loss for each of {len(exponents)} exponents is wanted, one of them finite, got {losses}")
    at = min(range(len(losses)), key=lambda place: losses[place])
    if not 0 < at < len(losses) - 1 or not math.isfinite(losses[at - 1] + losses[at + 1]):
        return float(exponents[at])
    left, middle, right = losses[at - 1 : at + 2]
    bend = left - 2 * middle + right
    return exponents[at] + (0.5 * (left - right) / bend if bend > 0 else 0.0)


def measurement(setting: Setting, found: Mapping[Run, float]) -> Measurement:
    """The record of all runs: by scheme and width the best exponent of each seed, and all losses as facts."""
    samples, losses = {}, {}
    for scheme, width in product(SCHEMES, setting.widths):
        name = f"{scheme}, width {width}"
        rows = [
            [found[Run(scheme, width, exponent, seed, setting)] for exponent in setting.exponents]
            for seed in range(setting.seeds)
        ]
        best = [best_exponent(setting.exponents, row) for row in rows]
        samples[name] = Samples("log2 of the best rate", best)
        losses[name] = [[round(loss, 4) if math.isfinite(loss) else None for loss in row] for row in rows]
    return Measurement(
        title=f"Best learning rate of {setting.layers}-layer decoders, widths {setting.widths}, after {setting.steps} "
        "steps on bytes of tiny-shakespeare, float32",
        method=f"{setting.seeds} seeds of weights and windows, the same for all; AdamW without decay, warm-up and "
        f"cosine; minimum of a parabola through the lowest of {len(setting.exponents)} rates and its neighbours",
        samples=samples,
        facts={
            "setting": {key: list(v) if isinstance(v, tuple) else v for key, v in setting.__dict__.items()},
            "losses": losses,
        },
    )


def measure(device: torch.device) -> Measurement:
    """Train all, two at a time; the bound is that every rate's loss is a number at the base and under µP."""
    setting = Setting()
    jobs = [Run(*kind, setting) for kind in product(SCHEMES, setting.widths, setting.exponents, range(setting.seeds))]
    found = dict(zip(jobs, one_thread.each(loss_of, jobs), strict=True))
    lost = [job for job, loss in found.items() if not math.isfinite(loss)]
    assert not lost, f"{len(lost)} runs broke off, first {lost[0]}"
    return measurement(setting, found)
