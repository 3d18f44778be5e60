"""One number for two classes, several, or several labels a row: scikit-learn's roc_auc_score, average_precision_score.

Unusual: nothing; the averages are scikit-learn's, zero-weighted classes and all. Where a class is missing the area is
NaN, and so is an average that it is part of: a number made up there (LightGBM's 1, others' 0 or 1/2) would be believed.

Sources: Hand and Till 2001, A Simple Generalisation of the Area Under the ROC Curve for Multiple Class Classification
Problems (one against one); Fawcett 2006, An introduction to ROC analysis (one against the rest).
Shapes: N rows, C classes or labels.
"""

import warnings
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any, Literal

import numpy as np

from kb.metrics import arrays
from kb.metrics.arrays import UndefinedMetricWarning, numbers, same_length, weights_of
from kb.metrics.curves import binary_average_precision, binary_roc_auc

Average = Literal["macro", "micro", "weighted", "samples"] | None
_AVERAGES = ("macro", "micro", "weighted", "samples", None)
Binary = Callable[[np.ndarray, np.ndarray, Any], float]


def roc_auc_score(
    y_true: Any,
    y_score: Any,
    *,
    average: Average = "macro",
    sample_weight: Any = None,
    max_fpr: float | None = None,
    multi_class: Literal["raise", "ovr", "ovo"] = "raise",
    labels: Any = None,
) -> Any:
    """The area under the ROC curve: how often a positive row has a higher score than a negative one, ties half.

    Args:
        y_true: Labels [N] of two classes, of which the larger is the positive one; of several; or 0 and 1, [N, C].
        y_score: Scores [N]; for several classes their probabilities [N, C], in the order of the sorted labels.
        average: Over classes or labels: plain, over all entries at once, by positives, by rows, or None for all.
        sample_weight: Weights [N].
        max_fpr: Only the part up to this false positive rate, standardised.
        multi_class: "ovr", each class against the rest, or "ovo", each pair of classes both ways.
        labels: All classes, sorted, where some are not in ``y_true``.

    Returns:
        A float, or an array [C] where ``average`` is None. NaN and a warning where a class is missing.

    Raises:
        ValueError, TypeError: as of :func:`kb.metrics.curves.threshold_counts`; several classes without
            ``multi_class``; probabilities that do not sum to 1; what scikit-learn refuses to combine.
    """
    y, score = _read(y_true, y_score)
    weight_N = weights_of(sample_weight, len(y))
    binary = partial(binary_roc_auc, max_fpr=max_fpr)
    if y.ndim == 2:
        return _average(binary, y == 1, score, average, weight_N)
    found = np.unique(y)
    if len(found) <= 2 and (score.ndim == 1 or score.shape[1] <= 2):
        if score.ndim == 2:
            raise ValueError(
                f"y_score must be [N] for two classes, got {score.shape}: pass the positive class's column"
            )
        return binary(y == found[-1] if len(found) == 2 else np.zeros(len(y), bool), score, weight_N)
    if max_fpr not in (None, 1):
        raise ValueError(f"max_fpr must be None for several classes, got {max_fpr!r}")
    return _several(y, score, _classes(found, score, labels), multi_class, average, weight_N)


def average_precision_score(
    y_true: Any, y_score: Any, *, average: Average = "macro", pos_label: Any = 1, sample_weight: Any = None
) -> Any:
    """Average precision: the mean of the precision at the places of the positive rows, tied ones taken at once.

    Args:
        y_true: Labels [N] of two classes; of several; or 0 and 1, [N, C].
        y_score: Scores [N], or [N, C] for several classes or labels.
        average: As in :func:`roc_auc_score`.
        pos_label: The positive one of two.
        sample_weight: Weights [N].

    Returns:
        A float, or an array [C] where ``average`` is None; 0 and a warning without a positive row.

    Raises:
        ValueError, TypeError: as of :func:`kb.metrics.curves.threshold_counts`, or shapes that do not fit.
    """
    y, score = _read(y_true, y_score)
    weight_N = weights_of(sample_weight, len(y))
    found = np.unique(y)
    if y.ndim == 1 and len(found) <= 2:
        if len(found) == 2 and pos_label not in found.tolist():
            raise ValueError(f"pos_label must be one of {found.tolist()}, got {pos_label!r}")
        if score.ndim == 2:
            raise ValueError(f"y_score must be [N] for two classes, got {score.shape}")
        return binary_average_precision(y == pos_label, score, weight_N)
    if pos_label != 1:
        raise ValueError(f"pos_label must be 1 for several classes or labels, got {pos_label!r}")
    positive_NC = y == 1 if y.ndim == 2 else y[:, None] == found
    return _average(binary_average_precision, positive_NC, score, average, weight_N)


