"""Timing that holds on a noisy machine: warm up, alternate, report medians of paired ratios.

A single time says little where other work shares the cores. Two contenders that take turns, A B A B, meet the same
noise, so the ratio of each pair is steadier than either time; its median is what a page may quote.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from kb import runtime


def seconds(work: Callable[[], object], *, where: torch.device | str | None = None) -> float:
    """Wall-clock seconds of one call, the device's queue drained before and after."""
    where = where or "cpu"
    runtime.synchronize(where)
    start = time.perf_counter()
    work()
    runtime.synchronize(where)
    return time.perf_counter() - start


def median_seconds(
    work: Callable[[], object], *, repeats: int = 5, warmup: int = 1, where: torch.device | str | None = None
) -> float:
    """Median wall-clock seconds of ``repeats`` calls after ``warmup`` calls that are not counted.

    Raises:
        ValueError: ``repeats`` is under 1 or ``warmup`` is negative.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be at least 1 and warmup at least 0, got {repeats} and {warmup}")
    for _ in range(warmup):
        work()
    return statistics.median(seconds(work, where=where) for _ in range(repeats))


@dataclass(frozen=True)
class Race:
    """The samples of two contenders that took turns. Times in seconds, one pair per round."""

    a_seconds: tuple[float, ...]
    b_seconds: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ratio a / b of each round; under 1 means that a was faster."""
        return tuple(a / b for a, b in zip(self.a_seconds, self.b_seconds, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the paired ratios a / b."""
        return statistics.median(self.ratios)

    @property
    def a(self) -> float:
        """Median seconds of a."""
        return statistics.median(self.a_seconds)

    @property
    def b(self) -> float:
        """Median seconds of b."""
        return statistics.median(self.b_seconds)


def race(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    rounds: int = 5,
    warmup: int = 1,
    where: torch.device | str | None = None,
) -> Race:
    """Run ``a`` and ``b`` in turn, A B A B, for ``rounds`` rounds after ``warmup`` rounds that are not counted.

    Raises:
        ValueError: fewer than five rounds, or a negative ``warmup``.
    """
    if rounds < 5 or warmup < 0:
        raise ValueError(f"rounds must be at least 5 and warmup at least 0, got {rounds} and {warmup}")
    for _ in range(warmup):
        a()
        b()
    pairs = [(seconds(a, where=where), seconds(b, where=where)) for _ in range(rounds)]
    return Race(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
