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
    "max_iter": TREES,
    "learning_rate": 0.1,
    "max_leaf_nodes": 31,
    "min_samples_leaf": 20,
    "max_bins": 255,
    "early_stopping": False,
}


def regressors(**options: object) -> dict[str, Contender]:
    """Three regressors; ``options`` are LightGBM's, for ours and LightGBM."""
    return {
        **_pair(GBDTRegressor, lightgbm.LGBMRegressor, "predict", options),
        THIRD: Contender(lambda: _third(HistGradientBoostingRegressor), prepare=few_categories),
    }


def classifiers() -> dict[str, Contender]:
    """Three classifiers of two classes, which give the chance of the second."""
    return {
        **_pair(GBDTClassifier, lightgbm.LGBMClassifier, "predict_proba", {}),
        THIRD: Contender(lambda: _third(HistGradientBoostingClassifier), "predict_proba", few_categories),
    }


def rankers() -> dict[str, Contender]:
    """Ours and LightGBM's; scikit-learn has none."""
    return _pair(GBDTRanker, lightgbm.LGBMRanker, "predict", {})


def few_categories(X: Any) -> Any:
    """The frame with columns of more categories than scikit-learn takes as numbers, NaN where missing."""
    codes = {name: X[name].cat.codes.to_numpy(np.float64) for name in too_wide(X)}
    return X.assign(**{name: np.where(codes_N < 0, np.nan, codes_N) for name, codes_N in codes.items()})


def too_wide(X: Any) -> list[str]:
    """The names of the frame's columns of more categories than scikit-learn takes."""
    return [str(name) for name, kind in X.dtypes.items() if len(getattr(kind, "categories", ())) > MOST_CATEGORIES]


def _pair(
    ours: Callable[..., Any], theirs: Callable[..., Any], predict: str, options: dict[str, Any]
) -> dict[str, Contender]:
    shared = {"n_estimators": TREES, "n_jobs": THREADS, **options}
    return {
        OURS: Contender(lambda: ours(**shared), predict),
        THEIRS: Contender(lambda: theirs(**shared, verbose=-1), predict),
    }


def _third(made: Callable[..., Any]) -> Any:
    return made(**SKLEARN, categorical_features="from_dtype")
