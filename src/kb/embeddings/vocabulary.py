"""Words and their counts, and the three tables that word2vec makes of them: what to keep, what to draw, and how.

Unusual: the tables are the integers that gensim uses, so that the same random bits give the same words. Frequent words
are dropped with the formula of word2vec's *code*, a keep probability of (sqrt(f / t) + 1) t / f for a word of relative
frequency f, which is not the paper's sqrt(t / f): it keeps t / f more.

Sources: Mikolov et al. 2013, Distributed Representations of Words and Phrases, section 2.2 (noise to the power 3/4) and
2.3, equation 5 (subsampling); gensim 4.4.0, ``Word2Vec.prepare_vocab`` and ``make_cum_table``; Vose 1991 (alias).
Shapes: V words of the vocabulary.
"""

# ruff: noqa: N815

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from kb.arguments import is_number, require_count

NOISE_DOMAIN = 2**31 - 1
GUIDE_SHIFT = 15
_KEEP_ALL = 2**32 - 1


@dataclass(frozen=True)
class Vocabulary:
    """Words, most frequent first, and how often each occurred.

    Raises:
        ValueError: no word, a word twice, as many counts as words are not there, or a count that is no integer above 0.
    """

    words: tuple[str, ...]
    counts_V: np.ndarray
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given_V = np.asarray(self.counts_V)
        # Whole numbers and at least 1, which NaN is not; floats that are whole are taken as they come.
        whole = (
            given_V.dtype.kind in "fiu" and ((given_V >= 1) & (given_V < 2**63) & (np.floor(given_V) == given_V)).all()
        )
        if not len(self.words) or given_V.shape != (len(self.words),) or not whole:
            raise ValueError(
                f"words and counts_V must be equally many, at least one, each count an integer above 0; got "
                f"{len(self.words)} words and counts of shape {given_V.shape}"
            )
        counts_V = given_V.astype(np.int64)
        index = {word: place for place, word in enumerate(self.words)}
        if len(index) < len(self.words):
            raise ValueError(f"words must differ, got {len(self.words) - len(index)} of them again")
        object.__setattr__(self, "counts_V", counts_V)
        object.__setattr__(self, "index", index)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, sentence: Sequence[str]) -> np.ndarray:
        """Places of the words that are in the vocabulary; others are left out, which brings their neighbours closer."""
        return np.fromiter((self.index[word] for word in sentence if word in self.index), np.int32)


