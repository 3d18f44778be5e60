"""How well a number tells right answers from wrong ones: AUROC, calibration, and what abstaining buys.

AUROC looks at the order alone and calibration at the values: a score can be perfect in one and useless in the other.

Sources: Hanley and McNeil 1982 (AUROC as a probability); Naeini et al. 2015 and Guo et al. 2017 (expected calibration
error); El-Yaniv and Wiener 2010 (risk and coverage). Shapes: N items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.arguments import require_count


@dataclass(frozen=True)
class Bin:
    """Items whose confidence is alike.

    Args:
        confidence: Their mean.
        accuracy: Share of them that are right.
        count: How many.
    """

    confidence: float
    accuracy: float
    count: int


def auroc(scores: Sequence[float], positives: Sequence[bool]) -> float:
    """Chance that a positive item scores higher than a negative one, ties counted half; by ranks.

    Raises:
        ValueError: the lengths differ, a score is no number, or one of the two kinds is missing.
    """
    from scipy.stats import rankdata

    scores_N, positive_N = _read(scores, positives)
    ranks_N, count = rankdata(scores_N), int(positive_N.sum())
    above = ranks_N[positive_N].sum() - count * (count + 1) / 2
    return float(above / (count * (len(scores_N) - count)))


def auroc_loop(scores: Sequence[float], positives: Sequence[bool]) -> float:
    """The same by looking at every pair: the reference."""
    scores_N, positive_N = _read(scores, positives)
    high, low = scores_N[positive_N], scores_N[~positive_N]
    won = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in high for b in low)
    return won / (len(high) * len(low))


def auroc_interval(
    scores: Sequence[float], positives: Sequence[bool], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of AUROC over resampled items; resamples with one kind alone are drawn again.

    Raises:
        ValueError: as in :func:`auroc`, or fewer than one draw.
    """
    require_count("draws", draws)
    scores_N, positive_N = _read(scores, positives)
    generator = np.random.default_rng(seed)
    found: list[float] = []
    while len(found) < draws:
        places = generator.integers(len(scores_N), size=len(scores_N))
        if positive_N[places].any() and not positive_N[places].all():
            found.append(auroc(scores_N[places].tolist(), positive_N[places].tolist()))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def reliability(confidences: Sequence[float], correct: Sequence[bool], *, bins: int = 10) -> list[Bin]:
    """Items in bins of equal width of confidence, empty ones left out; a confidence on an edge falls below it.

    Raises:
        ValueError: a confidence is not between 0 and 1, the lengths differ, or ``bins`` is no positive integer.
    """
    require_count("bins", bins)
    confidence_N = np.asarray(confidences, dtype=np.float64)
    correct_N = np.asarray(correct, dtype=bool)
    if confidence_N.shape != correct_N.shape or confidence_N.ndim != 1 or not confidence_N.size:
        raise ValueError(f"confidences and correct must be as many, got {confidence_N.shape} and {correct_N.shape}")
    if not ((confidence_N >= 0) & (confidence_N <= 1)).all():
        raise ValueError("confidences must be between 0 and 1")
    place_N = np.clip(np.ceil(confidence_N * bins) - 1, 0, bins - 1).astype(int)
    members = (place_N == place for place in range(bins))
    return [
        Bin(float(confidence_N[inside].mean()), float(correct_N[inside].mean()), int(inside.sum()))
        for inside in members
        if inside.any()
    ]


def calibration_error(confidences: Sequence[float], correct: Sequence[bool], *, bins: int = 10) -> float:
    """ECE: mean over items of how far the confidence of their bin is from its accuracy; errors as in reliability.

    It grows with the number of bins on small samples, where a bin's accuracy is noise: say how many there were.
    """
    found = reliability(confidences, correct, bins=bins)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in found) / len(correct)


def risk_coverage(confidences: Sequence[float], correct: Sequence[bool]) -> NDArray[np.float64]:
    """What is left wrong when only the surest are answered, [N, 2]: coverage and share of wrong answers, from 1/N on.

    No threshold can part items of equal confidence: each of them counts as wrong by their common share.

    Raises:
        ValueError: the lengths differ, there is no item, or a confidence is no number.
    """
    if not len(confidences) or len(confidences) != len(correct):
        raise ValueError(f"confidences and correct must be as many, got {len(confidences)} and {len(correct)}")
    confidence_N = np.asarray(confidences, dtype=np.float64)
    if np.isnan(confidence_N).any():
        raise ValueError("confidences must be numbers")
    # Levels from the surest down.
    _, level_N, members = np.unique(-confidence_N, return_inverse=True, return_counts=True)
    wrong = np.bincount(level_N, weights=~np.asarray(correct, dtype=bool))
    order_N = np.sort(level_N)
    wrong_N = (wrong / members)[order_N]
    counts_N = np.arange(1, len(order_N) + 1)
    return np.stack([counts_N / len(order_N), wrong_N.cumsum() / counts_N], axis=1)


def _read(scores: Sequence[float], positives: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores_N, positive_N = np.asarray(scores, dtype=np.float64), np.asarray(positives, dtype=bool)
    if scores_N.shape != positive_N.shape or scores_N.ndim != 1:
        raise ValueError(f"scores and positives must be as many, got {scores_N.shape} and {positive_N.shape}")
    if np.isnan(scores_N).any() or positive_N.all() or not positive_N.any():
        raise ValueError("scores must be numbers, and positives must hold both True and False")
    return scores_N, positive_N
