"""Fits in processes of their own, one each, and what they took: seconds, and memory beyond the data."""

import os
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks.boosters import SKLEARN
from benchmarks.foreign.worker import Worker
from benchmarks.real_tables import OURS, THEIRS, THIRD, THREADS
from book.notebooks import ROOT

LIMIT_SECONDS = 400.0
MIB = 2**20
METHOD = "memory is the most that it held, less what it held when the data were there and a small fit had been made"
MAKERS = {
    OURS: "kb.gbdt:GBDTRegressor",
    THEIRS: "lightgbm:LGBMRegressor",
    THIRD: "sklearn.ensemble:HistGradientBoostingRegressor",
}


@dataclass(frozen=True)
class Taken:
    """What a fit took.

    Attributes:
        seconds: Of the fit alone.
        beyond: MiB at most, less what was held when the data were there.
        data: MiB of the data.
    """

    seconds: float
    beyond: float
    data: float


def fit(name: str, rows: int, trees: int, dtype: str = "float64") -> Taken:
    """Fit a contender once, in a process of its own.

    Args:
        name: Of the contender.
        rows: Of the table, which has 28 columns of random numbers.
        trees: How many.
        dtype: Of the table, "float64" or "float32".

    Raises:
        ValueError: there is no such contender.
        WorkerError: the process failed.
    """
    if name not in MAKERS:
        raise ValueError(f"name must be one of {', '.join(MAKERS)}, got {name!r}")
    command = [sys.executable, "-m", "benchmarks.foreign.fit_worker"]
    with Worker(name, command, environment=dict(os.environ), folder=ROOT) as worker:
        told = worker.call(
            "fit",
            timeout=LIMIT_SECONDS,
            maker=MAKERS[name],
            options=_options(name, trees),
            rows=rows,
            dtype=dtype,
            threads=THREADS,
        )
    return Taken(told["seconds"], (told["most"] - told["before"]) / MIB, told["data"] / MIB)


def _options(name: str, trees: int) -> dict[str, Any]:
    if name == THIRD:
        return {**SKLEARN, "max_iter": trees}
    return {"n_estimators": trees, "n_jobs": THREADS} | ({"verbose": -1} if name == THEIRS else {})