def checked_sentences(sentences: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """All sentences at once, so that a generator serves as well as a list, of sentences or of tokens.

    Raises:
        TypeError: it is one text or a sentence is, where a list of tokens was wanted.
    """
    if isinstance(sentences, str | bytes):
        raise TypeError("sentences must be a sequence of lists of tokens, got a string")
    found = list(sentences)
    for place, sentence in enumerate(found):
        if isinstance(sentence, str | bytes):
            raise TypeError(f"sentences[{place}] must be a list of tokens, got the string {sentence[:30]!r}")
        if not isinstance(sentence, Iterable):
            raise TypeError(f"sentences[{place}] must be a list of tokens, got {sentence!r}")
        if not isinstance(sentence, Sequence):
            found[place] = list(sentence)
    return found


def build_vocabulary(sentences: Iterable[Sequence[str]], min_count: int = 5) -> Vocabulary:
    """The words that occur at least ``min_count`` times; of equally frequent ones the later comes first, as in gensim.

    Raises:
        TypeError: a sentence is a string.
        ValueError: ``min_count`` is none, or no word is frequent enough.
    """
    require_count("min_count", min_count)
    counts = Counter(word for sentence in checked_sentences(sentences) for word in sentence)
    kept = [(word, count) for word, count in counts.items() if count >= min_count]
    if not kept:
        raise ValueError(f"no word occurs {min_count} times among {counts.total()} tokens; min_count is too high")
    kept = sorted(kept, key=lambda entry: entry[1])[::-1]
    return Vocabulary(tuple(word for word, _ in kept), np.array([count for _, count in kept]))


def keep_probabilities(counts_V: np.ndarray, sample: float) -> np.ndarray:
    """With which probability each occurrence of a word stays: min(1, (sqrt(f / t) + 1) t / f); 1 where ``sample`` is 0.

    Args:
        counts_V: How often each word occurs.
        sample: The threshold t, as a share of all tokens.

    Raises:
        ValueError: ``sample`` is not a number from 0 up to 1, exclusive.
    """
    if not is_number(sample) or not 0 <= sample < 1:
        raise ValueError(f"sample must be a number of at least 0 and under 1, got {sample!r}")
    counts_V = np.asarray(counts_V)
    if not sample:
        return np.ones(len(counts_V))
    ratio_V = counts_V / (sample * counts_V.sum())
    return np.minimum(1.0, (np.sqrt(ratio_V) + 1) / ratio_V)


def keep_table(counts_V: np.ndarray, sample: float) -> np.ndarray:
    """The same as uint32: a token is dropped where 32 random bits are above its word's entry."""
    return (keep_probabilities(counts_V, sample) * _KEEP_ALL).astype(np.uint32)


def noise_table(counts_V: np.ndarray, exponent: float = 0.75) -> np.ndarray:
    """Cumulative noise distribution, count^exponent, as integers up to 2^31 - 1.

    A number that is uniform below the last entry stands for the first word whose entry is not under it.

    Raises:
        ValueError: ``exponent`` is not a number, or so large that no float holds the powers.
    """
    if not is_number(exponent):
        raise ValueError(f"exponent must be a finite number, got {exponent!r}")
    # Python's own powers and sums, one after the other: NumPy's may differ in the last digit.
    try:
        powers = [float(count) ** exponent for count in np.asarray(counts_V).tolist()]
        total = sum_in_order(powers)
    except OverflowError:
        total = math.inf
    if not 0 < total < math.inf:
        raise ValueError(f"counts to the power of exponent must have a sum above 0 and finite, got exponent {exponent}")
    sum_so_far, table = 0.0, []
    for power in powers:
        sum_so_far += power
        table.append(round(sum_so_far / total * NOISE_DOMAIN))
    return np.array(table, np.uint32)


def noise_guide(noise_V: np.ndarray) -> np.ndarray:
    """Where the search of the table may begin for numbers whose bits above the lowest 15 are 0, 1, 2 and so on."""
    starts = np.arange((NOISE_DOMAIN >> GUIDE_SHIFT) + 1, dtype=np.int64) << GUIDE_SHIFT
    return np.searchsorted(noise_V, starts).astype(np.int32)


def sum_in_order(numbers: Sequence[float]) -> float:
    """Plain left-to-right sum: since Python 3.12 ``sum`` of floats compensates, and would round otherwise."""
    total = 0.0
    for number in numbers:
        total += number
    return total


@dataclass(frozen=True)
class AliasTable:
    """Draws from a discrete distribution in constant time: a fair choice of a column, then of its two owners.

    Attributes:
        keep_V: With which probability a column's own word is taken.
        other_V: Whose word is taken otherwise.
    """

    keep_V: np.ndarray
    other_V: np.ndarray

    @classmethod
    def from_weights(cls, weights_V: np.ndarray) -> "AliasTable":
        """Vose's construction: a column that is too low is filled up by one that is too high.

        Raises:
            ValueError: no weight, a negative or infinite one or NaN, or all are 0.
        """
        weights_V = np.asarray(weights_V, np.float64)
        if weights_V.ndim != 1 or not len(weights_V) or not np.isfinite(weights_V).all() or weights_V.min() < 0:
            raise ValueError(f"weights_V must be finite, not negative, one axis; got {weights_V}")
        if not weights_V.max():
            raise ValueError("weights_V must have one that is not 0")
        weights_V = weights_V / weights_V.max()  # whose sum is finite
        height = (weights_V / weights_V.sum() * len(weights_V)).tolist()
        keep_V, other_V = np.ones(len(height)), np.arange(len(height))
        low = [place for place, one in enumerate(height) if one < 1]
        high = [place for place, one in enumerate(height) if one >= 1]
        while low and high:
            short, tall = low.pop(), high[-1]
            keep_V[short], other_V[short] = height[short], tall
            height[tall] -= 1 - height[short]
            if height[tall] < 1:
                low.append(high.pop())
        return cls(keep_V, other_V)

    def probabilities(self) -> np.ndarray:
        """The distribution that draws have."""
        found_V = self.keep_V.copy()
        np.add.at(found_V, self.other_V, 1 - self.keep_V)
        return found_V / len(found_V)

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """``count`` places."""
        column = generator.integers(len(self.keep_V), size=count)
        return np.where(generator.random(count) < self.keep_V[column], column, self.other_V[column])
