"""The compiled loops of the automaton that lies in arrays: build the trie, link it, search.

Shapes: T characters of all words, W words, S states, C code points.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from typing import Any

import numpy as np
from numba import njit

FLAGS: dict[str, Any] = {"error_model": "numpy", "cache": True, "nogil": True}
CHILD, FAIL, WORD = 0, 1, 2  # columns of a node
_FEW = 8  # children that are looked through one after the other
_NONE = -1


@njit(**FLAGS)
def shared_lengths(codes_T, offset_W1):
    """For each of the sorted words, how many characters it shares with the word before it."""
    shared_W = np.zeros(len(offset_W1) - 1, np.int32)
    for w in range(1, len(shared_W)):
        before, here = offset_W1[w - 1], offset_W1[w]
        most = min(here - before, offset_W1[w + 1] - here)
        while shared_W[w] < most and codes_T[before + shared_W[w]] == codes_T[here + shared_W[w]]:
            shared_W[w] += 1
    return shared_W


@njit(**FLAGS)
def build(codes_T, offset_W1, shared_W, number_W, label_S, parent_S, depth_S, node_S3):
    """Number the beginnings of the sorted words by length, then by order, so that siblings are neighbours.

    A word brings a new beginning of each length above what it shares with the word before it.
    """
    left, state = len(offset_W1) - 1, 0
    longer_W, state_W = np.arange(left), np.zeros(left, np.int32)
    while left:
        kept, depth = 0, depth_S[state]
        for v in range(left):
            w = longer_W[v]
            if offset_W1[w] + depth == offset_W1[w + 1]:
                node_S3[state_W[w], WORD] = number_W[w]
                continue
            longer_W[kept] = w
            kept += 1
            if shared_W[w] <= depth:
                state += 1
                label_S[state] = codes_T[offset_W1[w] + depth]
                parent_S[state] = state_W[w]
                depth_S[state] = depth + 1
                node_S3[state_W[w] + 1, CHILD] += 1
            state_W[w] = state
        left = kept
    node_S3[0, CHILD] = 1
    for s in range(len(label_S)):
        node_S3[s + 1, CHILD] += node_S3[s, CHILD]


@njit(**FLAGS)
def _child(label_S, node_S3, state, code):
    """The state that a character leads to, 0 where there is none; siblings' labels rise."""
    low, high = node_S3[state, CHILD], node_S3[state + 1, CHILD]
    while high - low > _FEW:
        middle = (low + high) >> 1
        if label_S[middle] <= code:
            low = middle
        else:
            high = middle
    while low < high:
        if label_S[low] == code:
            return low
        low += 1
    return 0


@njit(**FLAGS)
def _step(label_S, node_S3, root_C, state, code):
    while state:
        child = _child(label_S, node_S3, state, code)
        if child:
            return child
        state = node_S3[state, FAIL]
    return root_C[code] if code < len(root_C) else 0


@njit(**FLAGS)
def link(label_S, parent_S, node_S3, root_C, shorter_W):
    """Set failure links, and let every state and every word name the longest word that it ends with."""
    for s in range(1, node_S3[1, CHILD]):
        root_C[label_S[s]] = s
    for s in range(1, len(label_S)):
        fail = 0
        if parent_S[s]:
            fail = _step(label_S, node_S3, root_C, node_S3[parent_S[s], FAIL], label_S[s])
        node_S3[s, FAIL] = fail
        if node_S3[s, WORD] == _NONE:
            node_S3[s, WORD] = node_S3[fail, WORD]
        else:
            shorter_W[node_S3[s, WORD]] = node_S3[fail, WORD]


@njit(**FLAGS)
def find(codes_N, at, shift, state, word, label_S, node_S3, root_C, shorter_W, end_M, word_M):
    """Fill ``end_M`` and ``word_M`` with matches; returns how many there are, and from where to go on."""
    count = 0
    while True:
        while word != _NONE:
            if count == len(end_M):
                return count, at, state, word
            end_M[count] = shift + at - 1
            word_M[count] = word
            count += 1
            word = shorter_W[word]
        if at == len(codes_N):
            return count, at, state, word
        state = _step(label_S, node_S3, root_C, state, codes_N[at])
        word = node_S3[state, WORD]
        at += 1


@njit(**FLAGS)
def find_longest(codes_N, at, shift, length_W, label_S, depth_S, node_S3, root_C, end_M, word_M):
    """As :func:`find`, leftmost-longest; returns how many, and the place behind the last match.

    The state is the longest end of the text that begins a word. Once it begins right of where the best match does, no
    match can begin there or before any more, and the search starts anew behind the best one.
    """
    count, state, best, start, behind = 0, 0, _NONE, 0, at
    while count < len(end_M):
        if at < len(codes_N):
            state = _step(label_S, node_S3, root_C, state, codes_N[at])
            at += 1
        elif best == _NONE:
            return count, at
        else:
            state = 0
        if best != _NONE and at - depth_S[state] > start:
            end_M[count] = shift + behind - 1
            word_M[count] = best
            count += 1
            at, state, best = behind, 0, _NONE
            continue
        word = node_S3[state, WORD]
        # The longest word that ends here begins leftmost; one that begins where the best does is longer.
        if word != _NONE and (best == _NONE or at - length_W[word] <= start):
            best, start, behind = word, at - length_W[word], at
    return count, at
