"""Fit of 10 trees of 31 leaves to 10,000,000 rows of 28 features on a GPU: seconds by part, and the device's memory."""

import os
import time

import numpy as np
import torch

from benchmarks.measurement import Measurement, Samples
from kb import runtime
from kb.gbdt import GBDTRegressor

DEVICES = ("cuda",)
ROWS, FEATURES, TREES, FITS = 10_000_000, 28, 10, 3
LARGEST_BYTES = 2 * 2**30  # bins in two layouts take 0.56 GB, derivatives as integers 0.16 GB


def table() -> tuple[np.ndarray, np.ndarray]:
    """Random numbers in 32 bits, and a target that trees can learn in part."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((ROWS, FEATURES), np.float32)
    y = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3] + generator.standard_normal(ROWS, np.float32)
    return X, y


def measure(device: torch.device) -> Measurement:
    """Assert that the same model comes out each time, that it learned, and that memory stays within bounds."""
    X, y = table()
    cores = len(os.sched_getaffinity(0))
    seconds, rounds, texts = [], [], set()
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(FITS):
        ends: list[float] = []
        model = GBDTRegressor(n_estimators=TREES, n_jobs=cores, device_type=device.type)
        start = time.perf_counter()
        model.fit(X, y, callbacks=[lambda env, ends=ends: ends.append(time.perf_counter())])
        seconds.append(time.perf_counter() - start)
        rounds += np.diff(ends).tolist()
        texts.add(model.to_json())
    peak = torch.cuda.max_memory_allocated(device)
    assert len(texts) == 1, "two fits on the same rows gave different bytes"
    assert peak <= LARGEST_BYTES, f"{peak} bytes on the device at the peak, {LARGEST_BYTES} allowed"
    share = float(np.mean((y[:100_000] - model.predict(X[:100_000])) ** 2) / np.var(y[:100_000]))
    assert share < 0.6, f"{share:.2f} of the variance is left after {TREES} trees"
    return Measurement(
        title=f"Fit of {TREES} trees to 10,000,000 rows of 28 features on a GPU",
        method=f"{FITS} fits one after another, each with its binning on {cores} cores; a round is from the end of one "
        "tree to the end of the next",
        samples={"fit": Samples("s", seconds), "round": Samples("s", rounds)},
        facts={
            "rows": ROWS,
            "features": FEATURES,
            "trees": TREES,
            "peak_device_bytes": peak,
            "variance_left": round(share, 4),
            "processor": runtime.processor(),
            "cores": cores,
        },
    )
