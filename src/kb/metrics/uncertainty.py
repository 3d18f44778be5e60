"""How sure an AUC is, and whether two models differ on the same rows: DeLong, Hanley and McNeil, bootstrap.

Unusual: no covariance matrix of pairs is made. DeLong's components, for each positive the share of negatives below it
and the other way round, come from one sort a model (Sun and Xu rank midranks to the same end). Intervals come on the
plain scale or on that of the logit, where they stay inside 0 and 1. At an area of 1 the components do not vary, and
the plain interval has no width, which is no certainty; the other one is then the exact bound that needs no spread:
all m = min(P, M) pairs of which no two share a row are in order with chance AUC^m at most.

Sources: DeLong, DeLong and Clarke-Pearson 1988, Comparing the areas under two or more correlated receiver operating
characteristic curves; Sun and Xu 2014, Fast implementation of DeLong's algorithm; Hanley and McNeil
1982, the standard error from two quantities Q; Perme and Manevski 2019, Confidence intervals for the Mann-Whitney
test (the logit scale). Shapes: N rows, P positive and M negative ones, K models, D draws.
"""

import math
import warnings
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from kb.arguments import require_count
from kb.intervals import Interval
from kb.metrics.arrays import UndefinedMetricWarning, both_classes, numbers, positives, share

Scale = Literal["plain", "logit"]


def placements_loop(y_true: Any, y_score: Any) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's components by every pair: the reference of :func:`placements`."""
    high, low = both_classes(positives(y_true), numbers("y_score", y_score))
    won = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in low.tolist()] for a in high.tolist()]
    return np.array([sum(row) / len(low) for row in won]), np.array(
        [sum(c) / len(high) for c in zip(*won, strict=True)]
    )


def placements(y_true: Any, y_score: Any) -> tuple[np.ndarray, np.ndarray]:
    """For each positive the share of negatives below it, [P]; for each negative that of positives above it, [M].

    Ties count half; both means are the area.

    Raises:
        ValueError, TypeError: as of :func:`kb.metrics.pairs.mann_whitney_auc`.
    """
    high, low = both_classes(positives(y_true), numbers("y_score", y_score))
    below_P, above_M = _share_below(high, np.sort(low)), 1 - _share_below(low, np.sort(high))
    return below_P, above_M


def delong_covariance(y_true: Any, *y_scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """The areas of K models on the same rows, [K], and DeLong's estimate of their covariance, [K, K].

    Raises:
        ValueError: no model, fewer than two rows of a class, or as of :func:`placements`.
    """
    if not y_scores:
        raise ValueError("y_scores must be one model's scores or more, got none")
    both_classes(positives(y_true), numbers("y_score", y_scores[0]), least=2)
    of_models = [placements(y_true, scores) for scores in y_scores]
    below_KP, above_KM = (np.stack(parts) for parts in zip(*of_models, strict=True))
    covariance = sum(np.atleast_2d(np.cov(part)) / part.shape[1] for part in (below_KP, above_KM))
    return below_KP.mean(axis=1), np.asarray(covariance)


def delong_interval(y_true: Any, y_score: Any, *, confidence: float = 0.95, scale: Scale = "logit") -> Interval:
    """The area with DeLong's interval.

    Args:
        y_true: 0 and 1, or -1 and 1, [N].
        y_score: Finite numbers [N].
        confidence: Of the interval.
        scale: "plain" is the area give or take, which may end above 1 and has no width at 1; "logit" is neither.

    Raises:
        ValueError, TypeError: as of :func:`delong_covariance`, or another ``confidence`` or ``scale``.
    """
    z = _quantile(confidence)
    if scale not in ("plain", "logit"):
        raise ValueError(f"scale must be 'plain' or 'logit', got {scale!r}")
    areas, covariance = delong_covariance(y_true, y_score)
    area, reach = float(areas[0]), z * math.sqrt(max(0.0, float(covariance[0, 0])))
    if scale == "plain":
        return Interval(area, area - reach, area + reach)
    if not 0 < area < 1:
        positive_N = positives(y_true)
        edge = ((1 - confidence) / 2) ** (1 / min(int(positive_N.sum()), int((~positive_N).sum())))
        return Interval(area, edge, 1.0) if area else Interval(area, 0.0, 1 - edge)
    middle, reach = math.log(area / (1 - area)), reach / (area * (1 - area))
    return Interval(area, 1 / (1 + math.exp(reach - middle)), 1 / (1 + math.exp(-reach - middle)))


def hanley_mcneil_error(area: float, num_positives: int, num_negatives: int) -> float:
    """The standard error of an area from its value and the two counts alone, for scores of exponential shape.

    Raises:
        ValueError: the area is not between 0 and 1, or a count is none.
    """
    require_count("num_positives", num_positives)
    require_count("num_negatives", num_negatives)
    if not 0 <= area <= 1:
        raise ValueError(f"area must be between 0 and 1, got {area!r}")
    two_positives, two_negatives = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area)
    spread += (num_positives - 1) * (two_positives - area**2) + (num_negatives - 1) * (two_negatives - area**2)
    return math.sqrt(max(0.0, spread) / (num_positives * num_negatives))


