"""Metrics of the first k places of a list: recall, precision, hit rate, reciprocal rank, average precision, NDCG.

All take gains [Q, I], above 0 for what is relevant, and scores [Q, I], and give one number a query, [Q]. Unusual: what
libraries settle in silence is said aloud here. A query without a relevant item has no value: NaN, until
:func:`mean_over_queries` is told what to make of it. Which of equal scores comes first is an argument, and so are the
denominators. An item scored minus infinity is not returned at all, so that k may exceed the candidates that there are.

Sources: Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, sections 8.3 and 8.4; Järvelin and
Kekäläinen 2002, Cumulated gain-based evaluation of IR techniques; Burges 2010, From RankNet to LambdaRank to LambdaMART
(gains 2^label - 1); McSherry and Najork 2008 (ties). Shapes: Q queries, I items, k places.
"""

from typing import Any, Literal

import numpy as np

from kb.arguments import require_count
from kb.metrics.arrays import table

Ties = Literal["input", "best", "worst", "average"]
OutOf = Literal["relevant", "attainable", "found"]
Gain = Literal["linear", "exponential"]
_WHOLE: tuple[Ties, ...] = ("input", "best", "worst")


def ranked_gains(y_true: Any, y_score: Any, k: int | None = None, *, ties: Ties = "input") -> np.ndarray:
    """The gains in the order of falling scores, float64 [Q, min(k, I)]; 0 where nothing is returned.

    Args:
        y_true: Gains of at least 0, [Q, I].
        y_score: Scores, [Q, I]; minus infinity for what is never returned.
        k: How many places; all if None.
        ties: Of equal scores the first in the table comes first ("input"), the most or the least relevant one, or
            each place gets the mean gain of those that share the score ("average").

    Raises:
        ValueError: shapes differ, a gain is negative, a number is not finite, or k or ties is none.
    """
    if ties not in (*_WHOLE, "average"):
        raise ValueError(f"ties must be input, best, worst or average, got {ties!r}")
    if k is not None:
        require_count("k", k)
    return rank_values(*table(y_true, y_score), k, ties)


def rank_values(value_QI: np.ndarray, score_QI: np.ndarray, k: int | None, ties: Ties) -> np.ndarray:
    """The same for arrays that have been checked, of any sign."""
    if ties in ("best", "worst"):
        order_QI = np.lexsort((value_QI if ties == "worst" else -value_QI, -score_QI), axis=-1)
    else:
        order_QI = np.argsort(-score_QI, axis=-1, kind="stable")
    ranked_QI, sorted_QI = (np.take_along_axis(values, order_QI, axis=-1) for values in (value_QI, score_QI))
    if ties == "average":
        starts = np.ones(sorted_QI.shape, bool)
        starts[:, 1:] = sorted_QI[:, 1:] != sorted_QI[:, :-1]
        run = starts.ravel().cumsum() - 1
        mean = np.bincount(run, ranked_QI.ravel()) / np.bincount(run)
        ranked_QI = mean[run].reshape(ranked_QI.shape)
    return np.asarray(np.where(np.isneginf(sorted_QI), 0.0, ranked_QI)[:, :k])


def recall_at_k(
    y_true: Any, y_score: Any, k: int, *, out_of: Literal["relevant", "attainable"] = "relevant", ties: Ties = "input"
) -> np.ndarray:
    """Relevant items in the first k, over all relevant ones, or over the min(k, relevant) that could be there, [Q].

    Raises:
        ValueError: as of :func:`ranked_gains`, or another ``out_of``.
    """
    if out_of not in ("relevant", "attainable"):
        raise ValueError(f"out_of must be 'relevant' or 'attainable', got {out_of!r}")
    require_count("k", k)
    hit_Qk, relevant_Q = _hits(y_true, y_score, k, ties)
    return _divide(hit_Qk.sum(axis=1), relevant_Q if out_of == "relevant" else np.minimum(relevant_Q, k), relevant_Q)


def precision_at_k(y_true: Any, y_score: Any, k: int, *, ties: Ties = "input") -> np.ndarray:
    """Relevant items in the first k, over k even where there are fewer items, [Q]; errors as of ranked_gains."""
    require_count("k", k)
    hit_Qk, relevant_Q = _hits(y_true, y_score, k, ties)
    return _divide(hit_Qk.sum(axis=1), np.full(len(hit_Qk), float(k)), relevant_Q)


def hit_rate_at_k(y_true: Any, y_score: Any, k: int, *, ties: Ties = "input") -> np.ndarray:
    """Whether a relevant item is in the first k: 1 or 0, [Q]; errors as of ranked_gains, or ties are averaged."""
    hit_Qk, relevant_Q = _hits(y_true, y_score, k, _one_order(ties))
    return _divide(hit_Qk.any(axis=1).astype(float), np.ones(len(hit_Qk)), relevant_Q)


def reciprocal_rank(y_true: Any, y_score: Any, k: int | None = None, *, ties: Ties = "input") -> np.ndarray:
    """One over the place of the first relevant item, 0 where none is in the first k, [Q]; errors: hit_rate_at_k's."""
    hit_Qk, relevant_Q = _hits(y_true, y_score, k, _one_order(ties))
    first_Q = 1.0 / (1 + hit_Qk.argmax(axis=1))
    return _divide(np.where(hit_Qk.any(axis=1), first_Q, 0.0), np.ones(len(hit_Qk)), relevant_Q)


