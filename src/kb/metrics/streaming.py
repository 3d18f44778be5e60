"""AUC of a stream in bounded memory: counts of both classes by bin, which add up over batches and machines.

Unusual: what is returned is no mere estimate. Pairs in different bins are in a known order, and pairs in one bin are
not, so the true area lies between two numbers that are computed from the same counts; where every bin holds a single
score (levels), both are the area. Counts are integers: no order of batches or merges changes a bit.

Source: the pairs of Hanley and McNeil 1982, counted by bin. Shapes: N rows of a batch, B bins.
"""

from typing import Any

import numpy as np

from kb.intervals import Interval
from kb.metrics.arrays import numbers, positives, same_length


class StreamingAuc:
    """Counts of positives and negatives in B bins.

    Args:
        edges: Rising numbers [B - 1]; a bin is from one (included) to the next (left out), the first and the last
            bin reach to infinity.
        levels: In place of edges: all scores that there can be, rising, [B], such as quantised probabilities.

    Raises:
        ValueError: not exactly one of the two, or it does not rise.
    """

    def __init__(self, *, edges: Any = None, levels: Any = None) -> None:
        if (edges is None) == (levels is None):
            raise ValueError("wanted edges or levels, and not both")
        name, given = ("levels", levels) if edges is None else ("edges", edges)
        self.bounds = numbers(name, given).copy()
        if not (self.bounds[1:] > self.bounds[:-1]).all():  # a difference of unsigned integers is never negative
            raise ValueError(f"{name} must rise")
        self.exact = edges is None
        self.positives, self.negatives = np.zeros((2, len(self.bounds) + (not self.exact)), np.int64)

    def update(self, y_true: Any, y_score: Any) -> "StreamingAuc":
        """Count a batch, [N] and [N]; itself.

        Raises:
            ValueError: lengths differ, a score is not finite, or is none of the levels. Nothing is then counted.
        """
        positive_N, score_N = positives(y_true), numbers("y_score", y_score)
        same_length(positive_N, score_N)
        place_N = np.searchsorted(self.bounds, score_N, "left" if self.exact else "right")
        if self.exact:
            known = self.bounds[np.minimum(place_N, len(self.bounds) - 1)] == score_N
            if not known.all():
                raise ValueError(f"y_score must be among the levels, got {score_N[~known][0]}")
        self.positives += np.bincount(place_N[positive_N], minlength=len(self.positives))
        self.negatives += np.bincount(place_N[~positive_N], minlength=len(self.negatives))
        return self

    def __add__(self, other: "StreamingAuc") -> "StreamingAuc":
        if self.exact != other.exact or not np.array_equal(self.bounds, other.bounds):
            raise ValueError("only counts of the same bins add up")
        both = StreamingAuc(**{"levels" if self.exact else "edges": self.bounds})
        both.positives += self.positives + other.positives
        both.negatives += self.negatives + other.negatives
        return both

    def result(self) -> Interval:
        """The area with pairs of one bin counted half, and the least and the most that the area of all rows can be.

        Raises:
            ValueError: a class has not been seen.
        """
        ones, zeros = self.positives.tolist(), self.negatives.tolist()  # Python's integers: no product is too large
        total = sum(ones) * sum(zeros)
        if not total:
            raise ValueError(f"both classes must have been seen, got {sum(ones)} and {sum(zeros)} rows")
        sure = unsure = seen = 0
        for one, zero in zip(ones, zeros, strict=True):
            sure += one * seen
            unsure += one * zero
            seen += zero
        middle = (2 * sure + unsure) / (2 * total)
        return Interval(middle, *((middle, middle) if self.exact else (sure / total, (sure + unsure) / total)))
