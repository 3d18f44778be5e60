"""Going down a tree: by bins while it is trained, by values afterwards.

All rows take a step at a time, so there are as many array operations as the tree is deep, and no recursion. The fast
one for values is in ``leaves_numba``.

Shapes: N rows, R of them, F features, K nodes.
"""

import numpy as np

from kb.gbdt.binning.bins import Bins
from kb.gbdt.tree import Model, Tree


def leaf_of(tree: Tree, values_NF: np.ndarray, missing_F: np.ndarray) -> np.ndarray:
    """The leaf that each row of values comes to, int64 [N].

    Args:
        tree: Of K nodes.
        values_NF: Floats, NaN where missing.
        missing_F: For which features NaN is missing; for others it counts as 0.
    """
    node_N = np.zeros(len(values_NF), np.int64) if len(tree.feature_K) else np.full(len(values_NF), -1)
    rows = np.arange(len(values_NF))
    while True:
        inside = rows[node_N[rows] >= 0]
        if not len(inside):
            return -1 - node_N
        rows, node = inside, node_N[inside]
        left = goes_left(tree, node, values_NF[inside, tree.feature_K[node]], missing_F)
        node_N[inside] = np.where(left, tree.left_K[node], tree.right_K[node])


def goes_left(tree: Tree, node_R: np.ndarray, value_R: np.ndarray, missing_F: np.ndarray) -> np.ndarray:
    """Whether values go left at their nodes, bool [R].

    A category is a whole number; as in LightGBM, what follows its point is cut off.

    Args:
        tree: Of K nodes.
        node_R: At which node each value stands.
        value_R: Of the node's feature, NaN where missing.
        missing_F: For which features NaN is missing; for others it counts as 0.
    """
    feature_R, threshold_R = tree.feature_K[node_R], tree.threshold_K[node_R]
    missing_R = np.isnan(value_R)
    left_R = np.where(missing_R & ~missing_F[feature_R], 0.0, value_R) <= threshold_R
    left_R = np.where(missing_R & missing_F[feature_R], tree.missing_left_K[node_R], left_R)
    by_category_R = np.isnan(threshold_R)
    for place in np.unique(tree.bin_K[node_R[by_category_R]]):
        these_R = by_category_R & (tree.bin_K[node_R] == place)
        left_R[these_R] = np.isin(np.trunc(value_R[these_R]), tree.categories[place][1])
    return left_R


def left_bins(tree: Tree, bins: Bins) -> np.ndarray:
    """For each node and bin of its feature, whether rows go left, bool [K, B]."""
    left_KB = np.zeros((len(tree.feature_K), bins.width), bool)
    for node, feature in enumerate(tree.feature_K):
        if np.isnan(tree.threshold_K[node]):
            left_KB[node, list(tree.categories[tree.bin_K[node]][0])] = True
        else:
            left_KB[node, : tree.bin_K[node] + 1] = True
            if bins.missing_F[feature]:
                left_KB[node, bins.bins_F[feature] - 1] = tree.missing_left_K[node]
    return left_KB


def leaf_of_bins(tree: Tree, bins: Bins) -> np.ndarray:
    """The leaf that each row of the training data comes to, int64 [N]."""
    N = bins.columns_FN.shape[1]
    leaf_N, left_KB = np.zeros(N, np.int64), left_bins(tree, bins)
    waiting = [(0, np.arange(N))] if len(tree.feature_K) else []
    while waiting:
        node, rows = waiting.pop()
        left = left_KB[node, bins.columns_FN[tree.feature_K[node], rows]]
        for child, chosen in ((tree.left_K[node], rows[left]), (tree.right_K[node], rows[~left])):
            if child < 0:
                leaf_N[chosen] = -1 - child
            else:
                waiting.append((int(child), chosen))
    return leaf_N


def raw_scores(model: Model, values_NF: np.ndarray) -> np.ndarray:
    """The sums of the trees, float64 [N, C]."""
    missing_F = np.array([mapper.has_missing for mapper in model.mappers], bool)
    scores_NC = np.zeros((len(values_NF), model.classes))
    for trees in model.trees:
        for c, tree in enumerate(trees):
            scores_NC[:, c] += tree.leaf_value_L[leaf_of(tree, values_NF, missing_F)]
    return scores_NC
