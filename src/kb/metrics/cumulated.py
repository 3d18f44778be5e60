"""``dcg_score`` and ``ndcg_score`` of scikit-learn, for a whole table at once.

Unusual: equal scores share the mean of their gains without a loop over rows, which is where scikit-learn spends its
time. Two decisions are scikit-learn's and not everyone's: a gain is the number itself, not 2^number - 1, and a row
without any gain scores 0 and is part of the mean (see :mod:`kb.metrics.ranking` for other decisions).

Source: Järvelin and Kekäläinen 2002; McSherry and Najork 2008, Computing information retrieval performance measures
efficiently in the presence of tied scores. Shapes: Q queries, I items.
"""

from typing import Any

import numpy as np

from kb.arguments import is_number, require_count
from kb.metrics.arrays import numbers, sortable, weights_of
from kb.metrics.ranking import Ties, rank_values


def dcg_score(
    y_true: Any,
    y_score: Any,
    *,
    k: int | None = None,
    log_base: float = 2,
    sample_weight: Any = None,
    ignore_ties: bool = False,
) -> float:
    """The mean over rows of the discounted cumulated gain.

    Args:
        y_true: Gains [Q, I]; negative ones may be.
        y_score: Finite scores [Q, I].
        k: Places that count; all if None.
        log_base: Of the discount, 1 / log(1 + place).
        sample_weight: Weights of rows [Q].
        ignore_ties: Take equal scores in some order, the last in the table first, in place of their mean.

    Raises:
        ValueError: shapes differ, a number is not finite, or k or log_base is none.
    """
    gain_QI, score_QI = _read(y_true, y_score, k)
    if not is_number(log_base) or log_base <= 0 or log_base == 1:
        raise ValueError(f"log_base must be a positive number other than 1, got {log_base!r}")
    values_Q = _dcg(gain_QI, score_QI, k, log_base, ignore_ties)
    return float(np.average(values_Q, weights=weights_of(sample_weight, len(values_Q))))


def ndcg_score(
    y_true: Any, y_score: Any, *, k: int | None = None, sample_weight: Any = None, ignore_ties: bool = False
) -> float:
    """The mean over rows of the DCG as a share of the best; a row without gain counts as 0.

    Arguments and errors are those of :func:`dcg_score`; besides, gains must not be negative, and one item is too few.
    """
    gain_QI, score_QI = _read(y_true, y_score, k)
    if (gain_QI < 0).any() or gain_QI.shape[1] < 2:
        raise ValueError(f"y_true must be at least 0 and of two items or more, got shape {gain_QI.shape}")
    found_Q, best_Q = _dcg(gain_QI, score_QI, k, 2, ignore_ties), _dcg(gain_QI, gain_QI, k, 2, True)
    values_Q = np.divide(found_Q, best_Q, out=np.zeros_like(found_Q), where=best_Q > 0)
    return float(np.average(values_Q, weights=weights_of(sample_weight, len(values_Q))))


def _read(y_true: Any, y_score: Any, k: int | None) -> tuple[np.ndarray, np.ndarray]:
    gain_QI, score_QI = numbers("y_true", y_true, ndim=2).astype(np.float64), numbers("y_score", y_score, ndim=2)
    if gain_QI.shape != score_QI.shape:
        raise ValueError(f"y_true and y_score must have one shape [Q, I], got {gain_QI.shape} and {score_QI.shape}")
    if k is not None:
        require_count("k", k)
    return gain_QI, sortable(score_QI)


def _dcg(gain_QI: np.ndarray, score_QI: np.ndarray, k: int | None, base: float, ignore_ties: bool) -> np.ndarray:
    if ignore_ties:
        gain_QI, score_QI = gain_QI[:, ::-1], score_QI[:, ::-1]
    ties: Ties = "input" if ignore_ties else "average"
    ranked_Qk = rank_values(gain_QI, score_QI, k, ties)
    discount_k = 1 / (np.log(np.arange(ranked_Qk.shape[1]) + 2) / np.log(base))
    return np.asarray(ranked_Qk @ discount_k)
