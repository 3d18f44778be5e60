"""Shapley values of all trees on all cores: what ``shap`` says, to the byte.

Rows are taken in blocks. For each tree a block's rows are sent left or right at every node at once; then for each leaf
a row's pattern, which features of the path hold, is looked up in a table that is filled when a pattern first comes.

Shapes: N rows, F features, C classes, T trees, K nodes of all trees, H paths of all trees, S features of all paths, Q
nodes of all paths, P points of Gauss's rule, M features of a path.
"""

# Fields end in their shapes.
# ruff: noqa: N815

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from collections.abc import Iterable, Sized
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.growing.rows_numba import use_threads
from kb.gbdt.prediction.leaves_numba import forest, goes_left
from kb.gbdt.prediction.shap import expected_value, gauss, paths_of
from kb.gbdt.tree import Model

_BLOCK = 4096  # rows
_TABLE = 12  # up to so many features of a path there is a table of patterns


class Paths(NamedTuple):
    """The ways to all leaves of all trees, put together; ``first`` and one more of each kind bound a path's share."""

    first_node_T: np.ndarray
    first_path_T: np.ndarray
    expected_T: np.ndarray
    first_slot_H: np.ndarray
    first_step_H: np.ndarray
    value_H: np.ndarray
    feature_S: np.ndarray
    share_S: np.ndarray
    node_Q: np.ndarray
    left_Q: np.ndarray
    slot_Q: np.ndarray
    first_point_M: np.ndarray
    point_P: np.ndarray
    weight_P: np.ndarray


def contributions(model: Model, values_NF: np.ndarray, threads: int) -> np.ndarray:
    """What :func:`kb.gbdt.prediction.shap.contributions` gives."""
    use_threads(threads)
    missing_F = np.array([mapper.has_missing for mapper in model.mappers], np.bool_)
    N, F = values_NF.shape
    found_NCF = np.zeros((N, model.classes, F + 1))
    _explain(np.ascontiguousarray(values_NF), missing_F, forest(model), all_paths(model), found_NCF)
    return found_NCF


def all_paths(model: Model) -> Paths:
    """The ways to the leaves of all trees."""
    trees = [tree for round_ in model.trees for tree in round_]
    paths = [paths_of(tree) for tree in trees]
    flat = [path for some in paths for path in some]
    nodes_T = _starts(tree.feature_K for tree in trees)
    steps_T = [sum(len(path.nodes_Q) for path in some) for some in paths]
    most = max((len(path.features_M) for path in flat), default=0)
    rules = [gauss(players) for players in range(1, most + 1)]
    return Paths(
        nodes_T,
        _starts(paths),
        np.array([expected_value(tree) for tree in trees], np.float64),
        _starts(path.features_M for path in flat),
        _starts(path.nodes_Q for path in flat),
        np.array([path.value for path in flat], np.float64),
        _joined((path.features_M for path in flat), np.int64),
        _joined((path.shares_M for path in flat), np.float64),
        _joined((path.nodes_Q for path in flat), np.int64) + np.repeat(nodes_T[:-1], steps_T),
        _joined((path.lefts_Q for path in flat), np.bool_),
        _joined((path.slots_Q for path in flat), np.int64),
        np.append(0, _starts(points_P for points_P, _ in rules)),
        _joined((points_P for points_P, _ in rules), np.float64),
        _joined((weights_P for _, weights_P in rules), np.float64),
    )


def _starts(parts: Iterable[Sized]) -> np.ndarray:
    return np.cumsum([0, *map(len, parts)])


def _joined(parts: Iterable[Iterable[Any]], kind: Any) -> np.ndarray:
    return np.array(list(chain.from_iterable(parts)), kind)


@njit(**FLAGS)
def _leaf_shares(holds_M, paths, path, factors_M, sums_M):
    """What a leaf gives the features of its path, into ``sums_M``."""
    first = paths.first_slot_H[path]
    M = paths.first_slot_H[path + 1] - first
    sums_M[:M] = 0.0
    for place in range(paths.first_point_M[M], paths.first_point_M[M + 1]):
        point, product = paths.point_P[place], paths.weight_P[place]
        for m in range(M):
            rest = paths.share_S[first + m] * (1.0 - point)
            factors_M[m] = point + rest if holds_M[m] else rest
            product = product * factors_M[m]
        for m in range(M):
            sums_M[m] += product / factors_M[m]
    for m in range(M):
        share = (1.0 if holds_M[m] else 0.0) - paths.share_S[first + m]
        sums_M[m] = share * sums_M[m] * paths.value_H[path]


