"""Protein homology of KDD Cup 2004: ``kb.gbdt`` and LightGBM rank on ten random splits of queries, judged by NDCG@10.

scikit-learn ranks nothing, and is not there.
"""

import numpy as np
import torch
from sklearn.metrics import ndcg_score

from benchmarks import boosters
from benchmarks.measurement import Measurement
from benchmarks.real_tables import Metric, Part
from benchmarks.real_tables import measure as measure_table
from kb.gbdt import data

DEVICES = ("cpu",)
FURTHEST, DOCUMENTS = 0.005, 10


def gain_of_first(part: Part, scores_N: np.ndarray) -> float:
    """The mean over the queries of NDCG@10; labels are 0 and 1, so that their gains are they themselves."""
    assert part.groups_Q is not None
    ends_Q = part.groups_Q.cumsum()
    queries = zip(ends_Q - part.groups_Q, ends_Q, strict=True)
    of_Q = [ndcg_score([part.y_N[start:end]], [scores_N[start:end]], k=DOCUMENTS) for start, end in queries]
    return float(np.mean(of_Q))


def measure(device: torch.device) -> Measurement:
    """Assert that the interval of the differences from LightGBM lies within 0.005 of 0."""
    X, y_N, groups_Q = data.kdd04()
    return measure_table(
        "Protein homology: 100 trees on ten random splits of the queries",
        Part(X, y_N, groups_Q),
        boosters.rankers(),
        [Metric(f"NDCG@{DOCUMENTS}", gain_of_first, FURTHEST)],
        {"categories": "none", "queries": len(groups_Q), "scikit-learn": "has no ranking"},
    )
