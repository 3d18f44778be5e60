"""Judges: how far two agree beyond chance, and how much one prefers whatever stands first.

A judge asked twice about a pair, in both orders, shows its bias without any gold label. Let it say *first* with
probability sigmoid(b + s) when the better of the two by s stands first, and sigmoid(b - s) the other way round. The
odds of *first twice* to *second twice* are then exp(2 b), whatever s is: half their logarithm estimates b, and only
pairs on which the two verdicts contradict each other count. Unusual: so no pair need be of equal quality.

Sources: Cohen 1960 (kappa); Zheng et al. 2023, Judging LLM-as-a-Judge, section 3.3 (position bias, swapping); the
conditional argument is Rasch's, as in McNemar's test. Shapes: N pairs.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.arguments import is_number
from kb.intervals import wilson


@dataclass(frozen=True)
class PositionBias:
    """What a judge said of pairs in both orders.

    Args:
        both_first: Pairs where it chose whatever stood first, twice.
        both_second: Pairs where it chose whatever stood second, twice.
        consistent: Pairs where it chose the same answer twice.
        estimate: b in logits: 0 for none, above for the first place.
        low: Lower bound of b, -inf where nothing bounds it.
        high: Upper bound.
    """

    both_first: int
    both_second: int
    consistent: int
    estimate: float
    low: float
    high: float

    @property
    def consistency(self) -> float:
        """Share of pairs judged alike in both orders; bias and noise both lower it."""
        return self.consistent / (self.consistent + self.both_first + self.both_second)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Agreement of two raters on the same items, less what their own rates give by chance: 1 for all, 0 for chance.

    Raises:
        ValueError: the lengths differ, there is no item, or both always say one and the same thing.
    """
    if not len(first) or len(first) != len(second):
        raise ValueError(f"first and second must be of equal length, at least 1, got {len(first)} and {len(second)}")
    total = len(first)
    agreed = sum(one == other for one, other in zip(first, second, strict=True)) / total
    rates, others = Counter(first), Counter(second)
    by_chance = sum(rates[label] * others[label] for label in rates) / total**2
    if by_chance == 1:
        raise ValueError("kappa is not defined where both raters always give the same one label")
    return (agreed - by_chance) / (1 - by_chance)


def position_bias(
    first_wins: Sequence[bool], first_wins_swapped: Sequence[bool], confidence: float = 0.95
) -> PositionBias:
    """The preference for the first place, in logits, with an interval.

    The interval is Wilson's for the share of *first twice* among contradicting pairs, carried over to logits.

    Args:
        first_wins: Of each pair, whether the judge chose the one that stood first.
        first_wins_swapped: Likewise with the two exchanged: True again means that it chose the other text.
        confidence: Of the interval.

    Raises:
        ValueError: the lengths differ, there is no pair, or the confidence is not between 0 and 1.
    """
    if not len(first_wins) or len(first_wins) != len(first_wins_swapped):
        lengths = f"{len(first_wins)} and {len(first_wins_swapped)}"
        raise ValueError(f"first_wins and first_wins_swapped must be of equal length, at least 1, got {lengths}")
    pairs = Counter((bool(one), bool(other)) for one, other in zip(first_wins, first_wins_swapped, strict=True))
    both_first, both_second = pairs[True, True], pairs[False, False]
    contradictions = both_first + both_second
    if contradictions:
        share = wilson(both_first, contradictions, confidence)
        bounds = [_logit(one) / 2 for one in (share.estimate, share.low, share.high)]
    else:
        bounds = [0.0, -math.inf, math.inf]
    return PositionBias(both_first, both_second, len(first_wins) - contradictions, *bounds)


def simulated_verdicts(advantage_N: NDArray[np.float64], bias: float, *, seed: int) -> tuple[list[bool], list[bool]]:
    """What a judge with a known bias says of N pairs in both orders, as :func:`position_bias` wants it.

    Args:
        advantage_N: By how many logits the first of each pair is better.
        bias: b, in logits.
        seed: Of the draws.

    Raises:
        ValueError: the bias is no number, or the advantages are not [N] of at least one.
    """
    if not is_number(bias):
        raise ValueError(f"bias must be a number, got {bias!r}")
    advantage_N = np.asarray(advantage_N, dtype=np.float64)
    if advantage_N.ndim != 1 or not advantage_N.size:
        raise ValueError(f"advantage_N must be of shape [N], at least 1, got {advantage_N.shape}")
    draws = np.random.default_rng(seed).random((2, advantage_N.size))
    chances = 1 / (1 + np.exp(-(bias + np.stack([advantage_N, -advantage_N]))))
    straight, swapped = draws < chances
    return straight.tolist(), swapped.tolist()


def _logit(share: float) -> float:
    if share in (0.0, 1.0):
        return math.inf if share else -math.inf
    return math.log(share / (1 - share))
