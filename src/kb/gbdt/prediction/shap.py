"""What each feature adds to a prediction: Shapley values of trees, exactly.

A player is a feature, and what a coalition S is worth is what the tree says if only S is known: at a split by another
feature, both sides are followed, each by the share of the training rows that went there. The reference enumerates all
coalitions. The fast way looks at one leaf at a time, as TreeSHAP does: with the features of its path, o_i whether the
row goes its way and z_i the share of the rows that does, a leaf of value v gives feature j

    v (o_j - z_j) sum over S of |S|! (M - 1 - |S|)! / M! prod_{i in S} o_i prod_{i not in S} z_i
    = v (o_j - z_j) integral over t from 0 to 1 of prod_{i != j} (t o_i + (1 - t) z_i).

Unusual: TreeSHAP's algorithm 2 finds the sums by EXTEND and UNWIND, and UNWIND subtracts, which loses digits as paths
get long. The integrand is a polynomial of degree M - 1, so that Gauss's rule with M/2 points is exact, and all of its
terms are positive. A leaf's answer depends on the o_i alone, so rows with the same ones share it.

Sources: Lundberg et al. 2020, From local explanations to global understanding with explainable AI for trees, algorithm
2; Yang 2021, Fast TreeSHAP (tables over the o_i); Owen 1972, Multilinear Extensions of Games (the integral).
Shapes: N rows, F features, C classes, K nodes, M features of a path, U different patterns of o, Q nodes of a path, P
points of Gauss's rule.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import factorial

import numpy as np

from kb.gbdt.prediction.leaves import goes_left
from kb.gbdt.tree import Model, Tree

MOST_PLAYERS = 16  # of the reference: 65 536 coalitions
_STEP = 16  # points


@dataclass(frozen=True)
class Path:
    """The way from a leaf to the root.

    Attributes:
        features_M: The different features on it.
        shares_M: Of the rows, which share goes the leaf's way at all splits by the feature.
        nodes_Q: The nodes.
        lefts_Q: Whether the way goes left.
        slots_Q: The place of the node's feature in ``features_M``.
        value: What the leaf says.
    """

    features_M: list[int]
    shares_M: list[float]
    nodes_Q: list[int]
    lefts_Q: list[bool]
    slots_Q: list[int]
    value: float


def expected_value(tree: Tree) -> float:
    """What the tree says on average over the rows that it was grown on."""
    return float((tree.leaf_count_L / tree.leaf_count_L.sum() * tree.leaf_value_L).sum())


def paths_of(tree: Tree) -> list[Path]:
    """The ways to all leaves, in the order of the leaves; none in a tree of one leaf."""
    above: dict[int, tuple[int, bool, int, float]] = {}
    for children_K, left in ((tree.left_K, True), (tree.right_K, False)):
        inside_K = np.maximum(children_K, 0), np.maximum(-1 - children_K, 0)
        rows_K = np.where(children_K < 0, tree.leaf_count_L[inside_K[1]], tree.node_count_K[inside_K[0]])
        columns = (children_K, tree.feature_K, rows_K / tree.node_count_K)
        for node, (child, feature, share) in enumerate(zip(*(one.tolist() for one in columns), strict=True)):
            above[child] = (node, left, feature, share)
    paths = []
    for leaf, value in enumerate(tree.leaf_value_L.tolist() if above else []):
        path, child = Path([], [], [], [], [], value), -1 - leaf
        slots: dict[int, int] = {}
        while child in above:
            child, left, feature, share = above[child]
            slot = slots.setdefault(feature, len(slots))
            if slot == len(path.features_M):
                path.features_M.append(feature)
                path.shares_M.append(1.0)
            path.shares_M[slot] *= share
            path.nodes_Q.append(child)
            path.lefts_Q.append(left)
            path.slots_Q.append(slot)
        paths.append(path)
    return paths


def gauss(players: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights [P] by which polynomials of degree ``players - 1`` are integrated from 0 to 1 exactly."""
    points = (players + 1) // 2
    # More points are as exact: so long paths of all lengths need few rules, which take long to make.
    return _rule(points if points <= _STEP else -(-points // _STEP) * _STEP)


@cache
def _rule(points: int) -> tuple[np.ndarray, np.ndarray]:
    points_P, weights_P = np.polynomial.legendre.leggauss(points)
    return (points_P + 1.0) / 2.0, weights_P / 2.0


def leaf_shares(holds_UM: np.ndarray, path: Path) -> np.ndarray:
    """What a leaf gives the features of its path, float64 [U, M].

    Args:
        holds_UM: Whether a row goes the leaf's way at all splits by the feature.
        path: To the leaf.
    """
    shares_M1 = np.array(path.shares_M)[:, None]
    sums_MU = np.zeros(holds_UM.T.shape)
    for point, weight in zip(*gauss(len(path.shares_M)), strict=True):
        rest_M1 = shares_M1 * (1.0 - point)
        factors_MU = np.where(holds_UM.T, point + rest_M1, rest_M1)
        product_U = np.full(len(holds_UM), weight)
        for factor_U in factors_MU:
            product_U = product_U * factor_U
        sums_MU += product_U / factors_MU
    return ((holds_UM.T - shares_M1) * sums_MU * path.value).T


def contributions(model: Model, values_NF: np.ndarray) -> np.ndarray:
    """Shapley values of all features and, last, what the trees say on average; float64 [N, C, F + 1].

    The fast one is in ``shap_numba``.

    Args:
        model: Of T trees.
        values_NF: Floats, NaN where missing.
    """
    N, F = values_NF.shape
    missing_F = np.array([mapper.has_missing for mapper in model.mappers], bool)
    found_NCF = np.zeros((N, model.classes, F + 1))
    for trees in model.trees:
        for c, tree in enumerate(trees):
            left_KN = [
                goes_left(tree, np.full(N, node), values_NF[:, feature], missing_F)
                for node, feature in enumerate(tree.feature_K)
            ]
            for path in paths_of(tree):
                holds_NM = np.ones((N, len(path.features_M)), bool)
                for node, left, slot in zip(path.nodes_Q, path.lefts_Q, path.slots_Q, strict=True):
                    holds_NM[:, slot] &= left_KN[node] == left
                _, first_U, same_N = np.unique(
                    np.packbits(holds_NM, axis=1), axis=0, return_index=True, return_inverse=True
                )
                found_NCF[:, c, path.features_M] += leaf_shares(holds_NM[first_U], path)[same_N.reshape(-1)]
            found_NCF[:, c, F] += expected_value(tree)
    return found_NCF


def contributions_by_coalitions(tree: Tree, values_F: np.ndarray, missing_F: np.ndarray) -> np.ndarray:
    """The reference for one tree and one row: every coalition's worth, with and without each feature; [F + 1].

    Args:
        tree: By at most 16 different features.
        values_F: The row.
        missing_F: For which features NaN is missing.

    Raises:
        ValueError: the tree splits by more features.
    """
    players = np.unique(tree.feature_K).tolist()
    M = len(players)
    if M > MOST_PLAYERS:
        raise ValueError(f"the tree must split by at most {MOST_PLAYERS} features to try all coalitions, got {M}")
    worth = {
        coalition: known_value(tree, frozenset(coalition), values_F, missing_F)
        for size in range(M + 1)
        for coalition in combinations(players, size)
    }
    found_F = np.zeros(len(values_F) + 1)
    found_F[-1] = worth[()]
    for coalition, value in worth.items():
        for player in coalition:
            others = tuple(other for other in coalition if other != player)
            weight = factorial(len(others)) * factorial(M - len(coalition)) / factorial(M)
            found_F[player] += weight * (value - worth[others])
    return found_F


def known_value(tree: Tree, known: frozenset[int], values_F: np.ndarray, missing_F: np.ndarray) -> float:
    """What the tree says of a row of which only some features are known."""
    total, waiting = 0.0, [(0 if len(tree.feature_K) else -1, 1.0)]
    while waiting:
        node, weight = waiting.pop()
        if node < 0:
            total += weight * float(tree.leaf_value_L[-1 - node])
            continue
        feature, children = int(tree.feature_K[node]), (int(tree.left_K[node]), int(tree.right_K[node]))
        if feature in known:
            left = goes_left(tree, np.array([node]), values_F[[feature]], missing_F)[0]
            waiting.append((children[0] if left else children[1], weight))
            continue
        for child in children:
            rows = tree.leaf_count_L[-1 - child] if child < 0 else tree.node_count_K[child]
            waiting.append((child, weight * float(rows / tree.node_count_K[node])))
    return total
