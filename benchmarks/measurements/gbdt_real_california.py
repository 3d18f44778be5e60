"""Houses in California: ``kb.gbdt``, LightGBM and scikit-learn on ten random splits, judged by RMSE."""

import torch

from benchmarks import boosters
from benchmarks.measurement import Measurement
from benchmarks.real_tables import Metric, Part, root_of_squares
from benchmarks.real_tables import measure as measure_table
from kb.gbdt import data

DEVICES = ("cpu",)
FURTHEST = 0.005  # as a share of LightGBM's RMSE


def measure(device: torch.device) -> Measurement:
    """Assert that the interval of the differences from LightGBM lies within 0.5 % of its RMSE."""
    return measure_table(
        "California housing: 100 trees on ten random splits",
        Part(*data.california()),
        boosters.regressors(),
        [Metric("RMSE", root_of_squares, FURTHEST, relative=True)],
        {"categories": "none", "target": "median house price in $100,000"},
    )
