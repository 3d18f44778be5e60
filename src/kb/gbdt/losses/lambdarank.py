"""LambdaRank: each pair of documents of a query pulls apart, by as much as swapping the two would change the NDCG.

There is no loss whose derivatives these are; they are set down directly. Unusual: the sigmoid is looked up in a table,
sums have 32 bits, and pairs come in a certain order, all as in LightGBM, whose trees are to come out. Documents with
equal scores rank in the order in which they are given, so that order matters within a query; that of queries does not.

Sources: Burges 2010, From RankNet to LambdaRank to LambdaMART, section 4; LightGBM's documentation of
``lambdarank_truncation_level`` and ``lambdarank_norm``.
Shapes: N documents, Q queries, R documents of one query, G labels, S entries of the sigmoid's table.
"""

# Fields end in their shapes.
# ruff: noqa: N815

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from kb.arguments import is_number
from kb.gbdt.inputs.queries import checked_gains, checked_groups, checked_labels, ideal_order, queries_of, ranking
from kb.gbdt.losses.loss import Loss, weighted
from kb.installed import is_installed

_ENTRIES = 2**20
_BEYOND = 50.0  # twice the argument of the sigmoid where the table ends
APART = float(np.float32(0.01))  # added to a difference of scores by which is divided


class SigmoidTable(NamedTuple):
    """1 / (1 + exp(sigmoid * x)) at evenly spaced x.

    Attributes:
        values_S: Ascending in x, so falling.
        low: The first x; the last one is next to -low.
        steps: Entries for an x of 1.
    """

    values_S: np.ndarray
    low: float
    steps: float

    def at(self, differences: np.ndarray) -> np.ndarray:
        """The entries next below, and at both ends the outermost ones."""
        places = ((differences - self.low) * self.steps).clip(0, len(self.values_S) - 1)
        return self.values_S[places.astype(np.int64)]


@lru_cache(maxsize=1)  # of 8 MB, as all fits have the same unless ``sigmoid`` is changed
def sigmoid_table(sigmoid: float) -> SigmoidTable:
    """LightGBM's table for a steepness."""
    low = -_BEYOND / sigmoid / 2
    steps = _ENTRIES / (-low - low)
    x_S = np.arange(_ENTRIES) / steps + low
    # The C library's exp, as LightGBM's; NumPy's own differs in the last digit, and from processor to processor.
    values_S = 1.0 / (1.0 + np.fromiter(map(math.exp, (x_S * sigmoid).tolist()), np.float64, _ENTRIES))
    values_S.flags.writeable = False
    return SigmoidTable(values_S, low, steps)


class Rules(NamedTuple):
    """How pairs count.

    Attributes:
        truncation: Of each pair, one document must be among so many first ones.
        norm: Whether to divide by the difference of the scores, and to make sums of large queries smaller.
        sigmoid: The steepness.
        table: Of the sigmoid.
    """

    truncation: int
    norm: bool
    sigmoid: float
    table: SigmoidTable


class LambdaRank(Loss):
    """LambdaRank on given documents.

    Args:
        labels_N: How relevant each document is, integers from 0 on.
        groups_Q: How many documents each query has.
        truncation_level: Pairs without one of so many first documents are left out.
        norm: Whether to even out what queries weigh.
        label_gain: What each label gains; 2^label - 1 if None.
        sigmoid: The steepness of the sigmoid of a difference of scores.

    Raises:
        ValueError: an argument is out of range, groups do not sum to the documents, or a label has no gain.
    """

    name = "lambdarank"

    def __init__(
        self,
        labels_N: np.ndarray,
        groups_Q: Any,
        truncation_level: int = 30,
        norm: bool = True,
        label_gain: Any = None,
        sigmoid: float = 1.0,
    ) -> None:
        if isinstance(truncation_level, bool) or not isinstance(truncation_level, int) or truncation_level < 1:
            raise ValueError(f"lambdarank_truncation_level must be an integer of at least 1, got {truncation_level!r}")
        if not isinstance(norm, bool):
            raise ValueError(f"lambdarank_norm must be True or False, got {norm!r}")
        if not is_number(sigmoid) or not sigmoid > 0:
            raise ValueError(f"sigmoid must be a positive number, got {sigmoid!r}")
        gains_G = checked_gains(label_gain)
        checked_labels(labels_N, len(gains_G))
        self.groups_Q = checked_groups(groups_Q, len(labels_N))
        self.labels_N, self.gains_N = labels_N, gains_G[labels_N.astype(np.int64)]
        self.rules = Rules(truncation_level, norm, float(sigmoid), sigmoid_table(sigmoid))
        self.query_N, self.place_N = queries_of(self.groups_Q)
        self.discounts_R = 1.0 / np.log2(2.0 + np.arange(self.groups_Q.max()))
        self.scale_Q = self._scales()

    def _scales(self) -> np.ndarray:
        """Of each query, one over the best DCG that it can have; 0 where nothing gains."""
        gains_N = self.gains_N[ideal_order(self.labels_N, self.query_N)] * self.discounts_R[self.place_N]
        inside = self.place_N < self.rules.truncation
        best_Q = np.bincount(self.query_N[inside], gains_N[inside], len(self.groups_Q))
        return np.divide(1.0, best_Q, out=np.zeros(len(best_Q)), where=best_Q > 0)

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """Zero, as only differences of scores count."""
        return np.zeros(1)

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The sums over each document's pairs."""
        order_N = ranking(scores_NC[:, 0], self.query_N)
        sums_N2 = np.zeros((len(order_N), 2), np.float32)
        ranked = (scores_NC[order_N, 0], self.labels_N[order_N], self.gains_N[order_N])
        stops_Q = self.groups_Q.cumsum()
        totals_Q = np.zeros(len(stops_Q))
        if is_installed("numba"):
            from kb.gbdt.losses import lambdarank_numba

            lambdarank_numba.add_pairs(ranked, self.discounts_R, stops_Q, self.scale_Q, self.rules, sums_N2, totals_Q)
        else:
            for query, (start, stop) in enumerate(zip(stops_Q - self.groups_Q, stops_Q, strict=True)):
                scores_R, labels_R, gains_R = (values_N[start:stop] for values_N in ranked)
                others = self.discounts_R, self.scale_Q[query], self.rules, sums_N2[start:stop]
                totals_Q[query] = add_pairs(scores_R, labels_R, gains_R, *others)
        if self.rules.norm:
            factors_Q = np.divide(np.log2(1 + totals_Q), totals_Q, out=np.ones(len(totals_Q)), where=totals_Q > 0)
            sums_N2 = (sums_N2 * factors_Q[self.query_N][:, None]).astype(np.float32)
        given_N2 = np.empty_like(sums_N2)
        given_N2[order_N] = sums_N2
        return weighted(given_N2[:, :1], given_N2[:, 1:], weights_N)


