"""Trainings of the task lab, many beside each other, and the record of what they came to.

Unusual: every contender has the same seeds, and a seed names both the weights at the start and the examples, so that
differences between contenders are taken seed by seed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks import one_thread
from benchmarks.measurement import Samples
from benchmarks.real_tables import interval
from kb.cot.lab import Corpus, Format, Recipe, Run, run

SEEDS, COUNT = 5, 200  # of trainings; of held-out questions of a length
RECIPE = Recipe(3e11)
SHARE = "share of right answers"

Job = TypeVar("Job", bound="Named")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Named:
    """One training of a contender with a seed."""

    name: str
    seed: int


@dataclass(frozen=True)
class Training(Named):
    """A model trained on a corpus and asked in formats, on held-out questions of lengths."""

    corpus: Corpus
    asked: tuple[Format, ...]
    lengths: tuple[int, ...]
    recipe: Recipe = RECIPE


def trained(job: Training) -> Run:
    """Train and ask one model."""
    return run(job.corpus, job.recipe, job.asked, job.lengths, seed=job.seed, count=COUNT)[1]


def outcomes(function: Callable[[Job], Result], jobs: Sequence[Job]) -> dict[str, list[Result]]:
    """What a function returns for each job, two at a time, by contender and in the order of the jobs."""
    by_name: dict[str, list[Result]] = {}
    for job, result in zip(jobs, one_thread.each(function, jobs), strict=True):
        by_name.setdefault(job.name, []).append(result)
    return by_name


def right(runs: Sequence[Run], how: Format, length: int) -> list[float]:
    """Share of right answers of each run, asked in a format, on questions of a length."""
    return [one.scores[how][length].right for one in runs]


def ends(values: Sequence[float]) -> dict[str, object]:
    """Mean and 95 % t-interval over seeds; of shares it may reach beyond 0 and 1, which the shares do not."""
    lies = interval(values)
    return {"mean": round(lies.mean, 4), "95 % interval": [round(lies.low, 4), round(lies.high, 4)]}


def between(one: Sequence[float], other: Sequence[float]) -> dict[str, object]:
    """The same of the differences, seed by seed."""
    return ends([a - b for a, b in zip(one, other, strict=True)])


def low(told: Mapping[str, object]) -> float:
    """The lower end of an interval."""
    reach = told["95 % interval"]
    assert isinstance(reach, list)
    return float(reach[0])


def shares(values: Iterable[tuple[str, Sequence[float]]]) -> dict[str, Samples]:
    """Samples of shares of right answers, by name."""
    return {name: Samples(SHARE, [round(value, 4) for value in of]) for name, of in values}


def setting(recipe: Recipe = RECIPE) -> dict[str, object]:
    """What all models of a record share."""
    return {"recipe": dict(recipe.__dict__), "seeds": SEEDS, "held-out questions of a length, at most": COUNT}
