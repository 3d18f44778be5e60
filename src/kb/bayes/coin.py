"""A coin as a frequentist sees it: exact p-values, which depend on why tossing stopped.

Unusual: the two-sided p is given by two definitions that are both in use. Tails stand on an identity between binomial
sums and the incomplete beta function.

Sources: Clopper and Pearson 1934 (tails); Lindley and Phillips 1976 (the same tosses under two stopping rules).
"""

import math

import numpy as np
from scipy import special

from kb.arguments import require_count
from kb.bayes.beta import require_share


def upper_tail(successes: int, total: int, chance: float = 0.5) -> float:
    """The probability of at least ``successes`` of ``total``: the one-sided p against more.

    It equals the probability of at most ``chance`` under Beta(successes, total - successes + 1).

    Raises:
        ValueError: a count is none, there are more successes than trials, or the chance is not between 0 and 1.
    """
    successes, total = _read(successes, total, chance)
    return float(special.betainc(successes, total - successes + 1, chance)) if successes else 1.0


def lower_tail(successes: int, total: int, chance: float = 0.5) -> float:
    """The probability of at most ``successes`` of ``total``: the one-sided p against fewer; errors as above."""
    successes, total = _read(successes, total, chance)
    return float(special.betaincc(successes + 1, total - successes, chance)) if successes < total else 1.0


def doubled_p(successes: int, total: int, chance: float = 0.5) -> float:
    """Two-sided: twice the smaller tail, at most 1; errors as of :func:`upper_tail`."""
    return min(1.0, 2 * min(upper_tail(successes, total, chance), lower_tail(successes, total, chance)))


def unlikely_p(successes: int, total: int, chance: float = 0.5) -> float:
    """Two-sided: the probability of every outcome that is no more probable than what came, as scipy's binomtest has it.

    Outcomes count as equally probable within a relative 1e-7, since rounding would part them. Errors as of
    :func:`upper_tail`.
    """
    successes, total = _read(successes, total, chance)
    probabilities = np.exp(log_probabilities(total, chance))
    return min(1.0, float(probabilities[probabilities <= probabilities[successes] * (1 + 1e-7)].sum()))


def stopped_at_failures(successes: int, failures: int, chance: float = 0.5) -> float:
    """The one-sided p against more, if tossing went on until there were ``failures`` failures.

    At least ``successes`` come before the last failure: among all tosses but the last there are fewer failures.

    Raises:
        ValueError: a count is none, there is no failure, or the chance is not between 0 and 1.
    """
    require_count("failures", failures)
    require_count("successes", successes, least=0)
    failures, successes = int(failures), int(successes)
    return lower_tail(failures - 1, successes + failures - 1, 1 - chance) if successes else 1.0


def log_probabilities(total: int, chance: float) -> np.ndarray:
    """Natural logarithms of the binomial probabilities of 0 to ``total`` successes, [total + 1]; errors as above."""
    _, total = _read(0, total, chance)
    k = np.arange(total + 1)
    return log_ways(total) + special.xlogy(k, chance) + special.xlog1py(total - k, -chance)


def log_ways(total: int) -> np.ndarray:
    """Natural logarithms of the numbers of orders of 0 to ``total`` successes, [total + 1]."""
    k = np.arange(total + 1)
    return -special.betaln(k + 1, total - k + 1) - math.log(total + 1)


def read_counts(successes: int, total: int, names: tuple[str, str] = ("successes", "total")) -> tuple[int, int]:
    """Successes among at least one trial, as Python's integers: sums of NumPy's may be larger than their type.

    Raises:
        ValueError: a count is none, or there are more successes than trials.
    """
    require_count(names[1], total)
    require_count(names[0], successes, least=0)
    if successes > total:
        raise ValueError(f"{names[0]} must be at most {names[1]}, got {successes} of {total}")
    return int(successes), int(total)


def _read(successes: int, total: int, chance: float) -> tuple[int, int]:
    require_share("chance", chance)
    return read_counts(successes, total)