class RankScores(Loss):
    """What a fitted ranker keeps of its loss: no documents, so that they are not copied and saved with a model."""

    name = "lambdarank"

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """Zero."""
        return np.zeros(1)

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """None can be had without the queries.

        Raises:
            TypeError: always.
        """
        raise TypeError("a fitted ranker's loss has no queries; derivatives are those of LambdaRank")


def add_pairs(
    scores_R: np.ndarray,
    labels_R: np.ndarray,
    gains_R: np.ndarray,
    discounts: np.ndarray,
    scale: float,
    rules: Rules,
    sums_R2: np.ndarray,
) -> float:
    """Add what all pairs of a ranked query say to both sums of their documents; a row of pairs at a time.

    Each document's sum takes its pairs in the order of the reference, as additions of 32 bits do not commute.

    Args:
        scores_R: Falling.
        labels_R: Of the documents.
        gains_R: Of the labels.
        discounts: Of the places, R or more.
        scale: One over the best DCG.
        rules: How pairs count.
        sums_R2: float32, added to.

    Returns:
        The sum of the first derivatives' sizes.
    """
    total, last = 0.0, len(scores_R) - 1
    spread = rules.norm and scores_R[0] != scores_R[-1]
    for first in range(min(last, rules.truncation)):
        after = slice(first + 1, None)
        sign_R = np.sign(labels_R[first] - labels_R[after])
        difference_R = sign_R * (scores_R[first] - scores_R[after])
        change_R = sign_R * (gains_R[first] - gains_R[after])
        change_R = change_R * np.abs(discounts[first] - discounts[first + 1 : last + 1]) * scale
        if spread:
            change_R = change_R / (APART + np.abs(difference_R))
        chance_R = rules.table.at(difference_R)
        pull_R = chance_R * (rules.sigmoid * change_R)
        bend_R = (chance_R * (1.0 - chance_R)) * (rules.sigmoid * rules.sigmoid * change_R)
        signed_R = (sign_R * pull_R).astype(np.float32)
        bent_R = bend_R.astype(np.float32)
        sums_R2[after, 0] += signed_R
        sums_R2[after, 1] += bent_R
        sums_R2[first, 0] = np.add.accumulate(np.concatenate([sums_R2[first : first + 1, 0], -signed_R]))[-1]
        sums_R2[first, 1] = np.add.accumulate(np.concatenate([sums_R2[first : first + 1, 1], bent_R]))[-1]
        total = float(np.add.accumulate(np.concatenate([[total], 2 * pull_R]))[-1])
    return total


def add_pairs_slowly(
    scores_R: np.ndarray,
    labels_R: np.ndarray,
    gains_R: np.ndarray,
    discounts: np.ndarray,
    scale: float,
    rules: Rules,
    sums_R2: np.ndarray,
) -> float:
    """The reference for :func:`add_pairs`: one pair after another."""
    total = 0.0
    for i in range(min(len(scores_R) - 1, rules.truncation)):
        for j in range(i + 1, len(scores_R)):
            if labels_R[i] == labels_R[j]:
                continue
            better, worse = (i, j) if labels_R[i] > labels_R[j] else (j, i)
            difference = scores_R[better] - scores_R[worse]
            change = (gains_R[better] - gains_R[worse]) * abs(discounts[i] - discounts[j]) * scale
            if rules.norm and scores_R[0] != scores_R[-1]:
                change /= APART + abs(difference)
            chance = rules.table.at(difference)  # that the worse one is taken for the better one
            pull = chance * (rules.sigmoid * change)
            bend = chance * (1.0 - chance) * (rules.sigmoid * rules.sigmoid * change)
            sums_R2[better, 0] -= np.float32(pull)
            sums_R2[worse, 0] += np.float32(pull)
            sums_R2[[better, worse], 1] += np.float32(bend)
            total += 2 * pull
    return total
