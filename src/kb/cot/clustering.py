"""Texts in groups by their embeddings: k-means, and each group in order from its centre outwards.

Unusual: the order is one sort of all items by group and distance, where the paper's code goes group by group in Python;
equal distances keep the order of the items, so that it depends on no sorting routine.

Source: Zhang et al. 2022, Auto-CoT, arXiv 2210.03493, algorithm 1; scikit-learn's ``KMeans``. Shapes: N items, D width,
K groups.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.arguments import require_count

_STARTS = 10  # of k-means, of which the best is kept


@dataclass(frozen=True, eq=False)
class Clustering:
    """Items in groups.

    Args:
        labels_N: int64, the group of each item.
        distances_N: float64, Euclidean, from each item to its group's centre.
        centers_KD: float64, means of the groups.
    """

    labels_N: NDArray[np.int64]
    distances_N: NDArray[np.float64]
    centers_KD: NDArray[np.float64]

    def order(self) -> list[NDArray[np.int64]]:
        """Items of each group, closest to its centre first; of equal distances the first item."""
        by_group_N = np.lexsort((self.distances_N, self.labels_N))
        sizes_K = np.bincount(self.labels_N, minlength=len(self.centers_KD))
        return np.split(by_group_N, np.cumsum(sizes_K)[:-1])

    def order_loop(self) -> list[NDArray[np.int64]]:
        """Reference: the same, group by group."""
        groups = []
        for group in range(len(self.centers_KD)):
            members = [item for item, label in enumerate(self.labels_N) if label == group]
            members.sort(key=lambda item: self.distances_N[item])
            groups.append(np.array(members, dtype=np.int64))
        return groups


def k_means(embeddings_ND: ArrayLike, groups: int, *, seed: int) -> Clustering:
    """Cluster items.

    Args:
        embeddings_ND: One row an item.
        groups: K.
        seed: Of the starting points; the same seed gives the same groups.

    Raises:
        TypeError: the embeddings are no numbers.
        ValueError: they are no matrix, not finite, or hold fewer different rows than groups are wanted, or rows so
            close, or so large, that k-means cannot tell so many groups apart.
    """
    from sklearn.cluster import KMeans

    rows_ND = require_embeddings("embeddings", embeddings_ND)
    require_count("groups", groups)
    require_count("seed", seed, least=0)
    if seed >= 2**32:
        raise ValueError(f"seed must be below 2**32, got {seed}")
    distinct = len(np.unique(rows_ND, axis=0))
    if distinct < groups:
        raise ValueError(f"groups must be at most {distinct}, the number of different embeddings, got {groups}")
    found = KMeans(groups, n_init=_STARTS, random_state=seed).fit(rows_ND)
    labels_N = found.labels_.astype(np.int64)
    if (told := len(np.unique(labels_N))) < groups:
        raise ValueError(f"groups must be at most {told}, as many as k-means tells apart here, got {groups}")
    centers_KD = np.asarray(found.cluster_centers_, dtype=np.float64)
    return Clustering(labels_N, np.linalg.norm(rows_ND - centers_KD[labels_N], axis=1), centers_KD)


def require_embeddings(name: str, rows: ArrayLike) -> NDArray[np.float64]:
    """Embeddings as float64 [N, D].

    Raises:
        TypeError: they are no numbers.
        ValueError: they are no matrix with at least one row and one column, or not finite.
    """
    try:
        found = np.asarray(rows)
    except ValueError as error:
        raise ValueError(f"{name} must be a matrix, one row an item: {error}") from error
    if not np.issubdtype(found.dtype, np.floating) and not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"{name} must be numbers, got {found.dtype}")
    if found.ndim != 2 or not found.size:
        raise ValueError(f"{name} must be a matrix, one row an item, got the shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, and row {int(np.argmin(np.isfinite(found).all(axis=1)))} is not")
    return found.astype(np.float64)
