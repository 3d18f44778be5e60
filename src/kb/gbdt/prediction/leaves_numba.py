"""Going down all trees on all cores: what ``leaves`` says, row by row.

Rows are taken in blocks that stay in the cache while tree after tree goes over them.

Shapes: N rows, F features, T trees, K nodes of all trees together, J category values of all splits together.
"""

# Fields end in their shapes.
# ruff: noqa: N815

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.growing.rows_numba import use_threads
from kb.gbdt.tree import Model

_BLOCK = 256  # rows


class Forest(NamedTuple):
    """All trees in one array of each kind; a child of -1 - n is the leaf with value n."""

    roots_T: np.ndarray
    classes_T: np.ndarray
    feature_K: np.ndarray
    threshold_K: np.ndarray
    missing_left_K: np.ndarray
    left_K: np.ndarray
    right_K: np.ndarray
    values: np.ndarray
    first_category_K: np.ndarray
    last_category_K: np.ndarray
    categories_J: np.ndarray


def raw_scores(model: Model, values_NF: np.ndarray, threads: int) -> np.ndarray:
    """What :func:`kb.gbdt.prediction.leaves.raw_scores` gives."""
    use_threads(threads)
    missing_F = np.array([mapper.has_missing for mapper in model.mappers], np.bool_)
    scores_NC = np.zeros((len(values_NF), model.classes))
    _descend(np.ascontiguousarray(values_NF), missing_F, forest(model), scores_NC)
    return scores_NC


def forest(model: Model) -> Forest:
    """All trees, put together."""
    trees = [(c, tree) for round_ in model.trees for c, tree in enumerate(round_)]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in Forest._fields}
    nodes = leaves = members = 0
    for c, tree in trees:
        K = len(tree.feature_K)
        columns["roots_T"].append(np.array([nodes if K else -1 - leaves]))
        columns["classes_T"].append(np.array([c]))
        for side in ("left_K", "right_K"):
            child_K = getattr(tree, side).astype(np.int64)
            columns[side].append(np.where(child_K < 0, child_K - leaves, child_K + nodes))
        for name in ("feature_K", "threshold_K", "missing_left_K"):
            columns[name].append(getattr(tree, name))
        sets = [np.array(values, np.float64) for _, values in tree.categories]
        ends = np.cumsum([0, *map(len, sets)]) + members
        place_K = np.where(np.isnan(tree.threshold_K), tree.bin_K, 0)
        columns["first_category_K"].append(ends[place_K] if sets else place_K)
        columns["last_category_K"].append(ends[place_K + 1] if sets else place_K)
        columns["categories_J"] += sets
        columns["values"].append(tree.leaf_value_L)
        nodes, leaves, members = nodes + K, leaves + tree.leaves, int(ends[-1])
    kinds = {"threshold_K": np.float64, "values": np.float64, "categories_J": np.float64, "missing_left_K": np.bool_}
    return Forest(
        *(np.concatenate([*columns[name], np.empty(0)]).astype(kinds.get(name, np.int64)) for name in Forest._fields)
    )


@njit(inline="always", **FLAGS)
def goes_left(trees, node, value, is_missing):
    """Whether a value of the node's feature goes left; a missing one counts as 0 unless NaN is missing there."""
    threshold = trees.threshold_K[node]
    if np.isnan(threshold):
        left = False
        for place in range(trees.first_category_K[node], trees.last_category_K[node]):
            left |= np.trunc(value) == trees.categories_J[place]
    elif np.isnan(value):
        left = trees.missing_left_K[node] if is_missing else threshold >= 0.0
    else:
        left = value <= threshold
    return left


@njit(parallel=True, **FLAGS)
def _descend(values_NF, missing_F, trees, scores_NC):
    N = len(values_NF)
    for block in prange((N + _BLOCK - 1) // _BLOCK):
        last = min((block + 1) * _BLOCK, N)
        for tree in range(len(trees.roots_T)):
            c = trees.classes_T[tree]
            for row in range(block * _BLOCK, last):
                node = trees.roots_T[tree]
                while node >= 0:
                    feature = trees.feature_K[node]
                    left = goes_left(trees, node, np.float64(values_NF[row, feature]), missing_F[feature])
                    node = trees.left_K[node] if left else trees.right_K[node]
                scores_NC[row, c] += trees.values[-1 - node]
