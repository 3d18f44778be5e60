"""Word2vec with gensim's interface and gensim's random numbers, so that one worker there gives these vectors here.

Unusual: whatever gensim draws is drawn in its order: the first weights, per job of at most ``batch_words`` tokens two
halves of a 48-bit state (which subsampling and negatives use up) and then the windows. So equal seeds give equal
vectors up to the rounding of float32, as long as no sentence is over 10,000 tokens (which gensim cuts). Without numba
the loops are Python's own and some hundred times slower.

Sources: Mikolov et al. 2013a, Efficient Estimation of Word Representations in Vector Space (CBOW, skip-gram); 2013b,
Distributed Representations of Words and Phrases (negative sampling, subsampling); gensim 4.4.0, ``Word2Vec``.
Shapes: V words, D components, R input rows, N tokens of a job, S sentences.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from kb.arguments import is_number, require_count
from kb.embeddings import word2vec_loops
from kb.embeddings.huffman import huffman_code
from kb.embeddings.keyed_vectors import KeyedVectors
from kb.embeddings.vocabulary import build_vocabulary, checked_sentences, keep_table, noise_guide, noise_table
from kb.embeddings.word2vec_loops import Rules, SigmoidTable, Weights
from kb.installed import is_installed


class Word2Vec:
    """Vectors for the words of a text, learnt by predicting words from their neighbours; trained when made.

    Args:
        sentences: Lists of tokens; they are gone through once and kept as numbers.
        vector_size: Components of a vector, D.
        alpha: Learning rate at the beginning; it falls along a line to ``min_alpha``.
        window: Words to each side at most; each token's own window is drawn from 1 to this.
        min_count: Rarer words are left out, and their neighbours move together.
        sample: Threshold of subsampling; 0 keeps every token.
        seed: Of all that is random.
        min_alpha: Learning rate at the end.
        sg: 1 for skip-gram, 0 for CBOW.
        hs: 1 for hierarchical softmax.
        negative: Words drawn for each one that was there; 0 for no negative sampling.
        ns_exponent: Power of the counts that negatives are drawn with.
        cbow_mean: 1 for the mean of the window's vectors, 0 for their sum.
        epochs: Passes over the text.
        batch_words: Tokens of a job at most; the learning rate changes between jobs.
        shrink_windows: False for windows that are all of full size.
        reference: Go through plain loops, as a check.

    Attributes:
        wv: The vectors, :class:`~kb.embeddings.keyed_vectors.KeyedVectors`.
        rules: What the loops go by: tables, tree and input rows.
        syn1neg: Output vectors of negative sampling, (V, D).
        syn1: Vectors of the inner nodes of the Huffman tree, (V, D), the last row unused.

    Raises:
        TypeError: a sentence is a string.
        ValueError: a number is out of bounds, neither ``hs`` nor ``negative`` is on, or no word is frequent enough.
    """

    _TABLE = (6, 1000)
    _SUBWORDS = False

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        sample: float = 1e-3,
        seed: int = 1,
        min_alpha: float = 0.0001,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        epochs: int = 5,
        batch_words: int = 10_000,
        shrink_windows: bool = True,
        reference: bool = False,
    ) -> None:
        _check({"vector_size": vector_size, "window": window, "epochs": epochs, "batch_words": batch_words}, 1)
        _check({"seed": seed, "negative": negative}, 0)
        if seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {seed}")
        _check_choices({"sg": sg, "hs": hs, "cbow_mean": cbow_mean}, alpha, min_alpha)
        if not hs and not negative:
            raise ValueError("hs or negative must be on, got 0 and 0")
        texts = checked_sentences(sentences)
        self.vocabulary = build_vocabulary(texts, min_count)
        counts_V = self.vocabulary.counts_V
        self.vector_size, self.seed, self.epochs, self.batch_words = vector_size, seed, epochs, batch_words
        self.rates, self.shrink_windows = (alpha, min_alpha), bool(shrink_windows)
        self._keep_V = keep_table(counts_V, sample) if sample else None
        code = huffman_code(counts_V) if hs else None
        noise_V = noise_table(counts_V, ns_exponent) if negative else np.zeros(1, np.uint32)
        starts, rows = self._input_rows()
        table = SigmoidTable.make(*self._TABLE, clipped=self._SUBWORDS and not sg)
        how = (bool(sg), window, negative, bool(cbow_mean), self._SUBWORDS)
        self.rules = Rules(*how, table, starts, rows, noise_V, noise_guide(noise_V), code)
        size = (len(self.vocabulary), vector_size)
        self._weights = Weights(
            self._first_rows(),
            *(np.zeros(size if used else (0, vector_size), np.float32) for used in (negative, hs)),
        )
        self.syn1neg, self.syn1 = self._weights.words_VD, self._weights.nodes_VD
        self._train(texts, reference or not is_installed("numba"))
        self.wv = self._vectors()

    def _input_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the rows of each word begin, and all rows: here a word is its own row."""
        return np.arange(len(self.vocabulary) + 1), np.arange(len(self.vocabulary))

    def _first_rows(self) -> np.ndarray:
        return first_vectors((len(self.vocabulary), self.vector_size), self.seed)

    def _vectors(self) -> KeyedVectors:
        return KeyedVectors(self.vocabulary, self._weights.input_RD)

    def _train(self, texts: list[Sequence[str]], reference: bool) -> None:
        loops = word2vec_loops if reference else _compiled()
        random = np.random.RandomState(self.seed)
        jobs = list(_jobs([len(text) for text in texts], self.batch_words))
        numbers = [self.vocabulary.encode(text) for text in texts]
        batches = [_flat(numbers[begin:end]) for begin, end in jobs]
        high, low = self.rates
        for epoch in range(self.epochs):
            for (begin, _), (words_N, ends_S) in zip(jobs, batches, strict=True):
                progress = (epoch + begin / len(texts)) / self.epochs
                alpha = max(low, high - (high - low) * progress)
                state = 0
                if self.rules.negative or self._keep_V is not None:
                    state = 2**24 * int(random.randint(0, 2**24)) + int(random.randint(0, 2**24))
                if self._keep_V is not None:
                    kept_N, state = loops.subsample(words_N, self._keep_V, state)
                    words_N, ends_S = words_N[kept_N], np.concatenate([[0], np.cumsum(kept_N)])[ends_S]
                shrink_N = np.zeros(len(words_N), np.int64)
                if self.shrink_windows:
                    shrink_N = random.randint(0, self.rules.window, len(words_N)).astype(np.int64)
                loops.train_job(words_N, ends_S, shrink_N, self.rules, self._weights, alpha, state)


