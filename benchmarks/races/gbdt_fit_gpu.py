"""Fit of 100 trees of 31 leaves to 400,000 rows of 28 features: ``kb.gbdt`` on a GPU, LightGBM on all cores beside it.

LightGBM from PyPI has no CUDA; what a GPU machine offers it are its cores. Our model must be the one that our CPU
engine grows, to the byte.
"""

import os
from typing import Any

import lightgbm
import numpy as np
import torch

from benchmarks.contest import Contest
from benchmarks.races.gbdt_fit import TREES, table
from kb.gbdt import GBDTRegressor

DEVICES = ("cuda",)


def contest(device: torch.device) -> Contest:
    """Assert that the GPU's trees are the CPU's to the byte, and predictions LightGBM's to nine digits."""
    X, y = table()
    cores = len(os.sched_getaffinity(0))
    options: dict[str, Any] = {"n_estimators": TREES, "num_leaves": 31, "learning_rate": 0.1, "max_bin": 255}
    ours = GBDTRegressor(**options, device_type="cuda").fit(X, y)
    here = GBDTRegressor(**options).fit(X, y)
    theirs = lightgbm.LGBMRegressor(**options, n_jobs=cores, verbose=-1).fit(X, y)
    for (one,), (other,) in zip(ours.model_.trees, here.model_.trees, strict=True):
        assert one.leaf_value_L.tobytes() == other.leaf_value_L.tobytes()
        assert one.gain_K.tobytes() == other.gain_K.tobytes()
    np.testing.assert_allclose(ours.predict(X[:10_000]), theirs.predict(X[:10_000]), rtol=1e-9, atol=1e-9)
    return Contest(
        title=f"Fit of 100 trees, 400,000 rows of 28 features: a GPU, and {cores} cores",
        ours="kb.gbdt on the GPU",
        theirs=f"LightGBM on {cores} cores",
        unit="tree",
        units=TREES,
        agreement="the CPU engine's trees to the byte; LightGBM's predictions of 10,000 rows to nine digits",
        run_ours=lambda: ours.fit(X, y),
        run_theirs=lambda: theirs.fit(X, y),
    )
