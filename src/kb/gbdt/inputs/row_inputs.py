"""What may be given of each row besides its features: a weight, and scores to start from; checked.

Shapes: N rows, C trees a round.
"""

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight


def weights_of(sample_weight: Any, values_NF: np.ndarray, name: str = "sample_weight") -> np.ndarray | None:
    """The weights of the rows; None for all alike.

    Raises:
        ValueError: there is not one for each row, one is negative, or all are 0.
    """
    if sample_weight is None:
        return None
    weights_N: np.ndarray = _check_sample_weight(sample_weight, values_NF, ensure_non_negative=True)
    if not weights_N.any():
        raise ValueError(f"{name} must not be 0 for all rows")
    return weights_N


def start_scores(init_score: Any, rows: int, classes: int, name: str = "init_score") -> np.ndarray | None:
    """The scores that boosting starts from, float64 [N, C], given so or class after class; None for the loss's own.

    Raises:
        ValueError: there are not as many as rows and trees of a round.
    """
    if init_score is None:
        return None
    scores = np.asarray(init_score, np.float64)
    if scores.size != rows * classes or scores.ndim > 2 or (scores.ndim == 2 and scores.shape[0] != rows):
        raise ValueError(f"{name} must have {classes} columns for {rows} rows, got {scores.shape}")
    return scores.reshape(rows, classes, order="F")


def in_32_bits(values_N: np.ndarray) -> np.ndarray:
    """Rounded as LightGBM rounds targets and weights, but as float64."""
    return values_N.astype(np.float32).astype(np.float64)
