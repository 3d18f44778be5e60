"""Two versions, A and B, and which converts more: the frequentist's z-test, and the Bayesian's P(B > A) and loss.

Unusual: P(B > A) for two Betas has a closed form as soon as one of the four parameters is an integer; the other two
ways to have it, an integral and a simulation, stand beside it. The expected loss needs no formula of its own: x times a
Beta density is another Beta density.

Sources: Cook 2005 and Miller 2014 (the sum); Stucchio 2015 (expected loss as a rule to stop by).
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import integrate, special

from kb.arguments import require_count
from kb.bayes.beta import Beta
from kb.bayes.coin import read_counts

MOST_TERMS = 1_000_000


@dataclass(frozen=True)
class ZTest:
    """A test of equal proportions.

    Args:
        z: Difference of the shares, B less A, over its standard error if both are equal (pooled).
        p_value: Two-sided.
        upper_p: One-sided, against B being higher.
    """

    z: float
    p_value: float
    upper_p: float


def z_test(successes_a: int, total_a: int, successes_b: int, total_b: int) -> ZTest:
    """The pooled z-test, whose square is Pearson's chi-square without correction; z is 0 where nobody or all convert.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    successes_a, total_a = read_counts(successes_a, total_a, ("successes_a", "total_a"))
    successes_b, total_b = read_counts(successes_b, total_b, ("successes_b", "total_b"))
    pooled = (successes_a + successes_b) / (total_a + total_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / total_a + 1 / total_b))
    z = (successes_b / total_b - successes_a / total_a) / error if error else 0.0
    return ZTest(z, math.erfc(abs(z) / math.sqrt(2)), math.erfc(z / math.sqrt(2)) / 2)


def chance_b_beats_a(a: Beta, b: Beta) -> float:
    """The probability that a proportion known as ``b`` exceeds an independent one known as ``a``.

    The sum over the smallest integer parameter, where there is one of at most a million; the integral otherwise.

    Raises:
        ValueError: one of them is improper, or so close to it (parameters far below 0.01, none an integer) that floats
            cannot tell its quantiles from 0 or 1.
    """
    a.require_proper()
    b.require_proper()
    flipped_a, flipped_b = Beta(a.b, a.a), Beta(b.b, b.a)  # of 1 - x, whose order is the other
    ways = [
        (b.a, a, b, False),
        (a.b, flipped_b, flipped_a, False),
        (a.a, b, a, True),
        (b.b, flipped_a, flipped_b, True),
    ]
    whole = [way for way in ways if float(way[0]).is_integer() and way[0] <= MOST_TERMS]
    if not whole:
        found, other = chance_b_beats_a_quadrature(a, b), chance_b_beats_a_quadrature(b, a)
        if abs(found + other - 1) > 1e-6:
            raise ValueError(f"a and b must have their quantiles apart from 0 and 1 in floats, got {a} and {b}")
        return found
    _, low, high, reversed_order = min(whole, key=lambda way: way[0])
    found = _sum(low, high)
    return 1 - found if reversed_order else found


def chance_b_beats_a_quadrature(a: Beta, b: Beta) -> float:
    """The reference: the probability that B is above A, over A's quantiles from 0 to 1.

    Raises:
        ValueError: one of them is improper.
    """
    b.require_proper()

    def by_quantile(share: float) -> float:
        return float(b.above(a.quantile(share)))

    pieces = itertools.pairwise([0, 1e-8, 1e-4, 0.02, 0.5, 0.98, 1 - 1e-4, 1 - 1e-8, 1])
    return math.fsum(integrate.quad(by_quantile, low, high, epsabs=1e-11, limit=200)[0] for low, high in pieces)


def chance_b_beats_a_draws(a: Beta, b: Beta, *, draws: int, seed: int) -> float:
    """The share of ``draws`` pairs in which B is above A, from an explicit seed."""
    require_count("draws", draws)
    a.require_proper()
    b.require_proper()
    generator = np.random.default_rng(seed)
    return float((generator.beta(b.a, b.b, draws) > generator.beta(a.a, a.b, draws)).mean())


def expected_loss(a: Beta, b: Beta) -> float:
    """What choosing B is expected to lose: the mean of max(A - B, 0).

    Raises:
        ValueError: one of them is improper.
    """
    more_a, more_b = Beta(a.a + 1, a.b), Beta(b.a + 1, b.b)
    lost = a.mean * chance_b_beats_a(b, more_a) - b.mean * chance_b_beats_a(more_b, a)
    return max(0.0, lost)


def _sum(a: Beta, b: Beta) -> float:
    """P(B > A) for an integer b.a; all terms are positive."""
    i = np.arange(int(b.a))
    logs = special.betaln(a.a + i, a.b + b.b) - np.log(b.b + i) - special.betaln(1 + i, b.b) - special.betaln(a.a, a.b)
    return min(1.0, math.fsum(np.exp(logs)))
