"""ROC and precision-recall curves, and the areas under them, by one sort: scikit-learn's functions under its names.

Unusual: nothing but the counts at each threshold is ever computed from the scores; both curves are divisions of these.
Rows are added up in scikit-learn's order (falling scores, equal ones as they came), so that weighted sums round alike.
Negative weights are refused, which scikit-learn lets pass: curves of them may run backwards.

Sources: Fawcett 2006, An introduction to ROC analysis, algorithms 1 and 2; McClish 1989, Analyzing a portion of the ROC
curve (the standardised partial area); Davis and Goadrich 2006, The relationship between precision-recall and ROC
curves (interpolation). Shapes: N rows, T thresholds.
"""

import warnings
from typing import Any

import numpy as np

from kb.metrics.arrays import UndefinedMetricWarning, numbers, positives, same_length, weights_of


def threshold_counts(
    y_true: Any, y_score: Any, *, pos_label: Any = None, sample_weight: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False and true positives where all rows with a score of at least the threshold are called positive.

    Args:
        y_true: Labels [N].
        y_score: Finite numbers [N], higher for what looks more positive.
        pos_label: The positive one; not needed where labels are 0 and 1, or -1 and 1.
        sample_weight: What each row counts, at least 0; 1 if None. A row of weight 0 is as if it were not there.

    Returns:
        Weights of false positives [T], of true positives [T], and the thresholds [T]: the distinct scores, falling.

    Raises:
        ValueError: lengths differ, a score is not finite, or the positive label is not known.
        TypeError: scores are no real numbers.
    """
    positive_N, score_N = positives(y_true, pos_label), numbers("y_score", y_score)
    same_length(positive_N, score_N)
    weight_N = weights_of(sample_weight, len(score_N))
    if weight_N is not None:
        kept = weight_N != 0
        positive_N, score_N, weight_N = positive_N[kept], score_N[kept], weight_N[kept]
    # Falling and stable without a minus sign, which unsigned integers do not survive.
    order_N = len(score_N) - 1 - np.argsort(score_N[::-1], kind="stable")[::-1]
    score_N, hit_N = score_N[order_N], positive_N[order_N].astype(np.float64)
    last_T = np.append(np.flatnonzero(score_N[1:] != score_N[:-1]), len(score_N) - 1)
    if weight_N is None:
        true_T = hit_N.cumsum()[last_T]
        return 1 + last_T.astype(np.float64) - true_T, true_T, score_N[last_T]
    weight_N = weight_N[order_N]
    return ((1 - hit_N) * weight_N).cumsum()[last_T], (hit_N * weight_N).cumsum()[last_T], score_N[last_T]


def roc_curve(
    y_true: Any, y_score: Any, *, pos_label: Any = None, sample_weight: Any = None, drop_intermediate: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ROC curve: false positive rate [T+1], true positive rate [T+1], thresholds [T+1], from (0, 0) at infinity.

    Arguments and errors are those of :func:`threshold_counts`. ``drop_intermediate`` leaves out points where both
    counts go on with the step before; most points on straight lines are of this kind, and no area changes. Without a
    row of one class its rate is NaN, and a warning says so.
    """
    false_T, true_T, threshold_T = threshold_counts(y_true, y_score, pos_label=pos_label, sample_weight=sample_weight)
    if drop_intermediate and len(false_T) > 2:
        turns = (np.diff(false_T, 2) != 0) | (np.diff(true_T, 2) != 0)
        kept = np.concatenate([[True], turns, [True]])
        false_T, true_T, threshold_T = false_T[kept], true_T[kept], threshold_T[kept]
    rates = []
    for name, count_T in (("negative", false_T), ("positive", true_T)):
        if count_T[-1] <= 0:
            _warn(f"y_true has no {name} row, so its rate is NaN")
        total = count_T[-1] if count_T[-1] > 0 else np.nan
        rates.append(np.concatenate([[0.0], count_T]) / total)
    return rates[0], rates[1], np.concatenate([[np.inf], threshold_T.astype(np.float64)])


def precision_recall_curve(
    y_true: Any, y_score: Any, *, pos_label: Any = None, sample_weight: Any = None, drop_intermediate: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision [T+1] and recall [T+1] for rising thresholds [T], ending in the point (recall 0, precision 1).

    Arguments and errors are those of :func:`threshold_counts`. ``drop_intermediate`` leaves out thresholds at which
    the recall is that of both neighbours. Without a positive row the recall is set to 1, and a warning says so.
    """
    false_T, true_T, threshold_T = threshold_counts(y_true, y_score, pos_label=pos_label, sample_weight=sample_weight)
    if drop_intermediate and len(false_T) > 2:
        kept = np.concatenate([[True], (np.diff(true_T[:-1]) != 0) | (np.diff(true_T[1:]) != 0), [True]])
        false_T, true_T, threshold_T = false_T[kept], true_T[kept], threshold_T[kept]
    precision_T = true_T / (true_T + false_T)
    if true_T[-1] == 0:
        _warn("y_true has no positive row, so recall is set to 1")
    recall_T = true_T / true_T[-1] if true_T[-1] else np.ones_like(true_T)
    return np.append(precision_T[::-1], 1.0), np.append(recall_T[::-1], 0.0), threshold_T[::-1]


def auc(x: Any, y: Any) -> float:
    """The area under straight lines through the points, x rising or falling.

    Raises:
        ValueError: fewer than two points, lengths differ, or x turns back.
    """
    x_T, y_T = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x_T.ndim != 1 or x_T.shape != y_T.shape or len(x_T) < 2:
        raise ValueError(f"x and y must be two or more points, as many each, got {x_T.shape} and {y_T.shape}")
    step_T = np.diff(x_T)
    if (step_T < 0).any() and (step_T > 0).any():
        raise ValueError("x must rise or fall all the way")
    area = float((step_T * (y_T[1:] + y_T[:-1]) / 2.0).sum())
    return -area if (step_T < 0).any() else area


def binary_roc_auc(
    positive_N: np.ndarray, score_N: np.ndarray, sample_weight: Any = None, max_fpr: float | None = None
) -> float:
    """The area under the ROC curve of two classes; with ``max_fpr`` the part to its left, standardised by McClish.

    A part is scaled so that a random order gives 1/2 and a perfect one 1. NaN and a warning without both classes.

    Raises:
        ValueError: ``max_fpr`` is not above 0 and at most 1.
    """
    if max_fpr is not None and not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must be above 0 and at most 1, got {max_fpr!r}")
    if positive_N.all() or not positive_N.any():
        same_length(positive_N, score_N)
        _warn("y_true has one class only, so the area under its ROC curve is NaN")
        return float("nan")
    false_T, true_T, _ = roc_curve(positive_N, score_N, sample_weight=sample_weight)
    if max_fpr is None or max_fpr == 1 or np.isnan(false_T[-1] + true_T[-1]):  # all rows of a class weigh nothing
        return auc(false_T, true_T)
    stop = int(np.searchsorted(false_T, max_fpr, "right"))
    edge = np.interp(max_fpr, false_T[stop - 1 : stop + 1], true_T[stop - 1 : stop + 1])
    part = auc(np.append(false_T[:stop], max_fpr), np.append(true_T[:stop], edge))
    least, most = 0.5 * max_fpr**2, max_fpr
    return float(0.5 * (1 + (part - least) / (most - least)))


def binary_average_precision(positive_N: np.ndarray, score_N: np.ndarray, sample_weight: Any = None) -> float:
    """Precision at each threshold times the recall that it adds, summed: a step function's area, without lines."""
    precision_T, recall_T, _ = precision_recall_curve(positive_N, score_N, sample_weight=sample_weight)
    return float(max(0.0, -(np.diff(recall_T) * precision_T[:-1]).sum()))


def roc_hull(fpr_T: np.ndarray, tpr_T: np.ndarray) -> np.ndarray:
    """Places of the points on the upper convex hull, rising: thresholds that some prices of errors make the best.

    Raises:
        ValueError: not two vectors of one length, empty, or a rate that falls or is NaN.

    Source: Provost and Fawcett 2001, Robust Classification for Imprecise Environments.
    """
    fpr_T, tpr_T = numbers("fpr", fpr_T), numbers("tpr", tpr_T)
    if len(fpr_T) != len(tpr_T) or (np.diff(fpr_T) < 0).any() or (np.diff(tpr_T) < 0).any():
        raise ValueError(f"fpr and tpr must rise, as many each, got {len(fpr_T)} and {len(tpr_T)} of them")
    kept: list[int] = []
    for place in range(len(fpr_T)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            turn = (fpr_T[b] - fpr_T[a]) * (tpr_T[place] - tpr_T[a])
            turn -= (tpr_T[b] - tpr_T[a]) * (fpr_T[place] - fpr_T[a])
            if turn < 0:
                break
            kept.pop()
        kept.append(place)
    return np.array(kept)


def _warn(message: str) -> None:
    warnings.warn(message, UndefinedMetricWarning, stacklevel=3)
