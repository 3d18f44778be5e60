"""Delays of flights: ``kb.gbdt``, LightGBM and scikit-learn on ten random splits, judged by RMSE and MAE.

One column of categories, the aeroplane, has about 4,000: our bins and LightGBM's hold them, scikit-learn's cannot.
"""

import numpy as np
import torch
from sklearn.metrics import mean_absolute_error

from benchmarks import boosters
from benchmarks.measurement import Measurement
from benchmarks.real_tables import Metric, Part, root_of_squares
from benchmarks.real_tables import measure as measure_table
from kb.gbdt import data

DEVICES = ("cpu",)
FURTHEST = 0.005  # as a share of LightGBM's RMSE or MAE


def mean_size(part: Part, predictions_N: np.ndarray) -> float:
    """The mean absolute error."""
    return float(mean_absolute_error(part.y_N, predictions_N))


def measure(device: torch.device) -> Measurement:
    """Assert that the intervals of the differences from LightGBM lie within 0.5 % of its RMSE and its MAE."""
    X, y_N = data.flights()
    words = [str(name) for name, kind in X.dtypes.items() if hasattr(kind, "categories")]
    return measure_table(
        "Delays of flights: 100 trees on ten random splits",
        Part(X, y_N),
        boosters.regressors(),
        [
            Metric("RMSE", root_of_squares, FURTHEST, relative=True),
            Metric("MAE", mean_size, FURTHEST, relative=True),
        ],
        {
            "categories": {name: len(X[name].cat.categories) for name in words},
            "given to scikit-learn as numbers": boosters.too_wide(X),
            "target": "delay on arrival in minutes",
        },
    )
