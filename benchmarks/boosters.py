"""The contenders that grow trees, at parameters that mean the same: LightGBM's defaults, 100 trees, two threads.

scikit-learn's histogram engine has no ``n_jobs``: it takes as many threads as OpenMP is given. It takes no column of
more than 255 categories; such a column is given to it as numbers, the places of the categories.
"""

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from benchmarks.real_tables import OURS, THEIRS, THIRD, THREADS, Contender
from kb.gbdt import GBDTClassifier, GBDTRanker, GBDTRegressor

TREES, MOST_CATEGORIES = 100, 255
SKLEARN: dict[str, Any] = {
    "learning_rate": 0.1,
    "max_leaf_nodes": 31,
    "min_samples_leaf": 20,
    "max_bins": 255,
    "early_stopping": False,
}


def regressors(trees: int = TREES) -> dict[str, Contender]:
    """Three regressors of so many trees."""
    return {
        **_pair(GBDTRegressor, lightgbm.LGBMRegressor, "predict", trees),
        THIRD: Contender(lambda: _third(HistGradientBoostingRegressor, trees), prepare=few_categories),
    }


def classifiers(trees: int = TREES) -> dict[str, Contender]:
    """Three classifiers of two classes, which give the chances of both."""
    return {
        **_pair(GBDTClassifier, lightgbm.LGBMClassifier, "predict_proba", trees),
        THIRD: Contender(lambda: _third(HistGradientBoostingClassifier, trees), "predict_proba", few_categories),
    }


def rankers(trees: int = TREES) -> dict[str, Contender]:
    """Ours and LightGBM's; scikit-learn has none."""
    return _pair(GBDTRanker, lightgbm.LGBMRanker, "predict", trees)


def few_categories(X: Any) -> Any:
    """The frame with columns of more categories than scikit-learn takes as numbers, NaN where missing."""
    codes = {name: X[name].cat.codes.to_numpy(np.float64) for name in too_wide(X)}
    return X.assign(**{name: np.where(codes_N < 0, np.nan, codes_N) for name, codes_N in codes.items()})


def too_wide(X: Any) -> list[str]:
    """The names of the frame's columns of more categories than scikit-learn takes."""
    return [str(name) for name, kind in X.dtypes.items() if len(getattr(kind, "categories", ())) > MOST_CATEGORIES]


def _pair(ours: Callable[..., Any], theirs: Callable[..., Any], predict: str, trees: int) -> dict[str, Contender]:
    return {
        OURS: Contender(lambda: ours(n_estimators=trees, n_jobs=THREADS), predict),
        THEIRS: Contender(lambda: theirs(n_estimators=trees, n_jobs=THREADS, verbose=-1), predict),
    }


def _third(made: Callable[..., Any], trees: int) -> Any:
    return made(**SKLEARN, max_iter=trees, categorical_features="from_dtype")
