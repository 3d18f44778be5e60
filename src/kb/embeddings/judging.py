"""How well vectors agree with people: rank correlation on pairs of words, and analogies solved.

Unusual: how many pairs were covered is part of the result, an interval comes with each number, and two sets of vectors
are compared on the pairs that both know. Analogies can also be asked without leaving out the three words of the
question, which is how far the arithmetic alone gets.

Sources: Spearman 1904; Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentiles); Levy and
Goldberg 2014, Linguistic Regularities in Sparse and Explicit Word Representations; Linzen 2016, Issues in Evaluating
Semantic Spaces Using Word Analogies.
Shapes: N pairs, Q questions, V words, D components.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from kb.arguments import require_count
from kb.embeddings.corpora import Analogy, WordPair
from kb.embeddings.keyed_vectors import MUL_EPSILON, KeyedVectors
from kb.intervals import Interval


@dataclass(frozen=True)
class PairAgreement:
    """Spearman's correlation with people, its interval, and on how many pairs of how many."""

    rho: Interval
    covered: int
    total: int


def spearman(first_BN: np.ndarray, second_BN: np.ndarray) -> np.ndarray:
    """Pearson's correlation of ranks, ties sharing a mean rank, along the last axis; NaN where one side is constant."""
    ranks = [rankdata(np.asarray(one, np.float64), axis=-1) for one in (first_BN, second_BN)]
    first, second = (one - one.mean(-1, keepdims=True) for one in ranks)
    norms = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    return (first * second).sum(-1) / np.where(norms == 0, np.nan, norms)


def similarities(wv: KeyedVectors, pairs: Sequence[WordPair]) -> np.ndarray:
    """The cosine of each pair, NaN where a word has no vector."""
    return np.array([wv.similarity(p.first, p.second) if p.first in wv and p.second in wv else np.nan for p in pairs])


def word_pair_agreement(
    wv: KeyedVectors, pairs: Sequence[WordPair], *, resamples: int = 1000, seed: int = 0, dummy4unknown: bool = False
) -> PairAgreement:
    """Rank correlation of cosines with people's scores, with a 95 % interval from resampled pairs.

    Args:
        wv: The vectors.
        pairs: With scores.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        dummy4unknown: Give pairs with an unknown word the similarity 0; else they are left out.

    Raises:
        ValueError: fewer than two pairs are left, a score is not finite, or ``resamples`` is none.
    """
    pairs = list(pairs)
    scores = similarities(wv, pairs)
    known = ~np.isnan(scores)
    used = np.ones(len(pairs), bool) if dummy4unknown else known
    gold = np.array([pair.score for pair in pairs])[used]
    rho = _bootstrap([gold, np.nan_to_num(scores[used])], resamples, seed)
    return PairAgreement(rho, int(known.sum()), len(pairs))


def agreement_difference(
    first: KeyedVectors, second: KeyedVectors, pairs: Sequence[WordPair], *, resamples: int = 1000, seed: int = 0
) -> PairAgreement:
    """Correlation of the first minus that of the second, on the pairs that both know, resampled together.

    Raises:
        ValueError: fewer than two pairs are left, a score is not finite, or ``resamples`` is none.
    """
    pairs = list(pairs)
    scores = [similarities(wv, pairs) for wv in (first, second)]
    known = ~np.isnan(scores).any(axis=0)
    gold = np.array([pair.score for pair in pairs])[known]
    difference = _bootstrap([gold, *(one[known] for one in scores)], resamples, seed)
    return PairAgreement(difference, int(known.sum()), len(pairs))


def _bootstrap(columns: list[np.ndarray], resamples: int, seed: int) -> Interval:
    """The first column's correlation with the second, less that with a third where there is one; NaN if constant."""
    require_count("resamples", resamples)
    gold, *others = columns
    if len(gold) < 2:
        raise ValueError(f"pairs must hold at least two whose words are known, got {len(gold)}")
    if not np.isfinite(gold).all():
        raise ValueError("each of pairs must have a finite score")
    rows = np.random.default_rng(seed).integers(len(gold), size=(resamples, len(gold)))

    def value(rows: np.ndarray) -> np.ndarray:
        found = [spearman(gold[rows], one[rows]) for one in others]
        return found[0] - found[1] if len(found) > 1 else found[0]

    drawn = value(rows)
    drawn = drawn[~np.isnan(drawn)]  # where one item was drawn all the time, say
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return Interval(float(value(np.arange(len(gold))[None])[0]), float(low), float(high))


def answer_analogies(
    wv: KeyedVectors,
    questions: Sequence[Analogy],
    *,
    rule: str = "add",
    exclude: bool = True,
    restrict_vocab: int = 30_000,
) -> list[str | None]:
    """The word that each question is answered with, None where one of its four words is unknown or no word is left.

    Args:
        wv: The vectors.
        questions: first : second = third : ?
        rule: ``add`` for 3CosAdd, ``mul`` for 3CosMul.
        exclude: Leave out the three words of the question.
        restrict_vocab: Search among this many of the most frequent words; questions with others are unknown.

    Raises:
        ValueError: another rule, or a count is none.
    """
    require_count("restrict_vocab", restrict_vocab)
    questions = list(questions)
    if rule not in ("add", "mul"):
        raise ValueError(f"rule must be add or mul, got {rule!r}")
    unit_VD = wv.unit_VD[:restrict_vocab]
    index = {word: place for word, place in wv.key_to_index.items() if place < len(unit_VD)}
    fields = [(q.first, q.second, q.third, q.fourth) for q in questions]
    known = [place for place, words in enumerate(fields) if all(word in index for word in words)]
    answers: list[str | None] = [None] * len(questions)
    for block in (known[begin : begin + 256] for begin in range(0, len(known), 256)):
        asked = np.array([[index[word] for word in fields[place][:3]] for place in block])
        first, second, third = (unit_VD[asked[:, k]] for k in range(3))
        if rule == "add":
            scores = (second - first + third) @ unit_VD.T
        else:
            near, away, along = ((1 + one @ unit_VD.T) / 2 for one in (second, first, third))
            scores = near * along / (away + MUL_EPSILON)
        if exclude:
            np.put_along_axis(scores, asked, -np.inf, axis=1)
        for place, best, score in zip(block, scores.argmax(axis=1).tolist(), scores.max(axis=1), strict=True):
            answers[place] = wv.vocabulary.words[best] if score > -np.inf else None
    return answers
