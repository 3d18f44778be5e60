"""One job of word2vec as plain loops: what the compiled version does, a number at a time and readable.

A *step* takes the sum or mean of some input rows (the hidden vector h), moves output rows by (label - sigmoid(h.u)) h
and the input rows by the sum of (label - sigmoid(h.u)) u. Skip-gram, CBOW and fastText differ only in which rows come
in; negative sampling and hierarchical softmax only in which rows go out, with which labels.

Unusual, all as in word2vec's and gensim's code: sigmoid is read from a table, whose entries are a little low; a score
outside the table teaches nothing; skip-gram predicts the word in the middle from each neighbour, not the reverse; a
negative that is the target itself is skipped; and where CBOW takes a mean, each input row gets the whole error, which
is as many times the gradient as there are rows. 32-bit floats throughout.

Source: gensim 4.4.0, ``word2vec_inner.pyx`` and ``fasttext_inner.pyx``.
Shapes: V words, R input rows, D components, N tokens of a job, S sentences, E entries of the table.
"""

# ruff: noqa: N815

from dataclasses import dataclass

import numpy as np

from kb.embeddings.huffman import HuffmanCode
from kb.embeddings.vocabulary import NOISE_DOMAIN

MULTIPLIER, INCREMENT, MASK = 25214903917, 11, 2**48 - 1  # of java.util.Random