def _read(y_true: Any, y_score: Any) -> tuple[np.ndarray, np.ndarray]:
    y, score = arrays.labels(y_true), numbers("y_score", y_score, ndim=None)
    same_length(y, score)
    return y, score


def _several(
    y: np.ndarray, score: np.ndarray, classes: np.ndarray, how: str, average: Average, weight_N: np.ndarray | None
) -> Any:
    if how not in ("ovr", "ovo"):
        raise ValueError(f"multi_class must be 'ovr' or 'ovo' for several classes, got {how!r}")
    if how == "ovr":
        if average == "samples":
            raise ValueError("average must be macro, micro, weighted or None for several classes, got 'samples'")
        return _average(binary_roc_auc, y[:, None] == classes, score, average, weight_N)
    if average not in ("macro", "weighted") or weight_N is not None:
        raise ValueError(f"ovo takes the averages macro and weighted and no sample_weight, got {average!r}")
    return _one_against_one(np.searchsorted(classes, y), score, average)


def _classes(found: np.ndarray, score: np.ndarray, given: Any) -> np.ndarray:
    classes = found if given is None else np.asarray(given)
    if given is not None and not np.array_equal(np.unique(classes), classes):
        raise ValueError(f"labels must be distinct and sorted, got {classes.tolist()}")
    if score.ndim != 2 or score.shape[1] != len(classes):
        raise ValueError(f"y_score must be [N, {len(classes)}], a column a class, got {score.shape}")
    if not np.isin(found, classes).all():
        raise ValueError("y_true has labels that are not in labels")
    if not np.allclose(1, score.sum(axis=1)):
        raise ValueError("y_score must be probabilities that sum to 1 over the classes")
    return classes


def _average(
    binary: Binary, positive_NC: np.ndarray, score: np.ndarray, average: Average, weight_N: np.ndarray | None
) -> Any:
    if positive_NC.shape != score.shape:
        raise ValueError(f"y_score must have the shape {positive_NC.shape}, got {score.shape}")
    if average not in _AVERAGES:
        raise ValueError(f"average must be one of {_AVERAGES}, got {average!r}")
    if average == "micro":
        repeated = None if weight_N is None else np.repeat(weight_N, positive_NC.shape[1])
        return binary(positive_NC.ravel(), score.ravel(), repeated)
    if average == "samples":
        of_rows = [binary(*row, None) for row in zip(positive_NC, score, strict=True)]
        return float(np.average(of_rows, weights=weight_N))
    of_columns = np.array([binary(*column, weight_N) for column in zip(positive_NC.T, score.T, strict=True)])
    if average != "weighted":
        return of_columns if average is None else float(np.average(of_columns))
    total_C = positive_NC.sum(axis=0) if weight_N is None else (positive_NC * weight_N[:, None]).sum(axis=0)
    if np.isclose(total_C.sum(), 0):
        return 0.0
    of_columns[total_C == 0] = 0.0  # weighs nothing, and may be NaN
    return float(np.average(of_columns, weights=total_C))


def _one_against_one(class_N: np.ndarray, score_NC: np.ndarray, average: Average) -> float:
    found, shares = [], []
    for a, b in combinations(np.unique(class_N), 2):
        either = (class_N == a) | (class_N == b)
        shares.append(either.mean())
        ways = [binary_roc_auc(class_N[either] == one, score_NC[either, one]) for one in (a, b)]
        found.append(sum(ways) / 2)
    if not found:
        warnings.warn("y_true has one class only: there is no pair", UndefinedMetricWarning, stacklevel=3)
        return float("nan")
    return float(np.average(found, weights=shares if average == "weighted" else None))
