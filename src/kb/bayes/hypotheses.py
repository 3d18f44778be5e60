"""A point hypothesis against a spread-out alternative: Bayes factors, and what they say of p-values.

Unusual: the same z, so the same p-value, is held against growing n (Lindley's paradox), and against the width of the
alternative's prior, on which a Bayes factor depends for ever, however much data there are (Bartlett).

Sources: Lindley 1957; Bartlett 1957; Kass and Raftery 1995; Sellke, Bayarri and Berger 2001 (the bound).
"""

import math

from kb.arguments import is_number, require_count, require_positive
from kb.bayes.beta import require_share


def normal_factor(z: float, total: int, width: float) -> float:
    """How many times as probable the data are if a mean is 0 as if it comes from a normal prior about 0.

    Args:
        z: Mean over its standard error.
        total: Observations of known variance.
        width: Standard deviation of the prior, in standard deviations of one observation.

    Raises:
        ValueError: a number is not finite, no observation, no width, or the two too large together.
    """
    if not is_number(z):
        raise ValueError(f"z must be a finite number, got {z!r}")
    require_count("total", total)
    require_positive("width", width)
    spread = total * width**2
    if not is_number(spread):
        raise ValueError(f"total times width squared must be finite, got {total} and {width}")
    return math.exp(0.5 * math.log1p(spread) - 0.5 * z * z * spread / (1 + spread))


def posterior_of_null(factor: float, prior: float = 0.5) -> float:
    """The probability of the hypothesis from its Bayes factor and its probability before.

    Raises:
        ValueError: the factor is negative or unknown, or the prior is not between 0 and 1.
    """
    if not is_number(factor) or factor < 0:
        raise ValueError(f"factor must be a number of at least 0, got {factor!r}")
    require_share("prior", prior)
    return factor * prior / (factor * prior + (1 - prior))


def least_factor(p_value: float) -> float:
    """The least Bayes factor that a p-value can have for a wide class of alternatives, -e p ln p; 1 above 1/e.

    Raises:
        ValueError: the p-value is not between 0 and 1.
    """
    require_share("p_value", p_value)
    return -math.e * p_value * math.log(p_value) if p_value < 1 / math.e else 1.0


def predictive_value(prevalence: float, sensitivity: float, false_alarms: float) -> float:
    """The share of positives that are true ones.

    Args:
        prevalence: Share that has it.
        sensitivity: Share of these that test positive (of tests: the power).
        false_alarms: Share of the others that test positive (of tests: the level).

    Raises:
        ValueError: one of them is not between 0 and 1.
    """
    for name, value in (("prevalence", prevalence), ("sensitivity", sensitivity), ("false_alarms", false_alarms)):
        require_share(name, value)
    true = prevalence * sensitivity
    return true / (true + (1 - prevalence) * false_alarms)
