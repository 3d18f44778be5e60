"""Time and memory by the number of rows: ``kb.gbdt`` and LightGBM on 100,000, 1,000,000 and 10,000,000 rows.

The table is float32, which both read as it is.
"""

import statistics

import torch

from benchmarks import fit_memory
from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import OURS, THEIRS, THREADS

DEVICES = ("cpu",)
ROWS = {"100,000": 100_000, "1,000,000": 1_000_000, "10,000,000": 10_000_000}
TREES, ROUNDS = 10, 3
LARGEST_MIB = 2048.0  # beyond the data
STEEPEST = 2.0  # time of a row among ten million, to that among one million


def measure(device: torch.device) -> Measurement:
    """Assert that ours needs at most 2 GiB beyond the data, and that a row among ten million is not much slower."""
    taken: dict[tuple[str, str], list[fit_memory.Taken]] = {
        (name, rows): [] for rows in ROWS for name in (OURS, THEIRS)
    }
    for _ in range(ROUNDS):
        for (name, rows), fits in taken.items():
            fits.append(fit_memory.fit(name, ROWS[rows], TREES, "float32"))
    per_million = {key: [1e6 * one.seconds / ROWS[key[1]] for one in fits] for key, fits in taken.items()}
    beyond = {key: [one.beyond for one in fits] for key, fits in taken.items()}
    most = max(beyond[OURS, "10,000,000"])
    assert most <= LARGEST_MIB, f"ours needs {most:.0f} MiB beyond the data, at most {LARGEST_MIB:.0f} were wanted"
    large, small = (statistics.median(per_million[OURS, rows]) for rows in ("10,000,000", "1,000,000"))
    assert large <= STEEPEST * small, f"a million of ten million rows takes {large:.2f} s, one million {small:.2f} s"
    return Measurement(
        title=f"Fits of {TREES} trees of 31 leaves to up to ten million rows of 28 features, float32",
        method=f"each fit in a process of its own, {THREADS} threads, {ROUNDS} rounds in turn; {fit_memory.METHOD}",
        samples={f"{name}, {rows} rows: a million": Samples("s", of) for (name, rows), of in per_million.items()}
        | {f"{name}, {rows} rows: memory": Samples("MiB", of) for (name, rows), of in beyond.items()},
        ratios={
            f"{what}, {rows} rows": (f"{OURS}, {rows} rows: {what}", f"{THEIRS}, {rows} rows: {what}")
            for rows in ROWS
            for what in ("a million", "memory")
        },
        facts={"features": 28, "trees": TREES, "leaves": 31, "bins": 255, "threads": THREADS}
        | {"MiB of the data": {rows: round(taken[OURS, rows][0].data, 3) for rows in ROWS}},
    )
