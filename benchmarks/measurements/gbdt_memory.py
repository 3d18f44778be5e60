"""Memory that a fit needs beyond its data: ``kb.gbdt``, LightGBM and scikit-learn on 400,000 rows of 28 features."""

import torch

from benchmarks import fit_memory
from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import OURS, THEIRS, THREADS

DEVICES = ("cpu",)
ROWS, TREES, ROUNDS = 400_000, 100, 3
LARGEST_RATIO = 1.5  # of ours to LightGBM's


def measure(device: torch.device) -> Measurement:
    """Assert that ours needs at most one and a half times what LightGBM needs, each time."""
    taken: dict[str, list[fit_memory.Taken]] = {name: [] for name in fit_memory.MAKERS}
    for _ in range(ROUNDS):
        for name, fits in taken.items():
            fits.append(fit_memory.fit(name, ROWS, TREES))
    pairs = zip(taken[OURS], taken[THEIRS], strict=True)
    ratios = [ours.beyond / theirs.beyond for ours, theirs in pairs]
    assert max(ratios) <= LARGEST_RATIO, f"ours needs {ratios} of LightGBM's memory, at most {LARGEST_RATIO} was wanted"
    return Measurement(
        title=f"Memory of a fit of {TREES} trees of 31 leaves to {ROWS:,} rows of 28 features",
        method=f"each fit in a process of its own, {THREADS} threads, {ROUNDS} rounds in turn; {fit_memory.METHOD}",
        samples={name: Samples("MiB", [one.beyond for one in fits]) for name, fits in taken.items()}
        | {f"{name} fit": Samples("s", [one.seconds for one in fits]) for name, fits in taken.items()},
        ratios={f"{OURS} / {name}": (OURS, name) for name in taken if name != OURS},
        facts={"rows": ROWS, "features": 28, "trees": TREES, "leaves": 31, "bins": 255, "threads": THREADS}
        | {"MiB of the data, float64": round(taken[OURS][0].data, 3)},
    )
