"""pass@k: the chance that at least one of k samples passes, estimated from n samples of which c pass.

Unusual: the plug-in 1 - (1 - c/n)^k is there as well, because it is what people write first; it is biased, and too low
on average for k > 1, since the power is convex.

Source: Chen et al. 2021, Evaluating Large Language Models Trained on Code, equation 1 and section 2.1.
"""

import itertools
import math

from kb.arguments import require_count


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), exact in integers: the share of k-subsets that hold a sample which passes.

    Args:
        samples: n, at least k.
        correct: c of them pass.
        k: How many may be tried.

    Raises:
        ValueError: a number is none, or they are out of order.
    """
    _require(samples, correct, k)
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def pass_at_k_loop(samples: int, correct: int, k: int) -> float:
    """The same by looking at every subset: the reference."""
    _require(samples, correct, k)
    passes = [place < correct for place in range(samples)]
    subsets = list(itertools.combinations(passes, k))
    return sum(any(subset) for subset in subsets) / len(subsets)


def pass_at_k_plug_in(samples: int, correct: int, k: int) -> float:
    """1 - (1 - c/n)^k: what is biased; errors as in :func:`pass_at_k`."""
    _require(samples, correct, k)
    return 1 - (1 - correct / samples) ** k


def expected_estimate(p: float, samples: int, k: int, *, plug_in: bool = False) -> float:
    """Mean of the estimate where each sample passes with probability p, over all c.

    Unbiased means that this is 1 - (1 - p)^k, which the plug-in's is not.

    Raises:
        ValueError: ``p`` is outside 0 to 1, or as in :func:`pass_at_k`.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be between 0 and 1, got {p!r}")
    estimate = pass_at_k_plug_in if plug_in else pass_at_k
    weights = (math.comb(samples, c) * p**c * (1 - p) ** (samples - c) for c in range(samples + 1))
    return math.fsum(weight * estimate(samples, c, k) for c, weight in enumerate(weights))


def _require(samples: int, correct: int, k: int) -> None:
    require_count("samples", samples)
    require_count("correct", correct, least=0)
    require_count("k", k)
    if correct > samples or k > samples:
        raise ValueError(f"correct and k must be at most samples = {samples}, got {correct} and {k}")
