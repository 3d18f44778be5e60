"""How sure an accuracy is: Wilson's interval; of two on the same items, McNemar's exact test and Newcombe's interval.

Items that both systems get right, or both wrong, say nothing of which is better: a paired comparison lives on the items
where exactly one is right. Unusual: nothing is assumed normal that a closed form need not assume, and all of it holds
for no success, all successes and items on which two systems always agree.

Sources: Wilson 1927 (score interval); McNemar 1947, the exact binomial form; Newcombe 1998, Improved confidence
intervals for the difference between binomial proportions based on paired data, Statistics in Medicine 17:2635-2650,
method 10 (score intervals of both, combined with the correlation of the two, its numerator reduced by half the number
of items where it is positive).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from kb.arguments import is_number, require_count


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of the first minus that of the second, on the same items.

    Args:
        difference: With Newcombe's interval, method 10.
        p_value: Exact McNemar, two-sided: of no difference, how probable counts at least as uneven as these are.
        both: Items that both got right.
        only_first: Items that only the first got right.
        only_second: Items that only the second got right.
        neither: Items that both got wrong.
    """

    difference: Interval
    p_value: float
    both: int
    only_first: int
    only_second: int
    neither: int


def wilson(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """The score interval of a proportion, each bound between 0 and 1.

    Raises:
        ValueError: there are no trials, more successes than trials, or a confidence that is not between 0 and 1.
    """
    require_count("total", total)
    require_count("successes", successes, least=0)
    if successes > total:
        raise ValueError(f"successes must be at most total, got {successes} of {total}")
    successes, total = int(successes), int(total)  # 4 * total could be larger than a type of NumPy
    z = _quantile(confidence)
    share, room = successes / total, z * z / total
    middle = (share + room / 2) / (1 + room)
    half = z / (1 + room) * math.sqrt(share * (1 - share) / total + room / (4 * total))
    # At the ends the bound is exact, which rounding would miss.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return Interval(share, low, 1.0 if successes == total else min(1.0, middle + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test: a fair coin's, for the items where exactly one is right; 1 without any.

    Raises:
        ValueError: a count is none.
    """
    require_count("only_first", only_first, least=0)
    require_count("only_second", only_second, least=0)
    only_first, only_second = int(only_first), int(only_second)
    flips, fewer = only_first + only_second, min(only_first, only_second)
    # In Python's integers: no tail is too small, and no count too large.
    term, tail = 1, 1
    for heads in range(1, fewer + 1):
        term = term * (flips - heads + 1) // heads
        tail += term
    return min(1.0, 2 * tail / 2**flips) if flips else 1.0


def paired_difference(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> PairedDifference:
    """Which of two systems is right more often, from what each got right of the same items.

    Args:
        first: Whether it was right, item by item.
        second: Whether the other was, on the same items in the same order.
        confidence: Of the interval.

    Raises:
        ValueError: there is no item, the lengths differ, an outcome is not True or False, or the confidence is not
            between 0 and 1.
    """
    if not len(first) or len(first) != len(second):
        raise ValueError(f"first and second must be of equal length, at least 1, got {len(first)} and {len(second)}")
    for name, outcomes in (("first", first), ("second", second)):
        for place, outcome in enumerate(outcomes):
            if outcome is not True and outcome is not False:
                raise ValueError(f"{name}[{place}] must be True or False, got {outcome!r}")
    pairs = list(zip(first, second, strict=True))
    counts = [pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]
    return PairedDifference(newcombe(*counts, confidence=confidence), mcnemar(counts[1], counts[2]), *counts)


def newcombe(both: int, only_first: int, only_second: int, neither: int, *, confidence: float = 0.95) -> Interval:
    """The interval of a paired difference of proportions by Newcombe's method 10, from the fourfold table.

    Raises:
        ValueError: a count is none, all are 0, or the confidence is not between 0 and 1.
    """
    names = ("both", "only_first", "only_second", "neither")
    for name, count in zip(names, (both, only_first, only_second, neither), strict=True):
        require_count(name, count, least=0)
    # NumPy's sums and products of counts could be larger than their type.
    both, only_first, only_second, neither = int(both), int(only_first), int(only_second), int(neither)
    total = both + only_first + only_second + neither
    require_count("the number of items", total)
    one = wilson(both + only_first, total, confidence)
    two = wilson(both + only_second, total, confidence)
    phi = _correlation(both, only_first, only_second, neither)
    difference = one.estimate - two.estimate

    def reach(near: float, far: float) -> float:
        return math.sqrt(max(0.0, near * near - 2 * phi * near * far + far * far))

    low = difference - reach(one.estimate - one.low, two.high - two.estimate)
    high = difference + reach(one.high - one.estimate, two.estimate - two.low)
    return Interval(difference, max(-1.0, low), min(1.0, high))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Newcombe's phi: the table's, with the numerator moved towards 0 where it is positive; 0 where a margin is 0."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not margins:
        return 0.0
    product: float = both * neither - only_first * only_second
    if product > 0:
        product = max(product - (both + only_first + only_second + neither) / 2, 0)
    return product / math.sqrt(margins)


def _quantile(confidence: float) -> float:
    if not is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(f"confidence must be a number between 0 and 1, got {confidence!r}")
    return -NormalDist().inv_cdf((1 - confidence) / 2)  # 1 + confidence can round to 2
