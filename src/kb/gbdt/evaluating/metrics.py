"""What predictions are judged by: LightGBM's metrics under its names, a function each.

All are means over rows, weighted where there are weights; ``ndcg`` is one over queries. The smallest chance and
its logarithm are LightGBM's, of 32 bits as it has them, so that numbers agree to the last digits.

Sources: Fawcett 2006, An Introduction to ROC Analysis; Järvelin and Kekäläinen 2002, Cumulated Gain-based Evaluation of
IR Techniques; LightGBM's documentation of ``metric``.
Shapes: N rows, C classes, Q queries, A places of the list at which it is judged.
"""

from collections.abc import Sequence

import numpy as np

from kb.gbdt.inputs.queries import default_gains, ideal_order, queries_of, ranking

_NO_CHANCE = np.float32(1e-15)
_NO_CHANCE_LOG = float(np.log(_NO_CHANCE))
_NO_MEAN = float(np.float32(1e-10))


def l2(targets_N: np.ndarray, predictions_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The mean squared error."""
    return _mean((predictions_N - targets_N) ** 2, weights_N)


def rmse(targets_N: np.ndarray, predictions_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The root of the mean squared error."""
    return l2(targets_N, predictions_N, weights_N) ** 0.5


def l1(targets_N: np.ndarray, predictions_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The mean absolute error."""
    return _mean(np.abs(predictions_N - targets_N), weights_N)


def huber(
    targets_N: np.ndarray, predictions_N: np.ndarray, weights_N: np.ndarray | None = None, *, alpha: float = 0.9
) -> float:
    """Half the squared error up to an error of alpha, and from there on a straight line."""
    errors_N = np.abs(predictions_N - targets_N)
    return _mean(np.where(errors_N <= alpha, 0.5 * errors_N**2, alpha * (errors_N - 0.5 * alpha)), weights_N)


def quantile(
    targets_N: np.ndarray, predictions_N: np.ndarray, weights_N: np.ndarray | None = None, *, alpha: float = 0.9
) -> float:
    """The error, times alpha where the target is above and times 1 - alpha where it is below."""
    above_N = targets_N - predictions_N
    return _mean(np.where(above_N < 0, (alpha - 1.0) * above_N, alpha * above_N), weights_N)


def poisson(targets_N: np.ndarray, predictions_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The negative log-likelihood of counts with the predicted means, but for what depends on the counts alone."""
    means_N = np.maximum(predictions_N, _NO_MEAN)
    return _mean(means_N - targets_N * np.log(means_N), weights_N)


def binary_logloss(targets_N: np.ndarray, chances_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The negative log-likelihood of two classes; ``chances_N`` are those of the class 1."""
    own_N = np.where(targets_N > 0, chances_N, 1.0 - chances_N)
    return _mean(_surprise(own_N), weights_N)


def binary_error(targets_N: np.ndarray, chances_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The share of rows whose class is not the likelier one; at one half the class is 0."""
    return _mean((chances_N > 0.5) != (targets_N > 0), weights_N)


def auc(targets_N: np.ndarray, scores_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The chance that a row of class 1 has a higher score than one of class 0, ties half; 1 if a class is missing."""
    weights_N = np.ones(len(targets_N)) if weights_N is None else weights_N
    order_N = np.argsort(scores_N, kind="stable")
    steps = np.flatnonzero(np.diff(scores_N[order_N], prepend=np.nan) != 0)  # where a new score begins
    ones, zeros = (
        np.add.reduceat(np.where(targets_N[order_N] > 0, here, there), steps)
        for here, there in ((weights_N[order_N], 0.0), (0.0, weights_N[order_N]))
    )
    below = zeros.cumsum() - zeros
    total = ones.sum() * zeros.sum()
    return float((ones * (below + 0.5 * zeros)).sum() / total) if total > 0 else 1.0


def multi_logloss(targets_N: np.ndarray, chances_NC: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The negative log-likelihood of several classes."""
    own_N = chances_NC[np.arange(len(targets_N)), targets_N.astype(np.int64)]
    return _mean(_surprise(own_N), weights_N)


def multi_error(targets_N: np.ndarray, chances_NC: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """The share of rows whose class is not likelier than every other."""
    own_N = chances_NC[np.arange(len(targets_N)), targets_N.astype(np.int64)]
    return _mean((chances_NC >= own_N[:, None]).sum(axis=1) > 1, weights_N)


def ndcg(
    labels_N: np.ndarray,
    scores_N: np.ndarray,
    groups_Q: np.ndarray,
    at: Sequence[int] = (1, 2, 3, 4, 5),
    label_gain: np.ndarray | None = None,
    weights_N: np.ndarray | None = None,
) -> np.ndarray:
    """The gains of the first documents, discounted by their places, as a share of the most that was possible.

    A query whose documents all gain nothing counts as 1. Weights of documents are averaged to those of their queries;
    as in LightGBM, a query that counts as 1 is then not weighed, though its weight is in the sum that is divided by.

    Args:
        labels_N: Integers, the documents of a query side by side.
        scores_N: By which they are ranked; of equal ones the first comes first.
        groups_Q: How many documents each query has.
        at: After how many documents the list is judged.
        label_gain: What each label gains; 2^label - 1 if None.
        weights_N: Of the documents.

    Returns:
        One mean over the queries for each of ``at``, float64 [A].
    """
    gain_N = (default_gains() if label_gain is None else label_gain)[labels_N.astype(np.int64)]
    query_N, place_N = queries_of(groups_Q)
    orders = ranking(scores_N, query_N), ideal_order(labels_N, query_N)
    found_N, best_N = (gain_N[order_N] / np.log2(2.0 + place_N) for order_N in orders)
    Q = len(groups_Q)
    weights_Q = np.ones(Q) if weights_N is None else _query_weights(weights_N, groups_Q)
    result = []
    for last in at:
        inside = place_N < last
        found_Q, best_Q = (np.bincount(query_N[inside], values_N[inside], Q) for values_N in (found_N, best_N))
        shares_Q = np.divide(found_Q * weights_Q, best_Q, out=np.ones(Q), where=best_Q > 0)
        result.append(float(shares_Q.sum() / weights_Q.sum()))
    return np.array(result)


def _query_weights(weights_N: np.ndarray, groups_Q: np.ndarray) -> np.ndarray:
    """The mean weight of each query's documents; LightGBM adds up with 32 bits, one document after another."""
    stops_Q = groups_Q.cumsum()
    sums_Q = [
        np.add.accumulate(weights_N[start:stop], dtype=np.float32)[-1]
        for start, stop in zip(stops_Q - groups_Q, stops_Q, strict=True)
    ]
    return (np.array(sums_Q, np.float32) / groups_Q.astype(np.float32)).astype(np.float64)


def _surprise(chances_N: np.ndarray) -> np.ndarray:
    """The negative logarithms."""
    some_N = chances_N > _NO_CHANCE
    return -np.where(some_N, np.log(np.where(some_N, chances_N, 1.0)), _NO_CHANCE_LOG)


def _mean(values_N: np.ndarray, weights_N: np.ndarray | None) -> float:
    return float(np.average(values_N, weights=weights_N))
