"""How sure a score is, and whether two systems differ: standard errors, clusters of items, a paired bootstrap.

For yes-or-no outcomes the closed forms of :mod:`kb.intervals` (Wilson, McNemar, Newcombe) are better at the edges;
what is here also takes scores between 0 and 1 such as F1. Unusual: the clustered error is for items that hang together,
such as five questions on one text, which count for fewer than they are.

Sources: Miller 2024, Adding Error Bars to Evals; Efron 1979 and Koehn 2004 (paired bootstrap).
Shapes: N items.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np

from kb.arguments import is_number, require_count
from kb.intervals import Interval


def standard_error(scores: Sequence[float]) -> float:
    """Of the mean of N scores: their deviation over the root of N; sqrt(p (1 - p) / (N - 1)) for outcomes.

    Raises:
        ValueError: there are fewer than two, or one is no number.
    """
    values_N = _read("scores", scores)
    return float(values_N.std(ddof=1) / math.sqrt(len(values_N)))


def clustered_standard_error(scores: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Of the mean, where items of a cluster may rise and fall together.

    The root of the sum over clusters of the square of their summed deviations, over N.

    Raises:
        ValueError: as in :func:`standard_error`, or the lengths differ.
    """
    values_N = _read("scores", scores)
    if len(clusters) != len(values_N):
        raise ValueError(f"clusters must be as many as scores, {len(values_N)}, got {len(clusters)}")
    sums: dict[Hashable, float] = defaultdict(float)
    for cluster, deviation in zip(clusters, values_N - values_N.mean(), strict=True):
        sums[cluster] += float(deviation)
    return math.sqrt(math.fsum(one**2 for one in sums.values())) / len(values_N)


def items_needed(difference: float, *, p: float = 0.5, confidence: float = 0.95) -> int:
    """Items for an interval of an accuracy p that reaches ``difference`` to either side.

    Raises:
        ValueError: a number is not between 0 and 1.
    """
    for name, value in (("difference", difference), ("p", p), ("confidence", confidence)):
        if not is_number(value) or not 0 < value < 1:
            raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return math.ceil((z / difference) ** 2 * p * (1 - p))


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], *, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of the first less that of the second on the same items, with the percentile interval over resampled items.

    Raises:
        ValueError: the lengths differ, there are fewer than two items, or a number is out of its range.
    """
    first_N, second_N = _read("first", first), _read("second", second)
    if len(first_N) != len(second_N):
        raise ValueError(f"first and second must be of equal length, got {len(first_N)} and {len(second_N)}")
    require_count("draws", draws)
    if not is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(f"confidence must be a number between 0 and 1, got {confidence!r}")
    difference_N = first_N - second_N
    generator = np.random.default_rng(seed)
    means = [difference_N[generator.integers(len(difference_N), size=len(difference_N))].mean() for _ in range(draws)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(difference_N.mean()), float(low), float(high))


def _read(name: str, scores: Sequence[float]) -> np.ndarray:
    values_N = np.asarray(scores, dtype=np.float64)
    if values_N.ndim != 1 or len(values_N) < 2 or not np.isfinite(values_N).all():
        raise ValueError(f"{name} must be at least two finite numbers, got {len(values_N)}")
    return values_N