def _check(counts: dict[str, int], least: int) -> None:
    for name, value in counts.items():
        require_count(name, value, least=least)


def _check_choices(switches: dict[str, int], alpha: float, min_alpha: float) -> None:
    for name, value in switches.items():
        if value not in (0, 1):
            raise ValueError(f"{name} must be 0 or 1, got {value!r}")
    if not (is_number(alpha) and is_number(min_alpha) and 0 <= min_alpha <= alpha):
        raise ValueError(f"alpha and min_alpha must be numbers, 0 <= min_alpha <= alpha; got {alpha!r}, {min_alpha!r}")


def first_vectors(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Uniform between -1/D and 1/D, float32."""
    vectors = np.random.default_rng(seed).random(shape, np.float32)
    vectors *= 2
    vectors -= 1
    vectors /= shape[1]
    return vectors


def _jobs(lengths: Sequence[int], batch_words: int) -> Iterator[tuple[int, int]]:
    """Runs of sentences that hold ``batch_words`` tokens at most, or one longer sentence, as (begin, end)."""
    begin = size = 0
    for place, length in enumerate(lengths):
        if size + length > batch_words:
            yield begin, place
            begin, size = place, 0
        size += length
    yield begin, len(lengths)


def _flat(numbers: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    ends_S = np.cumsum([len(one) for one in numbers], dtype=np.int64)
    return np.concatenate([np.empty(0, np.int32), *numbers]), ends_S


def _compiled():  # type: ignore[no-untyped-def]
    from kb.embeddings import word2vec_numba

    return word2vec_numba