@njit(parallel=True, **FLAGS)
def _explain(values_NF, missing_F, trees, paths, found_NCF):
    N, F = values_NF.shape
    T = len(trees.roots_T)
    most_nodes, most = np.int64(1), np.int64(1)
    for tree in range(T):
        most_nodes = max(most_nodes, paths.first_node_T[tree + 1] - paths.first_node_T[tree])
    for path in range(len(paths.value_H)):
        most = max(most, paths.first_slot_H[path + 1] - paths.first_slot_H[path])
    for block in prange((N + _BLOCK - 1) // _BLOCK):
        start, last = block * _BLOCK, min((block + 1) * _BLOCK, N)
        left_KR = np.empty((most_nodes, last - start), np.bool_)
        pattern_R = np.empty(last - start, np.int64)
        table = np.empty((1 << min(most, _TABLE), min(most, _TABLE)))
        known = np.empty(1 << min(most, _TABLE), np.bool_)
        holds_M, factors_M, sums_M = np.empty(most, np.bool_), np.empty(most), np.empty(most)
        for tree in range(T):
            c, first_node = trees.classes_T[tree], paths.first_node_T[tree]
            for node in range(first_node, paths.first_node_T[tree + 1]):
                feature = trees.feature_K[node]
                for row in range(start, last):
                    value = np.float64(values_NF[row, feature])
                    left_KR[node - first_node, row - start] = goes_left(trees, node, value, missing_F[feature])
            for path in range(paths.first_path_T[tree], paths.first_path_T[tree + 1]):
                if paths.first_slot_H[path + 1] - paths.first_slot_H[path] > _TABLE:
                    _long_path(path, c, start, first_node, left_KR, paths, holds_M, factors_M, sums_M, found_NCF)
                else:
                    _patterns(path, first_node, left_KR, paths, pattern_R)
                    _look_up(path, c, start, pattern_R, paths, table, known, holds_M, factors_M, sums_M, found_NCF)
            for row in range(start, last):
                found_NCF[row, c, F] += paths.expected_T[tree]


@njit(**FLAGS)
def _long_path(path, c, start, first_node, left_KR, paths, holds_M, factors_M, sums_M, found_NCF):
    """Add what a leaf gives, row by row."""
    first = paths.first_slot_H[path]
    M = paths.first_slot_H[path + 1] - first
    for row in range(left_KR.shape[1]):
        holds_M[:M] = True
        for step in range(paths.first_step_H[path], paths.first_step_H[path + 1]):
            holds_M[paths.slot_Q[step]] &= left_KR[paths.node_Q[step] - first_node, row] == paths.left_Q[step]
        _leaf_shares(holds_M, paths, path, factors_M, sums_M)
        for m in range(M):
            found_NCF[start + row, c, paths.feature_S[first + m]] += sums_M[m]


@njit(**FLAGS)
def _patterns(path, first_node, left_KR, paths, pattern_R):
    """Of each row, bit m: whether it goes the path's way at all splits by the path's feature m."""
    pattern_R[:] = (1 << (paths.first_slot_H[path + 1] - paths.first_slot_H[path])) - 1
    for step in range(paths.first_step_H[path], paths.first_step_H[path + 1]):
        node, left, bit = paths.node_Q[step] - first_node, paths.left_Q[step], np.int64(1) << paths.slot_Q[step]
        for row in range(len(pattern_R)):
            pattern_R[row] &= ~(bit * np.int64(left_KR[node, row] != left))


@njit(**FLAGS)
def _look_up(path, c, start, pattern_R, paths, table, known, holds_M, factors_M, sums_M, found_NCF):
    """Add what a leaf gives, from a table by patterns."""
    first = paths.first_slot_H[path]
    M = paths.first_slot_H[path + 1] - first
    known[: 1 << M] = False
    for row in range(len(pattern_R)):
        pattern = pattern_R[row]
        if not known[pattern]:
            known[pattern] = True
            for m in range(M):
                holds_M[m] = (pattern >> m) & 1
            _leaf_shares(holds_M, paths, path, factors_M, sums_M)
            table[pattern, :M] = sums_M[:M]
        for m in range(M):
            found_NCF[start + row, c, paths.feature_S[first + m]] += table[pattern, m]
