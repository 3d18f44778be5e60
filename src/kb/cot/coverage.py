"""How well a few examples stand for a pool, and how much they repeat each other.

Unusual: coverage and diversity are given side by side, since each alone is easily had: copies of the pool's most common
question cover much and differ in nothing, outliers differ and cover nothing.

Sources: Gonzalez 1985 (the largest distance to the nearest example, the k-centre objective); Zhang et al. 2022, arXiv
2210.03493, section 3 (why demonstrations should differ: questions that are alike mislead alike). Shapes: N items of the
pool, D width, K chosen.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.arguments import is_number
from kb.cot.clustering import require_embeddings
from kb.cot.selection import require_indices, unit_rows


@dataclass(frozen=True)
class Coverage:
    """What a choice from a pool is worth.

    Args:
        mean_distance: Euclidean, from an item of the pool to the nearest that was chosen, on average.
        max_distance: The same for the item that is farthest from all chosen.
        mean_similarity: Cosine of two that were chosen, on average over pairs; None for a single one.
        groups_hit: Share of the pool's groups that have one; None where no groups were given.
        within_radius: Share of the pool at most so far from one; None where no radius was given.
    """

    mean_distance: float
    max_distance: float
    mean_similarity: float | None
    groups_hit: float | None = None
    within_radius: float | None = None


def measure_coverage(
    pool_ND: ArrayLike,
    chosen: Sequence[int] | NDArray[np.int64],
    *,
    groups: Sequence[Hashable] | NDArray[np.int64] | None = None,
    radius: float | None = None,
) -> Coverage:
    """Measure a choice.

    Args:
        pool_ND: Embeddings of all items, those chosen among them.
        chosen: Indices of those that were.
        groups: The group or kind of each item, of k-means or known.
        radius: A distance within which an item counts as covered.

    Raises:
        TypeError: embeddings are no numbers, groups no sequence of labels that can be compared.
        ValueError: nothing was chosen, an index twice or none of the pool's; not one group for each item; a radius
            that is no distance.
    """
    rows_ND, indices_K = _checked(pool_ND, chosen, groups, radius)
    nearest_N = distance_to_nearest(rows_ND, rows_ND[indices_K])
    units_KD = unit_rows(rows_ND[indices_K])
    pairs = np.triu_indices(len(indices_K), k=1)
    return Coverage(
        float(nearest_N.mean()),
        float(nearest_N.max()),
        float((units_KD @ units_KD.T)[pairs].mean()) if len(indices_K) > 1 else None,
        None if groups is None else len({groups[index] for index in indices_K}) / len(set(groups)),
        None if radius is None else float((nearest_N <= radius).mean()),
    )


def measure_coverage_loop(
    pool_ND: ArrayLike,
    chosen: Sequence[int] | NDArray[np.int64],
    *,
    groups: Sequence[Hashable] | NDArray[np.int64] | None = None,
    radius: float | None = None,
) -> Coverage:
    """Reference: the same, item by item and pair by pair."""
    rows_ND, indices_K = _checked(pool_ND, chosen, groups, radius)
    rows = rows_ND.tolist()
    nearest = [min(math.dist(row, rows[index]) for index in indices_K) for row in rows]
    cosines = []
    for place, first in enumerate(indices_K):
        for second in indices_K[place + 1 :]:
            lengths = math.hypot(*rows[first]) * math.hypot(*rows[second])
            product = sum(a * b for a, b in zip(rows[first], rows[second], strict=True))
            cosines.append(product / lengths if lengths else 0.0)
    hit = None
    if groups is not None:
        wanted = set(groups)
        hit = sum(any(groups[index] == group for index in indices_K) for group in wanted) / len(wanted)
    return Coverage(
        sum(nearest) / len(nearest),
        max(nearest),
        sum(cosines) / len(cosines) if cosines else None,
        hit,
        None if radius is None else sum(distance <= radius for distance in nearest) / len(nearest),
    )


def distance_to_nearest(pool_ND: ArrayLike, examples_KD: ArrayLike) -> NDArray[np.float64]:
    """Euclidean distance from each item of a pool to the nearest of some examples, which need not be part of it, [N].

    Raises:
        TypeError: embeddings are no numbers.
        ValueError: they are no matrices of one width.
    """
    from scipy.spatial.distance import cdist

    rows_ND, others_KD = require_embeddings("pool", pool_ND), require_embeddings("examples", examples_KD)
    if rows_ND.shape[1] != others_KD.shape[1]:
        raise ValueError(f"pool and examples must be of one width, got {rows_ND.shape[1]} and {others_KD.shape[1]}")
    nearest_N: NDArray[np.float64] = cdist(rows_ND, others_KD).min(axis=1)
    return nearest_N


def _checked(
    pool_ND: ArrayLike,
    chosen: Sequence[int] | NDArray[np.int64],
    groups: Sequence[Hashable] | NDArray[np.int64] | None,
    radius: float | None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rows_ND = require_embeddings("pool", pool_ND)
    indices_K = require_indices("chosen", chosen, len(rows_ND))
    if not len(indices_K) or len(set(indices_K.tolist())) < len(indices_K):
        raise ValueError(f"chosen must hold at least one index, and none twice, got {indices_K.tolist()}")
    if groups is not None:
        if not isinstance(groups, Sequence | np.ndarray) or not all(isinstance(one, Hashable) for one in groups):
            raise TypeError(f"groups must be a sequence of numbers or names, one an item, got {type(groups).__name__}")
        if len(groups) != len(rows_ND):
            raise ValueError(f"groups must hold {len(rows_ND)} entries, one an item, got {len(groups)}")
    if radius is not None and (not is_number(radius) or radius < 0):
        raise ValueError(f"radius must be a distance, at least 0, got {radius!r}")
    return rows_ND, indices_K
