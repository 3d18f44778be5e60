"""Documents of queries: whose they are, in which order a ranking puts them, and what their labels gain.

The documents of a query lie side by side, and ``groups_Q`` says how many each has.

Source: Burges 2010, From RankNet to LambdaRank to LambdaMART.
Shapes: N documents, Q queries, G labels.
"""

from typing import Any

import numpy as np

MOST_DOCUMENTS = 10_000  # of a query, LightGBM's bound
_LABELS = 31  # gains beyond would not fit LightGBM's integers


def default_gains() -> np.ndarray:
    """LightGBM's gains of the labels from 0 to 30: 2^label - 1, float64 [G]."""
    return 2.0 ** np.arange(_LABELS) - 1.0


def checked_gains(label_gain: Any) -> np.ndarray:
    """The gains of the labels as float64 [G]; the default ones of None.

    Raises:
        ValueError: it is not a list of finite numbers.
    """
    if label_gain is None:
        return default_gains()
    try:
        gains_G = np.asarray(label_gain, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"label_gain must be a list of finite numbers, got {label_gain!r}") from error
    if gains_G.ndim != 1 or not len(gains_G) or not np.isfinite(gains_G).all():
        raise ValueError(f"label_gain must be a list of finite numbers, got {label_gain!r}")
    return gains_G


def checked_groups(group: Any, rows: int, name: str = "group") -> np.ndarray:
    """How many documents each query has, int64 [Q].

    Raises:
        ValueError: it is missing, no list of positive integers, does not sum to the rows, or a query is too large.
    """
    if group is None:
        raise ValueError(f"{name} must say how many rows each query has, got None")
    sizes = np.asarray(group)
    if sizes.ndim != 1 or not len(sizes) or sizes.dtype.kind not in "iuf" or (sizes != np.floor(sizes)).any():
        raise ValueError(f"{name} must be a list of integers, the rows of each query, got {group!r}")
    if sizes.min() < 1 or sizes.max() > MOST_DOCUMENTS:
        raise ValueError(
            f"{name} must have from 1 to {MOST_DOCUMENTS} rows a query, got from {sizes.min()} to {sizes.max()}"
        )
    if sizes.sum() != rows:
        raise ValueError(f"{name} must sum to the {rows} rows of the table, got a sum of {sizes.sum()}")
    return sizes.astype(np.int64)


def checked_labels(labels_N: np.ndarray, gains: int, name: str = "y") -> None:
    """Refuse labels that are not integers from 0 on, or have no gain.

    Raises:
        ValueError: there are some.
    """
    wrong = (labels_N != np.floor(labels_N)) | (labels_N < 0) | (labels_N >= gains)
    if wrong.any():
        raise ValueError(
            f"{name} must hold integers from 0 to {gains - 1}, the labels that label_gain has gains of; "
            f"got {labels_N[wrong][0]}"
        )


def queries_of(groups_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each document its query, and its place in it from 0 on; int64 [N] both."""
    query_N = np.repeat(np.arange(len(groups_Q)), groups_Q)
    return query_N, np.arange(len(query_N)) - (groups_Q.cumsum() - groups_Q)[query_N]


def ranking(scores_N: np.ndarray, query_N: np.ndarray) -> np.ndarray:
    """The documents, query by query, from high to low scores; of equal ones the first first."""
    return np.lexsort((-scores_N, query_N))  # which is stable


def ideal_order(labels_N: np.ndarray, query_N: np.ndarray) -> np.ndarray:
    """The documents, query by query, from high to low labels."""
    return ranking(labels_N, query_N)
