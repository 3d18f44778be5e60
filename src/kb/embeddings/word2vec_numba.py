"""The loops of :mod:`kb.embeddings.word2vec_loops`, compiled: the same steps in the same order, sums reordered."""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from typing import Any

import numpy as np
from numba import njit

from kb.embeddings.vocabulary import GUIDE_SHIFT, NOISE_DOMAIN

# As in kb.nn.compiled, which needs torch: sums may be reordered, but NaN and infinity keep their meaning.
FLAGS: Any = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy", "cache": True, "nogil": True}
_MULTIPLIER, _INCREMENT, _MASK = np.uint64(25214903917), np.uint64(11), np.uint64(2**48 - 1)
_SHIFT, _ZERO, _ONE = np.uint64(16), np.float32(0), np.float32(1)
_DOMAIN = np.uint64(NOISE_DOMAIN)  # a constant, by which dividing is cheap


def subsample(words_N, keep_V, state):
    """What :func:`kb.embeddings.word2vec_loops.subsample` does."""
    kept_N, state = _subsample(words_N, keep_V, np.uint64(state))
    return kept_N, int(state)


def train_job(words_N, ends_S, shrink_N, rules, weights, alpha, state):
    """What :func:`kb.embeddings.word2vec_loops.train_job` does."""
    code, empty = rules.code, np.zeros(0, np.int32)
    tree = (code.bits, code.nodes, code.start_V1) if code else (empty, empty, np.zeros(0, np.int64))
    how = (rules.sg, rules.window, rules.negative, rules.mean, rules.subwords, code is not None)
    table = (np.float32(rules.table.limit), rules.table.scale, rules.table.values_E, rules.table.clipped)
    rows = (rules.row_start_V1, rules.rows)
    arrays = (weights.input_RD, weights.words_VD, weights.nodes_VD)
    job, noise = (words_N, ends_S, shrink_N), (rules.noise_V, rules.guide)
    return int(_train(job, how, rows, tree, noise, table, arrays, np.float32(alpha), np.uint64(state)))


@njit(**FLAGS)
def _subsample(words_N, keep_V, state):
    kept_N = np.empty(len(words_N), np.bool_)
    for n in range(len(words_N)):
        kept_N[n] = state >> _SHIFT <= np.uint64(keep_V[words_N[n]])
        state = (state * _MULTIPLIER + _INCREMENT) & _MASK
    return kept_N, state


@njit(**FLAGS)
def _train(job, how, rows, tree, noise, table, arrays, alpha, state):
    words_N, ends_S, shrink_N = job
    sg, window, _, mean, subwords, _ = how
    row_start_V1, row_list = rows
    D = arrays[0].shape[1]
    buffers = np.empty(D, np.float32), np.empty(D, np.float32)
    taken = np.empty(64, np.int64)
    begin = 0
    for s in range(len(ends_S)):
        end = ends_S[s]
        for middle in range(begin, end):
            reach = window - shrink_N[middle]
            count = 0
            for at in range(max(begin, middle - reach), min(end, middle + reach + 1)):
                if at == middle:
                    continue
                source, target = at, words_N[middle]
                if sg and subwords:
                    source, target = middle, words_N[at]
                if sg:
                    count = 0
                first, last = row_start_V1[words_N[source]], row_start_V1[words_N[source] + 1]
                while count + last - first > len(taken):
                    taken = np.concatenate((taken, taken))
                for place in range(first, last):
                    taken[count] = row_list[place]
                    count += 1
                if sg:
                    into = _ONE / np.float32(max(1, count - 1)) if subwords else _ONE
                    state = _step(
                        taken[:count], into, _ONE, target, how, tree, noise, table, arrays, alpha, state, buffers
                    )
            if not sg:
                share = _ONE / np.float32(max(1, count))
                into, back = (share, _ONE) if mean else (_ONE, share)
                target = words_N[middle]
                state = _step(taken[:count], into, back, target, how, tree, noise, table, arrays, alpha, state, buffers)
        begin = end
    return state


@njit(inline="always", **FLAGS)
def _gather(taken, into, input_RD, hidden_D, error_D):
    for d in range(len(hidden_D)):
        hidden_D[d] = _ZERO
        error_D[d] = _ZERO
    for row in taken:
        for d in range(len(hidden_D)):
            hidden_D[d] += input_RD[row, d]
    for d in range(len(hidden_D)):
        hidden_D[d] *= into


@njit(inline="always", **FLAGS)
def _give_back(taken, back, input_RD, error_D):
    for row in taken:
        for d in range(len(error_D)):
            input_RD[row, d] += back * error_D[d]


@njit(inline="always", **FLAGS)
def _move(output_VD, row, hidden_D, error_D, label, table, alpha):
    limit, scale, values_E, clipped = table
    score = _ZERO
    for d in range(len(hidden_D)):
        score += hidden_D[d] * output_VD[row, d]
    if -limit < score < limit:
        gain = (label - values_E[np.int64((score + limit) * scale)]) * alpha
    elif clipped:
        gain = (label - np.float32(score > _ZERO)) * alpha
    else:
        return
    for d in range(len(hidden_D)):
        error_D[d] += gain * output_VD[row, d]
        output_VD[row, d] += gain * hidden_D[d]


@njit(inline="always", **FLAGS)
def _find(number, noise):
    """The first entry that is not under a number, from where the guide says that it may begin."""
    table_V, guide = noise
    place = guide[number >> GUIDE_SHIFT]
    while table_V[place] < number:
        place += 1
    return place


@njit(inline="always", **FLAGS)
def _step(taken, into, back, target, how, tree, noise, table, arrays, alpha, state, buffers):
    input_RD, words_VD, nodes_VD = arrays
    hidden_D, error_D = buffers
    bits, nodes, start_V1 = tree
    negative, hs = how[2], how[5]
    if hs:
        _gather(taken, into, input_RD, hidden_D, error_D)
        for place in range(start_V1[target], start_V1[target + 1]):
            _move(nodes_VD, nodes[place], hidden_D, error_D, np.float32(1 - bits[place]), table, alpha)
        _give_back(taken, back, input_RD, error_D)
    if negative:
        _gather(taken, into, input_RD, hidden_D, error_D)
        _move(words_VD, target, hidden_D, error_D, _ONE, table, alpha)
        for _ in range(negative):
            drawn = _find(np.int64((state >> _SHIFT) % _DOMAIN), noise)
            state = (state * _MULTIPLIER + _INCREMENT) & _MASK
            if drawn != target:
                _move(words_VD, drawn, hidden_D, error_D, _ZERO, table, alpha)
        _give_back(taken, back, input_RD, error_D)
    return state
