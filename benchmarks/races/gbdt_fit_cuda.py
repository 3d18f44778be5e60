"""Fit of 100 trees of 31 leaves to 400,000 rows of 28 features: ``kb.gbdt`` on a GPU, LightGBM on all cores beside it.

Binning is included in both. What is fitted on the GPU must be, to the last byte, what ``kb.gbdt`` fits on the CPU; the
record's details have the time of that fit too, and that of the first one on the GPU, in which kernels are compiled.
"""

import os
import time
from typing import Any

import lightgbm
import numpy as np
import torch

from benchmarks.contest import Contest
from benchmarks.races.gbdt_fit import TREES, table
from kb import runtime
from kb.gbdt import GBDTRegressor

DEVICES = ("cuda",)


def contest(device: torch.device) -> Contest:
    """Assert that both of ours are the same model, and that predictions agree with LightGBM's to nine digits."""
    X, y = table()
    cores = len(os.sched_getaffinity(0))
    options: dict[str, Any] = {
        "n_estimators": TREES,
        "num_leaves": 31,
        "learning_rate": 0.1,
        "max_bin": 255,
        "n_jobs": cores,
    }
    ours, theirs = GBDTRegressor(**options, device_type=device.type), lightgbm.LGBMRegressor(**options, verbose=-1)
    on_cpu = GBDTRegressor(**options)
    on_cpu.fit(X[:1000], y[:1000])  # compiles its loops
    seconds = {}
    for name, model in (("first fit on the GPU", ours), ("fit on the CPU", on_cpu)):
        start = time.perf_counter()
        model.fit(X, y)
        seconds[f"seconds of the {name}"] = round(time.perf_counter() - start, 2)
    theirs.fit(X, y)
    same = ours.to_json() == on_cpu.set_params(device_type=device.type).to_json()
    assert same, "the model that was fitted on the GPU is not that of the CPU"
    np.testing.assert_allclose(ours.predict(X[:10_000]), theirs.predict(X[:10_000]), rtol=1e-9, atol=1e-9)
    return Contest(
        title="Fit of 100 trees, 400,000 rows of 28 features, on a GPU",
        ours="kb.gbdt on the GPU",
        theirs=f"LightGBM on {cores} cores",
        unit="tree",
        units=TREES,
        agreement="kb.gbdt's saved model of the CPU to the byte; LightGBM's predictions of 10,000 rows to nine digits",
        run_ours=lambda: ours.fit(X, y),
        run_theirs=lambda: theirs.fit(X, y),
        details={"processor": runtime.processor(), "cores": cores, **seconds},
        rounds=5,
    )