def hanley_mcneil_interval(y_true: Any, y_score: Any, *, confidence: float = 0.95) -> Interval:
    """The area give or take, with the error of :func:`hanley_mcneil_error`; errors as of :func:`delong_interval`."""
    z = _quantile(confidence)
    high, low = both_classes(positives(y_true), numbers("y_score", y_score))
    area = float(_share_below(high, np.sort(low)).mean())
    reach = z * hanley_mcneil_error(area, len(high), len(low))
    return Interval(area, area - reach, area + reach)


def bootstrap_interval(
    y_true: Any, y_score: Any, *, draws: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The area with the middle of its values over rows drawn again, as many of each class as there are.

    One sort serves all draws: a draw is how often each row came, and its area that of rows so weighted.

    Raises:
        ValueError, TypeError: as of :func:`delong_interval`, or no draw.
    """
    _quantile(confidence)
    require_count("draws", draws)
    high, low = both_classes(positives(y_true), numbers("y_score", y_score))
    levels = np.unique(np.concatenate([high, low]))
    generator = np.random.default_rng(seed)
    rows = max(1, 2_000_000 // (len(high) + len(low)))  # draws at a time, to bound memory
    found = []
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        drawn = []
        for part in (high, low):
            which = np.searchsorted(levels, part)[generator.integers(len(part), size=(count, len(part)))]
            flat = (which + np.arange(count)[:, None] * len(levels)).ravel()
            drawn.append(np.bincount(flat, minlength=count * len(levels)).reshape(count, -1))
        above, below = drawn
        found.append((above * (below.cumsum(axis=1) - 0.5 * below)).sum(axis=1) / (len(high) * len(low)))
    tail = (1 - confidence) / 2
    ends = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return Interval(float(_share_below(high, np.sort(low)).mean()), float(ends[0]), float(ends[1]))


@dataclass(frozen=True)
class PairedAuc:
    """Two models on the same rows.

    Args:
        first: Area of the first.
        second: Area of the second.
        difference: First less second, with DeLong's interval.
        correlation: Of the two areas; NaN where one does not vary.
        p_value: Two-sided, of no difference; 1 where the two put all pairs alike. Where they differ and neither's
            components vary (each is perfect, constant or all wrong) the test has no error to go by: NaN, as are the
            bounds of the difference, and a warning.
    """

    first: float
    second: float
    difference: Interval
    correlation: float
    p_value: float


def delong_test(y_true: Any, first: Any, second: Any, *, confidence: float = 0.95) -> PairedAuc:
    """Whether two models' areas differ on the same rows, by DeLong's test; errors as of :func:`delong_interval`."""
    z = _quantile(confidence)
    areas, covariance = delong_covariance(y_true, first, second)
    difference = float(areas[0] - areas[1])
    error = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    spreads = math.sqrt(float(covariance[0, 0] * covariance[1, 1]))
    p_value = math.erfc(abs(difference) / error / math.sqrt(2)) if error else 1.0
    if difference and not error:
        message = "the areas differ and neither varies, so the test has no error: p and bounds are NaN"
        warnings.warn(message, UndefinedMetricWarning, stacklevel=2)
        p_value = error = float("nan")
    return PairedAuc(
        float(areas[0]),
        float(areas[1]),
        Interval(difference, difference - z * error, difference + z * error),
        float(covariance[0, 1]) / spreads if spreads else float("nan"),
        p_value,
    )


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each value the share of the sorted others below it, ties half."""
    twice = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return twice / (2 * len(others))


def _quantile(confidence: float) -> float:
    return -NormalDist().inv_cdf((1 - share("confidence", confidence)) / 2)