@dataclass(frozen=True)
class SigmoidTable:
    """1 / (1 + exp(-x)) at evenly spaced x from -limit on, as float32."""

    limit: int
    values_E: np.ndarray
    clipped: bool

    @classmethod
    def make(cls, limit: int, entries: int, clipped: bool = False) -> "SigmoidTable":
        """``entries`` values between -limit and limit; beyond it 0 and 1 if ``clipped``, else nothing is taught."""
        power_E = np.exp((np.arange(entries) / np.float32(entries) * 2 - 1) * limit).astype(np.float32)
        return cls(limit, (power_E / (power_E + np.float32(1))).astype(np.float32), clipped)

    @property
    def scale(self) -> float:
        """Entries for a difference of 1."""
        return float(len(self.values_E) // self.limit // 2)


@dataclass(frozen=True)
class Rules:
    """What does not change during training.

    Attributes:
        sg: Skip-gram, else CBOW.
        window: Words to each side at most.
        negative: Words drawn for each step; 0 for none.
        mean: Whether CBOW takes the mean of its rows, else the sum.
        subwords: Whether rows are fastText's: the middle word goes in, and rows are averaged over its n-grams.
        table: The sigmoid.
        row_start_V1: The input rows of word v are entries ``row_start_V1[v]`` to ``row_start_V1[v + 1]`` of ``rows``.
        rows: Input rows, word after word.
        noise_V: Cumulative noise, as integers.
        guide: Where to begin the search of it.
        code: Huffman's, for hierarchical softmax.
    """

    sg: bool
    window: int
    negative: int
    mean: bool
    subwords: bool
    table: SigmoidTable
    row_start_V1: np.ndarray
    rows: np.ndarray
    noise_V: np.ndarray
    guide: np.ndarray
    code: HuffmanCode | None


@dataclass(frozen=True)
class Weights:
    """Input rows (R, D) and output rows: of words for negative sampling, of inner nodes for hierarchical softmax."""

    input_RD: np.ndarray
    words_VD: np.ndarray
    nodes_VD: np.ndarray


def subsample(words_N: np.ndarray, keep_V: np.ndarray, state: int) -> tuple[np.ndarray, int]:
    """Which tokens stay, and the generator's state after: a token goes where 32 bits are above its word's entry."""
    kept = []
    for word in words_N.tolist():
        kept.append(state >> 16 <= keep_V[word])
        state = (state * MULTIPLIER + INCREMENT) & MASK
    return np.array(kept, bool), state


def train_job(
    words_N: np.ndarray,
    ends_S: np.ndarray,
    shrink_N: np.ndarray,
    rules: Rules,
    weights: Weights,
    alpha: float,
    state: int,
) -> int:
    """Train on the sentences of one job, in place; returns the generator's state.

    Args:
        words_N: The tokens, sentence after sentence.
        ends_S: Where each sentence ends.
        shrink_N: By how much the window of each token is smaller.
        rules: What to do.
        weights: What is changed.
        alpha: The learning rate.
        state: Of the generator of negatives.
    """
    begin = 0
    for end in ends_S.tolist():
        for middle in range(begin, end):
            reach = rules.window - int(shrink_N[middle])
            around = [at for at in range(max(begin, middle - reach), min(end, middle + reach + 1)) if at != middle]
            if not rules.sg:
                rows = np.concatenate([np.empty(0, np.int64), *(rows_of(rules, words_N[at]) for at in around)])
                count = max(1, len(rows))
                scales = (1 / count, 1.0) if rules.mean else (1.0, 1 / count)
                state = step(rows, scales, int(words_N[middle]), rules, weights, alpha, state)
                continue
            for at in around:
                source, target = (middle, at) if rules.subwords else (at, middle)
                rows = rows_of(rules, words_N[source])
                scale = 1 / max(1, len(rows) - 1) if rules.subwords else 1.0
                state = step(rows, (scale, 1.0), int(words_N[target]), rules, weights, alpha, state)
        begin = end
    return state


def rows_of(rules: Rules, word: int) -> np.ndarray:
    """Input rows of a word: its own, then those of its n-grams."""
    return rules.rows[rules.row_start_V1[word] : rules.row_start_V1[word + 1]]


def step(
    rows: np.ndarray, scales: tuple[float, float], target: int, rules: Rules, weights: Weights, alpha: float, state: int
) -> int:
    """One prediction of one word: ``scales`` stand before the sum that goes in and the error that comes back."""
    into, back = map(np.float32, scales)
    hidden_D = into * weights.input_RD[rows].sum(axis=0, dtype=np.float32)
    error_D = np.zeros_like(hidden_D)
    if rules.code is not None:
        for bit, node in zip(*rules.code.path(target), strict=True):
            move(weights.nodes_VD[node], hidden_D, error_D, 1 - int(bit), rules.table, alpha)
        _give_back(rows, back, error_D, weights)
        if rules.negative:  # both at once: each has a step of its own, from the rows that the first one left
            hidden_D = into * weights.input_RD[rows].sum(axis=0, dtype=np.float32)
            error_D = np.zeros_like(hidden_D)
    if rules.negative:
        move(weights.words_VD[target], hidden_D, error_D, 1, rules.table, alpha)
        for _ in range(rules.negative):
            drawn = int(np.searchsorted(rules.noise_V, (state >> 16) % NOISE_DOMAIN))
            state = (state * MULTIPLIER + INCREMENT) & MASK
            if drawn != target:
                move(weights.words_VD[drawn], hidden_D, error_D, 0, rules.table, alpha)
        _give_back(rows, back, error_D, weights)
    return state


def _give_back(rows: np.ndarray, back: np.float32, error_D: np.ndarray, weights: Weights) -> None:
    for row in rows:  # one by one, as a row may come twice
        weights.input_RD[row] += back * error_D


def move(
    output_D: np.ndarray, hidden_D: np.ndarray, error_D: np.ndarray, label: int, table: SigmoidTable, alpha: float
) -> None:
    """Teach one output row a label; its share of the error, taken before it moves, is added to ``error_D``."""
    score = np.float32(hidden_D @ output_D)
    if -table.limit < score < table.limit:
        sigmoid = table.values_E[int((score + table.limit) * table.scale)]
    elif table.clipped:
        sigmoid = np.float32(score > 0)
    else:
        return
    gain = np.float32((np.float32(label) - sigmoid) * np.float32(alpha))
    error_D += gain * output_D
    output_D += gain * hidden_D
