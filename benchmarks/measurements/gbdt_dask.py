"""LightGBM's distributed training by dask: two processes of one thread each, against one process of two threads.

Each process fills histograms from its share of the rows, half of each histogram is sent to the other, which adds it to
its own, and the two exchange their best splits. On a table whose columns have few values, all of which both processes
see, bins do not depend on the share, and the trees are those of one process; on other tables each process finds the
bins of half of the features in its own share, and they are not.
"""

import os
from typing import Any

import torch

from benchmarks import environments
from benchmarks.foreign.worker import Worker
from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import same_trees
from book.notebooks import ROOT

DEVICES = ("cpu",)
ROWS, JUDGED, FEATURES, PROCESSES, ROUNDS = 200_000, 50_000, 28, 2, 5
TREES, LEAVES, MAX_BIN = 100, 31, 255
STEPS = {"numbers": 0, "few values": 20}  # of the columns' values to 1; with 20 there are 81 values from -2 to 2
BINS = {"numbers": MAX_BIN, "few values": 81}
SUM_BYTES = 16  # gradient and second derivative in a bin of LightGBM's histogram, float64
LIMIT_SECONDS = 240.0
WORST_RMSE = 1.01  # of the cluster's RMSE to that of one process
OPTIONS = {"n_estimators": TREES, "num_leaves": LEAVES, "max_bin": MAX_BIN, "n_jobs": PROCESSES, "verbose": -1}


def measure(device: torch.device) -> Measurement:
    """Assert that the trees are the same where the bins are, and that what travels is what the histograms weigh."""
    samples: dict[str, Samples] = {}
    same: dict[str, int] = {}
    models: dict[str, int] = {}
    with _worker() as worker:
        for table, steps in STEPS.items():
            told = worker.call(
                "load",
                timeout=LIMIT_SECONDS,
                rows=ROWS,
                judged=JUDGED,
                features=FEATURES,
                steps=steps,
                processes=PROCESSES,
            )
            assert told["parts"] == [2] * PROCESSES, f"shares are not even: {told['parts']}"
            rounds = [_round(worker, number) for number in range(ROUNDS)]
            samples |= _samples(table, rounds)
            # Only the trees: the ports of a fit come after them.
            models[table] = len({one[True]["model"].partition("end of trees")[0] for one in rounds})
            same[table] = sum(same_trees(rounds[-1][False]["model"], rounds[-1][True]["model"]))
    assert same["few values"] == TREES, f"with the same bins {same['few values']} of {TREES} trees are the same"
    check(samples)
    return Measurement(
        title=f"LightGBM on {ROWS:,} rows of {FEATURES} features, {TREES} trees: a cluster of {PROCESSES} processes",
        method=f"dask's local cluster, {PROCESSES} processes of one thread, against one process of {PROCESSES} "
        f"threads, {ROUNDS} rounds in turn; the data lie in the processes before the clock starts",
        samples=samples,
        ratios={
            f"{table}: cluster / one process{what}": (f"{table}: cluster{what}", f"{table}: one process{what}")
            for table in STEPS
            for what in ("", " RMSE")
        },
        facts={
            f"same trees of {TREES}": same,
            f"different models of the cluster in {ROUNDS} rounds": models,
            "MB by formula": {table: _by_formula(table) for table in STEPS},
            "KB a histogram by formula": {
                table: FEATURES * bins * SUM_BYTES / PROCESSES / 1e3 for table, bins in BINS.items()
            },
            "formula": "each process sends half of a histogram: features x bins x 16 bytes / 2; there is one for the "
            f"root and one, the smaller child's, for each split but the last: {LEAVES - 1} a tree",
            "versions there": told["versions"],
        },
    )


def _worker() -> Worker:
    python = environments.python(environments.DASK)
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    return Worker("dask", [str(python), "-m", "benchmarks.foreign.dask_worker"], environment=kept, folder=ROOT)


def _round(worker: Worker, number: int) -> dict[bool, dict[str, Any]]:
    """A fit in the cluster and one in one process, in another order each time."""
    order = (False, True) if number % 2 else (True, False)
    return {there: worker.call("fit", timeout=LIMIT_SECONDS, distributed=there, options=OPTIONS) for there in order}


def _samples(table: str, rounds: list[dict[bool, dict[str, Any]]]) -> dict[str, Samples]:
    found = {}
    for there, name in ((False, "one process"), (True, "cluster")):
        found[f"{table}: {name}"] = Samples("s", [one[there]["seconds"] for one in rounds])
        found[f"{table}: {name} RMSE"] = Samples("RMSE", [one[there]["rmse"] for one in rounds])
    found[f"{table}: sent"] = Samples("MB", [one[True]["bytes"] / 1e6 for one in rounds])
    return found


def _by_formula(table: str) -> float:
    return TREES * (LEAVES - 1) * FEATURES * BINS[table] * SUM_BYTES / 1e6


def check(samples: dict[str, Samples]) -> None:
    """Assert that as much travels as the histograms weigh, and that the cluster's RMSE is not much larger."""
    for table in STEPS:
        # The rest is best splits, dask's own messages, and bins that a share of the rows does not need.
        sent, wanted = min(samples[f"{table}: sent"].values), _by_formula(table)
        assert 0.9 * wanted < sent < 1.1 * wanted, f"{table}: {sent:.1f} MB were sent, by formula {wanted:.1f} MB"
        pairs = zip(samples[f"{table}: cluster RMSE"].values, samples[f"{table}: one process RMSE"].values, strict=True)
        assert all(cluster <= WORST_RMSE * one for cluster, one in pairs), f"{table}: the cluster's RMSE is too large"
