"""Predictions of the same 100 trees for 400,000 rows of 28 features: ``kb.gbdt``, LightGBM, two threads.

The trees are handed to LightGBM in its own text form. Among the details of the record: the same against scikit-learn's
histogram engine, with trees of its own of as many leaves.
"""

import statistics

import lightgbm
import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.contest import Contest
from benchmarks.races.gbdt_fit import ROWS, TREES, table
from kb import timing
from kb.gbdt import GBDTRegressor

DEVICES = ("cpu",)


def contest(device: torch.device) -> Contest:
    """Assert that predictions agree to twelve digits."""
    X, y = table()
    ours = GBDTRegressor(n_estimators=TREES).fit(X, y)
    booster = lightgbm.Booster(model_str=ours.to_lightgbm_text())
    np.testing.assert_allclose(booster.predict(X), ours.predict(X), rtol=1e-12, atol=1e-12)
    third = HistGradientBoostingRegressor(max_iter=TREES, early_stopping=False).fit(X, y)
    against_third = timing.race(lambda: ours.predict(X), lambda: third.predict(X), rounds=5)
    return Contest(
        title="Predictions of 100 trees for 400,000 rows of 28 features, two threads",
        ours="kb.gbdt",
        theirs="LightGBM",
        unit="row",
        units=ROWS,
        agreement="all predictions to twelve digits",
        run_ours=lambda: ours.predict(X),
        run_theirs=lambda: booster.predict(X, num_threads=2),
        details={"ratio to scikit-learn's histogram engine": round(statistics.median(against_third.ratios), 2)},
    )
