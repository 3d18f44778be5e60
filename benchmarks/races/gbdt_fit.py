"""Fit of 100 trees of 31 leaves to 400,000 rows of 28 features, binning included: ``kb.gbdt``, LightGBM, two threads.

Among the details of the record: the same against scikit-learn's histogram engine, and the time of a first fit, in which
loops are compiled or read from numba's cache.
"""

import statistics
import time
from typing import Any

import lightgbm
import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.contest import Contest
from kb import timing
from kb.gbdt import GBDTRegressor

DEVICES = ("cpu",)
ROWS, FEATURES, TREES = 400_000, 28, 100


def table() -> tuple[np.ndarray, np.ndarray]:
    """Random numbers, and a target that trees can learn in part."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((ROWS, FEATURES))
    y = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3] + generator.standard_normal(ROWS)
    return X, y


def contest(device: torch.device) -> Contest:
    """Assert that predictions agree to nine digits."""
    X, y = table()
    options: dict[str, Any] = {
        "n_estimators": TREES,
        "num_leaves": 31,
        "learning_rate": 0.1,
        "max_bin": 255,
        "n_jobs": 2,
    }
    ours, theirs = GBDTRegressor(**options), lightgbm.LGBMRegressor(**options, verbose=-1)
    start = time.perf_counter()
    ours.fit(X, y)
    first = time.perf_counter() - start
    theirs.fit(X, y)
    np.testing.assert_allclose(ours.predict(X[:10_000]), theirs.predict(X[:10_000]), rtol=1e-9, atol=1e-9)
    third = HistGradientBoostingRegressor(max_iter=TREES, early_stopping=False)
    against_third = timing.race(lambda: ours.fit(X, y), lambda: third.fit(X, y), rounds=5)
    return Contest(
        title="Fit of 100 trees, 400,000 rows of 28 features, two threads",
        ours="kb.gbdt",
        theirs="LightGBM",
        unit="tree",
        units=TREES,
        agreement="predictions of 10,000 rows to nine digits",
        run_ours=lambda: ours.fit(X, y),
        run_theirs=lambda: theirs.fit(X, y),
        details={
            "ratio to scikit-learn's histogram engine": round(statistics.median(against_third.ratios), 2),
            "seconds of the first fit": round(first, 2),
        },
    )
