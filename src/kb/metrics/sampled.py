"""What a ranking metric becomes when an item is ranked among m sampled others in place of all: expectation, correction.

An item at place r of n meets m others drawn with replacement; each is above it with chance (r - 1) / (n - 1), so that
its place among them is one plus a binomial number. So each metric of one relevant item becomes another metric, which
this module computes exactly. Unusual: nothing is simulated here; the tests simulate.

Source: Krichene and Rendle 2020, On Sampled Metrics for Item Recommendation (sampling with replacement;
the correction that trades bias for variance by gamma). Shapes: R = n places of all, S = m + 1 among the
sampled.
"""

from typing import Any

import numpy as np

from kb.arguments import is_number, require_count
from kb.metrics.arrays import numbers


def sampled_places(n: int, m: int) -> np.ndarray:
    """The chance of place s among m sampled others for an item at place r of n, [R, S]; rows sum to 1.

    Raises:
        ValueError: fewer than two items, or no sample.
    """
    from scipy.stats import binom

    require_count("n", n, least=2)
    require_count("m", m)
    above_R1 = (np.arange(n) / (n - 1))[:, None]
    return np.asarray(binom.pmf(np.arange(m + 1)[None], m, above_R1))


def expected_sampled(values_S: Any, n: int) -> np.ndarray:
    """What a metric that gives ``values_S`` to the places among the sampled is worth on average at each of n, [R].

    Args:
        values_S: The metric of an item at place 1, 2, … m + 1.
        n: Items in all.

    Raises:
        ValueError: fewer than two values or items.
    """
    value_S = numbers("values_S", values_S).astype(np.float64)
    return np.asarray(sampled_places(n, len(value_S) - 1) @ value_S)


def corrected(values_R: Any, m: int, *, gamma: float = 0.1, chances_R: Any = None) -> np.ndarray:
    """A metric of places among m sampled that comes, on average, near to ``values_R`` of the places among all, [S].

    It minimises the squared bias plus gamma times the variance, averaged over the places of all.

    Args:
        values_R: The metric of an item at place 1, 2, … n of all.
        m: How many are sampled.
        gamma: Above 0, up to 1; near 0 there is least bias, and numbers that swing from place to place.
        chances_R: How likely each place is; all alike if None.

    Raises:
        ValueError: a value is out of its range.
    """
    value_R = numbers("values_R", values_R).astype(np.float64)
    n = len(value_R)
    if not is_number(gamma) or not 0 < gamma <= 1:
        raise ValueError(f"gamma must be above 0 and at most 1, got {gamma!r}")
    chance_R = np.full(n, 1 / n) if chances_R is None else numbers("chances_R", chances_R).astype(np.float64)
    if len(chance_R) != n or (chance_R < 0).any() or not chance_R.any():
        raise ValueError(f"chances_R must be {n} numbers of at least 0, not all 0")
    chance_R = chance_R / chance_R.sum()
    place_RS = sampled_places(n, m)
    # With A = place_RS, weighted by the chances: bias² + γ variance = |A f - b|² + γ (Σ c f² - |A f|²), c = Σ_R A.
    # Its gradient is 0 where ((1 - γ) AᵀA + γ diag c) f = Aᵀb.
    weighted_SR = place_RS.T * chance_R
    left_SS = (1 - gamma) * weighted_SR @ place_RS + gamma * np.diag(weighted_SR.sum(axis=1))
    return np.asarray(np.linalg.lstsq(left_SS, weighted_SR @ value_R, rcond=None)[0])  # 0 for places of no chance
