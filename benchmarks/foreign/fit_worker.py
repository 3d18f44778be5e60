"""The process of one fit, whose memory is watched: run as ``python -m benchmarks.foreign.fit_worker``.

What counts is what a fit needs beyond the data and beyond what its library holds for any fit: so a small fit comes
first, then the data, and then the clock and the mark start.

Unusual: the mark is Linux's ``VmHWM``, set back before the fit, and not ``ru_maxrss``, which a process inherits from
the one that started it.
"""

import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.foreign.protocol import serve

FEATURES, CHUNK = 28, 100_000
_FEW_ROWS = 20_000  # enough for two threads


def table(rows: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The race's kind of table, made in chunks, so that at no time there is much more than the table."""
    generator = np.random.default_rng(0)
    X, y = np.empty((rows, FEATURES), dtype), np.empty(rows)
    for start in range(0, rows, CHUNK):
        part = X[start : start + CHUNK]
        part[:] = generator.standard_normal(part.shape)
        learned = 2 * part[:, 0] + np.sin(3 * part[:, 1]) + part[:, 2] * part[:, 3]
        y[start : start + CHUNK] = learned + generator.standard_normal(len(part))
    return X, y


def fit(maker: str, options: dict[str, Any], rows: int, dtype: str, threads: int) -> dict[str, float]:
    """Fit once; returns seconds, and bytes: of the data, what was held before the fit and the most held during it.

    Args:
        maker: Where the estimator's class is, as "module:class".
        options: The class's arguments.
        rows: Of the table.
        dtype: Its numbers' type.
        threads: How many OpenMP may use.
    """
    module, name = maker.split(":")
    make = getattr(importlib.import_module(module), name)
    with threadpool_limits(threads):
        make(**options).fit(*table(_FEW_ROWS, dtype))
        X, y = table(rows, dtype)
        before = held("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        make(**options).fit(X, y)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "data": X.nbytes + y.nbytes, "before": before, "most": held("VmHWM")}


def held(field: str) -> int:
    """Bytes of memory that this process holds (``VmRSS``), or held at most (``VmHWM``)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"field must be one that the system reports, got {field!r}")


if __name__ == "__main__":
    serve({"fit": fit})
