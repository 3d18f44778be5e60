"""Time and memory on a GPU by the number of rows: a million and ten million rows of 28 features, ten trees.

Data lie in host memory; binning is the host's, and is in the time.
"""

import time

import numpy as np
import torch

from benchmarks.measurement import Measurement, Samples
from kb.gbdt import GBDTRegressor

DEVICES = ("cuda",)
ROWS = {"1,000,000": 1_000_000, "10,000,000": 10_000_000}
FEATURES, TREES, ROUNDS = 28, 10, 3
LARGEST_MIB = 4096.0  # of the GPU


def measure(device: torch.device) -> Measurement:
    """Assert that the GPU's memory grows with the rows and stays below 4 GiB at ten million."""
    samples: dict[str, Samples] = {}
    for name, rows in ROWS.items():
        X, y = _table(rows)
        GBDTRegressor(n_estimators=1, device_type="cuda").fit(X[:10_000], y[:10_000])  # compiles
        seconds, growing, memory = [], [], []
        for _ in range(ROUNDS):
            torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            GBDTRegressor(n_estimators=TREES, device_type="cuda").fit(X, y)
            seconds.append(time.perf_counter() - start)
            memory.append(torch.cuda.max_memory_allocated() / 2**20)
            start = time.perf_counter()
            GBDTRegressor(n_estimators=2 * TREES, device_type="cuda").fit(X, y)
            growing.append((time.perf_counter() - start - seconds[-1]) / TREES)
        samples[f"{name} rows: fit"] = Samples("s", seconds)
        samples[f"{name} rows: one tree more"] = Samples("s", growing)
        samples[f"{name} rows: memory of the GPU"] = Samples("MiB", memory)
    most = max(samples["10,000,000 rows: memory of the GPU"].values)
    assert most < LARGEST_MIB, f"{most:.0f} MiB of the GPU, at most {LARGEST_MIB:.0f} were wanted"
    return Measurement(
        title=f"Fits on a GPU of {TREES} trees of 31 leaves to up to ten million rows of 28 features, float32",
        method=f"{ROUNDS} rounds; binning on the host is part of a fit; a tree more is the difference of "
        f"{2 * TREES} trees and {TREES}",
        samples=samples,
        ratios={"fit, ten million / one million": ("10,000,000 rows: fit", "1,000,000 rows: fit")},
        facts={"features": FEATURES, "trees": TREES, "leaves": 31, "bins": 255},
    )


def _table(rows: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((rows, FEATURES), dtype=np.float32)
    y = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3]
    return X, y + generator.standard_normal(rows, dtype=np.float32)
