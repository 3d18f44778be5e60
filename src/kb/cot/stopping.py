"""How probable it is that the leader of a vote is the most probable answer: Beta for two answers, Dirichlet for all.

A vote's counts are draws from unknown probabilities. With a uniform prior on them, their posterior after counts v_i is
Dirichlet(v_1 + 1, ..., v_m + 1), and sampling may stop once P(p_leader is the largest | counts) exceeds a threshold
(0.95 in the paper). With the two largest counts alone it is P(p > 1/2) under Beta(v_1 + 1, v_2 + 1), which is nearly as
good and in closed form. Unusual: the Dirichlet's probability is no Monte Carlo here but one integral, as normalised
independent Gammas are a Dirichlet: the leader is largest with probability E_x prod_i P(Gamma(v_i + 1) < x), where x is
the leader's own Gamma.

Source: Aggarwal et al. 2023, Let's Sample Step by Step, arXiv 2305.11860, section 3 and appendix.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

from kb.arguments import is_number, require_count
from kb.cot.votes import is_decided, majority

# Of an answer list and the number of samples that may still come: whether to stop.
StopRule = Callable[[Sequence[Hashable | None], int], bool]

_NODES = 200


def beta_confidence(counts: Sequence[int]) -> float:
    """P(the leader is more probable than the second), from the two largest counts; 1/2 where nothing was counted.

    Args:
        counts: How many samples gave each answer.

    Raises:
        ValueError: a count is none.
    """
    from scipy.special import betainc

    first, second = sorted([*_counted(counts), 0, 0], reverse=True)[:2]
    # P(p > 1/2) under Beta(first + 1, second + 1) is P(p < 1/2) under the mirrored one.
    return float(betainc(second + 1, first + 1, 0.5))


def dirichlet_confidence(counts: Sequence[int], *, unseen: int = 1) -> float:
    """P(the leader is the most probable of all answers), to about 1e-8; 1/(1 + unseen) where nothing was counted.

    Args:
        counts: How many samples gave each answer.
        unseen: Answers that nobody has given yet and that may still be; each adds a count of 0. Without one, a single
            answer would be certain after one sample.

    Raises:
        ValueError: a count is none, or there are no answers at all.
    """
    import numpy as np
    from scipy.special import gammainc, gammaincinv

    require_count("unseen", unseen, least=0)
    counted = _counted(counts)
    # Where nothing was counted, any one answer is the leader, and the unseen ones are others.
    values = sorted([*(counted or [0] * (unseen > 0)), *([0] * unseen)], reverse=True)
    if not values:
        raise ValueError("counts must hold at least one answer where unseen is 0, got none")
    # Substituting the leader's own distribution function, u = P(Gamma(v + 1) < x), makes it a mean over (0, 1).
    nodes_N, weights_N = np.polynomial.legendre.leggauss(_NODES)
    below_N = np.ones(_NODES)
    # u = s^2 (3 - 2s) flattens the ends, where x runs to 0 and infinity.
    s_N = (nodes_N + 1) / 2
    x_N = gammaincinv(values[0] + 1, s_N**2 * (3 - 2 * s_N))
    for count in values[1:]:
        below_N *= gammainc(count + 1, x_N)
    return float(min(1.0, (weights_N / 2 * 6 * s_N * (1 - s_N) * below_N).sum()))


def when_decided() -> StopRule:
    """Stop when no further sample can change the winner: saves samples, never changes an answer."""
    return is_decided


def when_confident(threshold: float = 0.95, *, by: str = "beta") -> StopRule:
    """Stop when the leader is the most probable answer with at least this probability, or nothing can change it.

    Args:
        threshold: Between 0 and 1, both excluded.
        by: "beta" (two leading answers) or "dirichlet" (all).

    Raises:
        ValueError: an argument is not of its kind.
    """
    if not is_number(threshold) or not 0 < threshold < 1:
        raise ValueError(f"threshold must be a number between 0 and 1, got {threshold!r}")
    if by not in ("beta", "dirichlet"):
        raise ValueError(f"by {by!r} is not known; wanted beta or dirichlet")
    return partial(_is_confident, threshold=threshold, by=by)


def _is_confident(answers: Sequence[Hashable | None], remaining: int, *, threshold: float, by: str) -> bool:
    counts = [count for _, count in majority(answers).counts]
    if not counts:
        return remaining == 0
    confidence = beta_confidence(counts) if by == "beta" else dirichlet_confidence(counts)
    return confidence >= threshold or is_decided(answers, remaining)


def _counted(counts: Sequence[int]) -> list[int]:
    for place, count in enumerate(counts):
        require_count(f"counts[{place}]", count, least=0)
    return list(counts)
