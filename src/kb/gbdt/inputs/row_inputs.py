"""What is given of each row besides its features: a target, a weight, and scores to start from; checked.

LightGBM keeps targets and weights with 32 bits, so that what these cannot hold is refused.

Shapes: N rows, C trees a round.
"""

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight


def weights_of(sample_weight: Any, values_NF: np.ndarray, name: str = "sample_weight") -> np.ndarray | None:
    """The weights of the rows; None for all alike.

    Raises:
        ValueError: there is not one for each row, one is negative or beyond 32 bits, or all are 0 in 32 bits.
    """
    if sample_weight is None:
        return None
    try:
        weights_N: np.ndarray = _check_sample_weight(sample_weight, values_NF, ensure_non_negative=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    weights_in_32_bits(weights_N, name)
    return weights_N


def start_scores(init_score: Any, rows: int, classes: int, name: str = "init_score") -> np.ndarray | None:
    """The scores that boosting starts from, float64 [N, C], given so or class after class; None for the loss's own.

    Raises:
        ValueError: they are not finite numbers, or not as many as rows and trees of a round.
    """
    if init_score is None:
        return None
    try:
        scores = np.asarray(init_score, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers: {error}") from error
    if scores.size != rows * classes or scores.ndim > 2 or (scores.ndim == 2 and scores.shape[0] != rows):
        raise ValueError(f"{name} must have {classes} columns for {rows} rows, got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{name} must be finite, got {scores[~np.isfinite(scores)][0]}")
    return scores.reshape(rows, classes, order="F")


def in_32_bits(values_N: np.ndarray, name: str) -> np.ndarray:
    """Rounded as LightGBM rounds targets and weights, but as float64.

    Raises:
        ValueError: one is too large.
    """
    with np.errstate(over="ignore"):
        rounded_N = values_N.astype(np.float32)
    finite_N = np.isfinite(rounded_N)
    if not finite_N.all():
        raise ValueError(f"{name} must be finite in 32 bits, got {values_N[~finite_N][0]}")
    return rounded_N.astype(np.float64)


def weights_in_32_bits(weights_N: np.ndarray, name: str) -> np.ndarray:
    """Weights rounded so.

    Raises:
        ValueError: one is negative or too large, or all are 0.
    """
    rounded_N = in_32_bits(weights_N, name)
    if rounded_N.min() < 0:
        raise ValueError(f"{name} must be at least 0, got {rounded_N.min()}")
    if not rounded_N.any():
        raise ValueError(f"{name} must not be 0 in 32 bits for all rows, got at most {weights_N.max()}")
    return rounded_N


def numbers_of(y: Any) -> Any:
    """Targets that are numbers: dates are refused, objects and words made floats; all else comes back as it is.

    Raises:
        ValueError: they are dates, or objects or words that are no numbers.
    """
    if y is None or (isinstance(y, np.ndarray) and y.dtype.kind in "biuf"):
        return y
    try:
        targets = np.asarray(y)
        if targets.dtype.kind in "OUS":
            return targets.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y must hold numbers: {error}") from error
    if targets.dtype.kind in "mM":
        raise ValueError(f"y must hold numbers, got {targets.dtype}")
    return y


def classes_of(labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes in order, and of each row which it has, int64 [N].

    Raises:
        ValueError: labels cannot be put in order, as words and numbers.
    """
    try:
        classes, place_N = np.unique(labels_N, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in labels_N})
        raise ValueError(f"y must hold labels of one kind, got {' and '.join(kinds)}") from error
    return classes, place_N