def average_precision(
    y_true: Any, y_score: Any, k: int | None = None, *, out_of: OutOf = "relevant", ties: Ties = "input"
) -> np.ndarray:
    """The sum of the precisions at the places of relevant items within k, over one of three numbers, [Q].

    Args:
        y_true: As in :func:`ranked_gains`.
        y_score: As there.
        k: As there.
        out_of: All relevant items (trec_eval), the min(k, relevant) that could be there (LightGBM), or those that
            were found (torchmetrics), where one hit at the first place is a perfect list.
        ties: As there, but not averaged: a mean of gains is no order.

    Raises:
        ValueError: as of :func:`ranked_gains`, another ``out_of``, or ties are averaged.
    """
    if out_of not in ("relevant", "attainable", "found"):
        raise ValueError(f"out_of must be 'relevant', 'attainable' or 'found', got {out_of!r}")
    hit_Qk, relevant_Q = _hits(y_true, y_score, k, _one_order(ties))
    precision_Qk = hit_Qk.cumsum(axis=1) / np.arange(1, hit_Qk.shape[1] + 1)
    found_Q = hit_Qk.sum(axis=1)
    attainable_Q = relevant_Q if k is None else np.minimum(relevant_Q, k)
    wanted_Q = {"relevant": relevant_Q, "attainable": attainable_Q, "found": np.maximum(found_Q, 1)}[out_of]
    return _divide((precision_Qk * hit_Qk).sum(axis=1), wanted_Q, relevant_Q)


def ndcg_at_k(
    y_true: Any, y_score: Any, k: int | None = None, *, gain: Gain = "linear", ties: Ties = "average"
) -> np.ndarray:
    """Gains over log2(1 + place), summed over the first k, as a share of the most that all items could give, [Q].

    Args:
        y_true: As in :func:`ranked_gains`.
        y_score: As there.
        k: As there.
        gain: The number itself (trec_eval, scikit-learn) or 2^number - 1 (LightGBM); the same for 0 and 1.
        ties: As there; averaged as in scikit-learn.

    Raises:
        ValueError: as of :func:`ranked_gains`, another ``gain``, or a label too large for a power.
    """
    if gain not in ("linear", "exponential"):
        raise ValueError(f"gain must be 'linear' or 'exponential', got {gain!r}")
    gain_QI, score_QI = table(y_true, y_score)
    if gain == "exponential":
        if gain_QI.max() > 1000:
            raise ValueError(f"y_true must be at most 1000 for exponential gains, got {gain_QI.max()}")
        # Below 1 the power would be rounded beside the 1 that is taken away; from 1 on, whole labels stay exact.
        gain_QI = np.where(gain_QI < 1, np.expm1(np.minimum(gain_QI, 1) * np.log(2)), 2.0**gain_QI - 1)
    found_Qk, best_Qk = ranked_gains(gain_QI, score_QI, k, ties=ties), ranked_gains(gain_QI, gain_QI, k)
    discount_k = 1 / np.log2(2.0 + np.arange(found_Qk.shape[1]))
    return _divide(found_Qk @ discount_k, best_Qk @ discount_k, best_Qk[:, 0])


def mean_over_queries(values_Q: Any, *, empty: Literal["skip", "zero", "one"] = "skip") -> float:
    """The mean over queries; those without a relevant item (NaN) are left out, or count as 0 or as 1.

    NaN where all are left out.

    Raises:
        ValueError: there is no query, or another ``empty``.
    """
    value_Q = np.asarray(values_Q, dtype=np.float64)
    if value_Q.ndim != 1 or not value_Q.size or empty not in ("skip", "zero", "one"):
        raise ValueError(f"wanted values [Q] and empty skip, zero or one, got {value_Q.shape} and {empty!r}")
    if empty == "skip":
        value_Q = value_Q[~np.isnan(value_Q)]
        return float(value_Q.mean()) if value_Q.size else float("nan")
    return float(np.where(np.isnan(value_Q), float(empty == "one"), value_Q).mean())


def _hits(y_true: Any, y_score: Any, k: int | None, ties: Ties) -> tuple[np.ndarray, np.ndarray]:
    """Which of the first k are relevant (or how likely, where ties are averaged), and how many are in all."""
    gain_QI, score_QI = table(y_true, y_score)
    relevant_QI = (gain_QI > 0).astype(np.float64)
    return ranked_gains(relevant_QI, score_QI, k, ties=ties), relevant_QI.sum(axis=1)


def _one_order(ties: Ties) -> Ties:
    if ties not in _WHOLE:
        raise ValueError(f"ties must be input, best or worst, as this metric wants one order, got {ties!r}")
    return ties


def _divide(part_Q: np.ndarray, whole_Q: np.ndarray, relevant_Q: np.ndarray) -> np.ndarray:
    return np.divide(part_Q, whole_Q, out=np.full(len(part_Q), np.nan), where=relevant_Q > 0)
