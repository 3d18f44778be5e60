"""How often an interval for a proportion covers it: at one proportion, exactly, and on average over a prior.

Unusual: nothing is simulated where n + 1 outcomes can be listed. An interval method becomes a table, one row for each
number of successes; its coverage at a proportion is the probability of the rows that hold it. Wilson's interval is in
:mod:`kb.intervals`.

Sources: Clopper and Pearson 1934; Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial Proportion,
Statistical Science 16:101-133, sections 2 and 3.
Shapes: K = n + 1 numbers of successes, P proportions.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from scipy import special

from kb.arguments import require_count
from kb.bayes.beta import JEFFREYS, Beta, require_share
from kb.bayes.coin import log_ways, read_counts
from kb.intervals import Interval

Method = Callable[[int, int, float], Interval]  # successes, total, confidence


def wald(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """The textbook interval, p plus or minus z standard errors: it may leave 0 to 1, and has no width at 0 and 1.

    Raises:
        ValueError: no trials, more successes than trials, or a confidence that is not between 0 and 1.
    """
    successes, total = _read(successes, total, confidence)
    share = successes / total
    half = -NormalDist().inv_cdf((1 - confidence) / 2) * math.sqrt(share * (1 - share) / total)
    return Interval(share, share - half, share + half)


def clopper_pearson(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """The proportions that neither one-sided exact test refuses, each at half of 1 - confidence; errors as above."""
    successes, total = _read(successes, total, confidence)
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(successes, total - successes + 1, tail)) if successes else 0.0
    high = float(special.betainccinv(successes + 1, total - successes, tail)) if successes < total else 1.0
    return Interval(successes / total, low, high)


def jeffreys(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """The equal-tailed credible interval under Beta(1/2, 1/2); its bound is 0 for no success, and 1 for all.

    Without that exception it would never cover proportions near 0 and 1 (Brown et al., section 3.1). Errors as of
    :func:`wald`.
    """
    successes, total = _read(successes, total, confidence)
    found = JEFFREYS.updated(successes, total - successes).equal_tailed(confidence)
    low, high = 0.0 if successes == 0 else found.low, 1.0 if successes == total else found.high
    return Interval(successes / total, low, high)


def credible(prior: Beta) -> Method:
    """The method that gives the equal-tailed credible interval under a prior."""

    def method(successes: int, total: int, confidence: float) -> Interval:
        return prior.updated(successes, total - successes).equal_tailed(confidence)

    return method


def interval_table(method: Method, total: int, confidence: float = 0.95) -> np.ndarray:
    """Both bounds for each number of successes, [K, 2].

    Raises:
        ValueError: no trials, or a confidence that is not between 0 and 1.
    """
    _, total = _read(0, total, confidence)
    found = [method(successes, total, confidence) for successes in range(total + 1)]
    return np.array([(interval.low, interval.high) for interval in found])


def coverage(table_K2: np.ndarray, proportions_P: np.ndarray) -> np.ndarray:
    """The probability that the interval covers, at each proportion, [P]; the bounds count as inside.

    Raises:
        ValueError: a table of another shape, or a proportion that is not between 0 and 1.
    """
    total = _trials(table_K2)
    p_P = np.atleast_1d(np.asarray(proportions_P, dtype=np.float64))
    if p_P.ndim != 1 or not ((p_P > 0) & (p_P < 1)).all():
        raise ValueError("proportions must be a vector of numbers between 0 and 1")
    k_K = np.arange(total + 1)
    log_PK = log_ways(total) + special.xlogy(k_K, p_P[:, None]) + special.xlog1py(total - k_K, -p_P[:, None])
    inside_PK = (table_K2[:, 0] <= p_P[:, None]) & (p_P[:, None] <= table_K2[:, 1])
    return (np.exp(log_PK) * inside_PK).sum(axis=1)


def coverage_loop(table_K2: np.ndarray, proportion: float) -> float:
    """The reference: outcome by outcome."""
    require_share("proportion", proportion)
    total, held = _trials(table_K2), 0.0
    for successes, (low, high) in enumerate(table_K2):
        if low <= proportion <= high:
            held += math.comb(total, successes) * proportion**successes * (1 - proportion) ** (total - successes)
    return held


def simulated_coverage(table_K2: np.ndarray, proportion: float, *, draws: int, seed: int) -> float:
    """The share of ``draws`` experiments whose interval covers, from an explicit seed."""
    require_share("proportion", proportion)
    require_count("draws", draws)
    successes = np.random.default_rng(seed).binomial(_trials(table_K2), proportion, size=draws)
    low, high = table_K2[successes].T
    return float(((low <= proportion) & (proportion <= high)).mean())


def average_coverage(table_K2: np.ndarray, prior: Beta) -> float:
    """Coverage averaged over proportions that come from ``prior``, exactly.

    Outcome by outcome: its probability under the prior, times the posterior probability of its interval.

    Raises:
        ValueError: a table of another shape, or an improper prior.
    """
    total = _trials(table_K2)
    prior.require_proper()
    held, ways_K, log_area = 0.0, log_ways(total), special.betaln(prior.a, prior.b)
    for k, (low, high) in enumerate(table_K2):
        posterior = prior.updated(k, total - k)
        weight = math.exp(ways_K[k] + special.betaln(posterior.a, posterior.b) - log_area)
        held += weight * float(posterior.below(high) - posterior.below(low))
    return held


def _trials(table_K2: np.ndarray) -> int:
    if not isinstance(table_K2, np.ndarray) or table_K2.ndim != 2 or table_K2.shape[1] != 2 or len(table_K2) < 2:
        raise ValueError(f"table must be an array [n + 1, 2], got {np.shape(table_K2)}")
    return len(table_K2) - 1


def _read(successes: int, total: int, confidence: float) -> tuple[int, int]:
    require_share("confidence", confidence)
    return read_counts(successes, total)
