"""GloVe: word and context vectors whose products, with a bias each, are the logarithms of counts.

The loss is the sum over cells with a count X of f(X) / 2 (w.c + b + b' - log X)^2. Unusual: a step moves one cell, with
AdaGrad (torch's; Stanford's code divides by the root of the sum *before* the step's own gradient is added), and only
cells that were seen are ever looked at: there are no negatives. Word vectors are the sums w + c, as the paper advises.

Source: Pennington, Socher and Manning 2014, GloVe: Global Vectors for Word Representation, equations 8 and 9, section
4.2.
Shapes: V words, D components, P parameters of a word (D and its bias), N cells with a count.
"""

# ruff: noqa: N815

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from kb.arguments import require_count, require_positive
from kb.embeddings.cooccurrence import count_pairs
from kb.embeddings.keyed_vectors import KeyedVectors
from kb.embeddings.vocabulary import build_vocabulary, checked_sentences
from kb.installed import is_installed


@dataclass(frozen=True)
class GloveState:
    """Parameters and AdaGrad's sums of squares, each (2, V, D + 1): words then contexts, a bias behind each vector."""

    parameters_2VP: np.ndarray
    squares_2VP: np.ndarray

    @classmethod
    def start(cls, words: int, size: int, generator: np.random.Generator) -> "GloveState":
        """Uniform between -1/2 and 1/2, over D, as float32; sums of squares of 1."""
        first = ((generator.random((2, words, size + 1)) - 0.5) / size).astype(np.float32)
        return cls(first, np.ones_like(first))


def weighting(counts: np.ndarray, x_max: float = 100.0, alpha: float = 0.75) -> np.ndarray:
    """f(x) = (x / x_max)^alpha, at most 1.

    Raises:
        ValueError: ``x_max`` or ``alpha`` is not a number above 0, or a count is negative or NaN.
    """
    require_positive("x_max", x_max)
    require_positive("alpha", alpha)
    counts = np.asarray(counts, np.float64)
    if not (counts >= 0).all():
        raise ValueError("counts must not be negative or NaN")
    return np.minimum(1.0, counts / x_max) ** alpha


def glove_loss(parameters_2VP: np.ndarray, counts_VV: sparse.spmatrix, x_max: float, alpha: float) -> float:
    """The loss over all cells with a count, which is half of the paper's equation 8."""
    counts_VV = sparse.csr_matrix(counts_VV, copy=True)
    counts_VV.eliminate_zeros()
    cells = counts_VV.tocoo()
    word, context = parameters_2VP[0][cells.row], parameters_2VP[1][cells.col]
    model = (word[:, :-1] * context[:, :-1]).sum(1) + word[:, -1] + context[:, -1]
    return float((weighting(cells.data, x_max, alpha) / 2 * (model - np.log(cells.data)) ** 2).sum())


def train_cells(
    words_N: np.ndarray,
    contexts_N: np.ndarray,
    logs_N: np.ndarray,
    weights_N: np.ndarray,
    state: GloveState,
    rate: float,
) -> float:
    """One step for each cell, in order and in place; returns the sum of their losses, each before its step.

    Args:
        words_N: Row of each cell.
        contexts_N: Its column.
        logs_N: log X.
        weights_N: f(X).
        state: What is changed.
        rate: AdaGrad's learning rate.
    """
    parameters, squares, total = state.parameters_2VP, state.squares_2VP, 0.0
    for word, context, log, weight in zip(words_N, contexts_N, logs_N, weights_N, strict=True):
        row, column = parameters[0, word], parameters[1, context]
        apart = row[:-1] @ column[:-1] + row[-1] + column[-1] - log
        total += float(weight / 2 * apart**2)
        gradients = [weight * apart * np.append(other[:-1], np.ones_like(other[:1])) for other in (column, row)]
        for side, place, gradient in zip((0, 1), (word, context), gradients, strict=True):
            squares[side, place] += gradient**2
            parameters[side, place] -= rate * gradient / np.sqrt(squares[side, place])
    return total


class GloVe:
    """Vectors from the logarithms of counts; trained when made.

    Args:
        sentences: Lists of tokens.
        vector_size: Components of a vector.
        window: Words to each side at most, counted by 1 over their distance.
        min_count: Rarer words are left out.
        x_max: Counts from which on a cell weighs 1.
        alpha: Power of the weighting below that.
        rate: AdaGrad's learning rate.
        epochs: Passes over the cells, each in another order.
        seed: Of the first values and of the orders.
        reference: Go through plain loops, as a check.

    Attributes:
        wv: The vectors, words plus contexts.
        losses: Mean loss of a cell in each epoch, as it was met.

    Raises:
        TypeError: a sentence is a string.
        ValueError: a number is out of bounds, no word is frequent enough, or no two words stand together.
    """

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        vector_size: int = 50,
        window: int = 10,
        min_count: int = 5,
        x_max: float = 100.0,
        alpha: float = 0.75,
        rate: float = 0.05,
        epochs: int = 15,
        seed: int = 1,
        reference: bool = False,
    ) -> None:
        for name, value in {"vector_size": vector_size, "epochs": epochs}.items():
            require_count(name, value)
        require_count("seed", seed, least=0)
        for name, number in {"rate": rate, "x_max": x_max, "alpha": alpha}.items():
            require_positive(name, number)
        texts = checked_sentences(sentences)
        vocabulary = build_vocabulary(texts, min_count)
        cells = count_pairs(texts, vocabulary, window, "harmonic").tocoo()
        if not cells.nnz:
            raise ValueError("sentences must have two known words in one window somewhere")
        generator = np.random.default_rng(seed)
        state = GloveState.start(len(vocabulary), vector_size, generator)
        rows, weights = (cells.row.astype(np.int64), cells.col.astype(np.int64)), weighting(cells.data, x_max, alpha)
        columns = (*rows, np.log(cells.data), weights)
        train = train_cells if reference or not is_installed("numba") else _compiled()
        self.losses = []
        for _ in range(epochs):
            order = generator.permutation(cells.nnz)
            words, contexts, logs, shares = (column[order] for column in columns)
            self.losses.append(train(words, contexts, logs, shares, state, rate) / cells.nnz)
        self.parameters_2VP = state.parameters_2VP
        self.wv = KeyedVectors(vocabulary, self.parameters_2VP[:, :, :-1].sum(axis=0))


def _compiled():  # type: ignore[no-untyped-def]
    from kb.embeddings.glove_numba import train_cells

    return train_cells
