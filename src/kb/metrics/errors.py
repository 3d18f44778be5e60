"""RMSE and MAE of predicted numbers such as ratings: scikit-learn's functions under its names.

Neither looks at an order, and neither can see an item that nobody rated: they are no metrics of retrieval.
Source: Herlocker et al. 2004, Evaluating collaborative filtering recommender systems. Shapes: N ratings.
"""

import math
from typing import Any

import numpy as np

from kb.metrics.arrays import numbers, same_length, weights_of


def root_mean_squared_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """The root of the mean of squared errors, in the unit of the ratings.

    Raises:
        ValueError: not [N] and [N], or not finite.
    """
    difference_N, weight_N = _differences(y_true, y_pred, sample_weight)
    return math.sqrt(float(np.average(difference_N**2, weights=weight_N)))


def mean_absolute_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """The mean of absolute errors, in the unit of the ratings; errors as of :func:`root_mean_squared_error`."""
    difference_N, weight_N = _differences(y_true, y_pred, sample_weight)
    return float(np.average(np.abs(difference_N), weights=weight_N))


def _differences(y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray | None]:
    true_N, pred_N = numbers("y_true", y_true).astype(np.float64), numbers("y_pred", y_pred).astype(np.float64)
    same_length(true_N, pred_N)
    return true_N - pred_N, weights_of(sample_weight, len(true_N))
