"""Adult, who earns over $50,000: ``kb.gbdt``, LightGBM and scikit-learn on ten random splits, judged by AUC."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import boosters
from benchmarks.measurement import Measurement
from benchmarks.real_tables import Metric, Part
from benchmarks.real_tables import measure as measure_table
from kb.gbdt import data

DEVICES = ("cpu",)
FURTHEST = 0.002


def area(part: Part, chances_NC: np.ndarray) -> float:
    """The area under the curve, of the chances of the second class."""
    return float(roc_auc_score(part.y_N, chances_NC[:, 1]))


def measure(device: torch.device) -> Measurement:
    """Assert that the interval of the differences from LightGBM lies within 0.002 of 0."""
    return measure_table(
        "Adult: 100 trees on ten random splits",
        Part(*data.adult()),
        boosters.classifiers(),
        [Metric("AUC", area, FURTHEST)],
        {"categories": "eight columns, as categories to all three"},
    )
