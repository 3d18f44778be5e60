"""Predictions of 100 trees for 400,000 rows of 28 features: ``kb.gbdt``, scikit-learn's histogram engine, two threads.

Among the details of the record: the same against LightGBM, whose trees are ours.
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
    """Assert that predictions are LightGBM's, and as good as scikit-learn's."""
    X, y = table()
    ours = GBDTRegressor(n_estimators=TREES).fit(X, y)
    theirs = HistGradientBoostingRegressor(max_iter=TREES, early_stopping=False).fit(X, y)
    booster = lightgbm.Booster(model_str=ours.to_lightgbm_text())
    np.testing.assert_allclose(booster.predict(X[:10_000]), ours.predict(X[:10_000]), rtol=1e-12)
    errors = [float(np.sqrt(np.mean((model.predict(X) - y) ** 2))) for model in (ours, theirs)]
    assert abs(errors[0] / errors[1] - 1) < 0.005, f"the contenders' errors are {errors}"
    against_lightgbm = timing.race(lambda: ours.predict(X), lambda: booster.predict(X, num_threads=2), rounds=5)
    return Contest(
        title="Predictions of 100 trees for 400,000 rows of 28 features, two threads",
        ours="kb.gbdt",
        theirs="scikit-learn's histogram engine",
        unit="row",
        units=ROWS,
        agreement="errors on the training rows within 0.5 %",
        run_ours=lambda: ours.predict(X),
        run_theirs=lambda: theirs.predict(X),
        details={"ratio to LightGBM on the same trees": round(statistics.median(against_lightgbm.ratios), 2)},
    )
