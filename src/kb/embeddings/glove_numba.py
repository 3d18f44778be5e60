"""The loop of :mod:`kb.embeddings.glove`, compiled."""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import numpy as np
from numba import njit

from kb.embeddings.word2vec_numba import FLAGS


def train_cells(words_N, contexts_N, logs_N, weights_N, state, rate):
    """What :func:`kb.embeddings.glove.train_cells` does."""
    dtype = state.parameters_2VP.dtype
    cells = (words_N, contexts_N, logs_N.astype(dtype), weights_N.astype(dtype))
    return _train(*cells, state.parameters_2VP, state.squares_2VP, dtype.type(rate))


@njit(**FLAGS)
def _train(words_N, contexts_N, logs_N, weights_N, parameters, squares, rate):
    D, total = parameters.shape[2] - 1, 0.0
    for n in range(len(words_N)):
        row, column = parameters[0, words_N[n]], parameters[1, contexts_N[n]]
        row_squares, column_squares = squares[0, words_N[n]], squares[1, contexts_N[n]]
        error = row[D] + column[D] - logs_N[n]
        for d in range(D):
            error += row[d] * column[d]
        total += weights_N[n] * error * error / 2
        error *= weights_N[n]
        for d in range(D + 1):
            a, b = (error * column[d], error * row[d]) if d < D else (error, error)
            row_squares[d] += a * a
            column_squares[d] += b * b
            row[d] -= rate * a / np.sqrt(row_squares[d])
            column[d] -= rate * b / np.sqrt(column_squares[d])
    return total
