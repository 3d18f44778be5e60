"""The metrics of :mod:`kb.metrics.ranking` for one list, each as its definition reads: the references.

A list is what was returned, best first, as gains (above 0 is relevant); ``relevant`` is how many relevant items there
are, returned or not. Source: as of the fast versions.
"""

import math
from collections.abc import Sequence


def recall_loop(gains: Sequence[float], k: int, relevant: int) -> float:
    """Relevant ones in the first k over all relevant ones."""
    return sum(1 for gain in gains[:k] if gain > 0) / relevant


def reciprocal_rank_loop(gains: Sequence[float], k: int) -> float:
    """One over the place of the first relevant one, 0 where there is none in the first k."""
    for place, gain in enumerate(gains[:k], start=1):
        if gain > 0:
            return 1 / place
    return 0.0


def precisions_loop(gains: Sequence[float], k: int) -> list[float]:
    """The precision at each relevant place up to k."""
    hits, found = 0, []
    for place, gain in enumerate(gains[:k], start=1):
        if gain > 0:
            hits += 1
            found.append(hits / place)
    return found


def dcg_loop(gains: Sequence[float], k: int) -> float:
    """Each gain over log2(1 + place), summed up to place k."""
    return sum(gain / math.log2(1 + place) for place, gain in enumerate(gains[:k], start=1))
