"""What the metrics take in: numbers, labels, weights and tables of scores, checked before any work is done.

Unusual: scores keep their dtype, as two integers beyond 2^53 would be one float64.
Shapes: N rows, C classes or labels, Q queries, I items.
"""

import math
from typing import Any

import numpy as np


class UndefinedMetricWarning(UserWarning):
    """A metric has no value for these data, for example an area without both classes; NaN is returned."""


def numbers(name: str, values: Any, *, ndim: int | None = 1, infinite: bool = False) -> np.ndarray:
    """An array of real numbers, in the dtype in which it came.

    Args:
        name: Of the argument, for messages.
        values: Anything that NumPy makes an array of.
        ndim: Wanted number of axes; None for one or two.
        infinite: Whether minus infinity may be among them. NaN and plus infinity never may.

    Raises:
        ValueError: not that many axes, empty, or not finite.
        TypeError: no real numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.ndim != ndim and not (ndim is None and array.ndim in (1, 2)):
        raise ValueError(f"{name} must have {ndim or '1 or 2'} axes, got shape {array.shape}")
    if not array.size:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if array.dtype.kind == "f":
        wrong = ~np.isfinite(array) & ~(infinite & np.isneginf(array))
        if wrong.any():
            place = tuple(int(one) for one in np.argwhere(wrong)[0])
            raise ValueError(f"{name} must be finite, got {array[place]} at {place}")
    return array


def weights_of(sample_weight: Any, N: int) -> np.ndarray | None:
    """Weights as float64 [N], or None where there are none.

    Raises:
        ValueError: another length, a negative one, or all are 0.
    """
    if sample_weight is None:
        return None
    weight_N = numbers("sample_weight", sample_weight).astype(np.float64)
    if len(weight_N) != N:
        raise ValueError(f"sample_weight must have {N} entries, got {len(weight_N)}")
    if (weight_N < 0).any() or not weight_N.any():
        raise ValueError("sample_weight must be at least 0 and not all 0")
    return weight_N


def same_length(first: np.ndarray, second: np.ndarray) -> None:
    """Refuse labels and scores that are not as many.

    Raises:
        ValueError: they are not.
    """
    if len(first) != len(second):
        raise ValueError(f"y_true and y_score must have as many rows, got {len(first)} and {len(second)}")


def labels(y_true: Any) -> np.ndarray:
    """Labels [N] or a table of 0 and 1 [N, C]: integers, whole floats, booleans or words.

    Raises:
        ValueError: empty, not finite, not whole, or a table with other entries than 0 and 1.
    """
    array = np.asarray(y_true)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"y_true must be [N] or [N, C] and not empty, got shape {array.shape}")
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.floor(array)).all()):
        raise ValueError("y_true must be labels: finite whole numbers, got others")
    if array.ndim == 2 and not np.isin(array, (0, 1)).all():
        raise ValueError("y_true [N, C] must be 0 and 1, got other entries")
    return array


def positives(y_true: Any, pos_label: Any = None) -> np.ndarray:
    """Which of N labels are the positive one: ``pos_label``, or 1 where labels are 0 and 1, or -1 and 1.

    Raises:
        ValueError: no [N], or labels of which the positive one cannot be guessed.
    """
    y_N = labels(y_true)
    if y_N.ndim != 1:
        raise ValueError(f"y_true must be [N], got shape {y_N.shape}")
    if pos_label is None:
        found = np.unique(y_N).tolist()
        if not any(set(found) <= set(known) for known in ([0, 1], [-1, 1])):
            raise ValueError(f"y_true has the labels {found[:5]}: say by pos_label which is the positive one")
        pos_label = 1
    return np.asarray(y_N == pos_label)


def both_classes(positive_N: np.ndarray, score_N: np.ndarray, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the positives, and those of the negatives.

    Raises:
        ValueError: fewer than ``least`` of one of them.
    """
    same_length(positive_N, score_N)
    found = int(positive_N.sum()), int((~positive_N).sum())
    if min(found) < least:
        raise ValueError(f"y_true must have at least {least} of each class, got {found[0]} and {found[1]}")
    return score_N[positive_N], score_N[~positive_N]


def table(y_true: Any, y_score: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gains of at least 0 and scores, both [Q, I] in float64; a score of minus infinity is an item never returned.

    Raises:
        ValueError: other shapes, a negative gain, or a number that is not finite otherwise.
    """
    gain_QI = numbers("y_true", y_true, ndim=2).astype(np.float64)
    score_QI = numbers("y_score", y_score, ndim=2, infinite=True)
    if gain_QI.shape != score_QI.shape:
        raise ValueError(f"y_true and y_score must have one shape [Q, I], got {gain_QI.shape} and {score_QI.shape}")
    if (gain_QI < 0).any():
        raise ValueError("y_true must be at least 0: gains or relevance")
    return gain_QI, sortable(score_QI)


def sortable(score_QI: np.ndarray) -> np.ndarray:
    """Scores as floats in the same order: integers that float64 would merge become their ranks."""
    if score_QI.dtype.kind == "f":
        return score_QI
    if score_QI.dtype.kind in "iu" and (score_QI.max() > 2**53 or score_QI.min() < -(2**53)):
        score_QI = np.unique(score_QI, return_inverse=True)[1].reshape(score_QI.shape)
    return score_QI.astype(np.float64)


def share(name: str, value: float) -> float:
    """A number between 0 and 1, both left out.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
    return float(value)
