"""FastText: word2vec whose words are sums of the vectors of their pieces, so that any word has a vector.

Unusual: it is word2vec with more input rows, and the same loops run both. What goes in is divided by the number of
n-grams and what comes out by one more, as gensim has it; its sigmoid's table is another one (512 entries to 8), and
skip-gram predicts the neighbour from the middle, the other way round than word2vec's code.

Sources: Bojanowski et al. 2017, Enriching Word Vectors with Subword Information; gensim 4.4.0, ``FastText``.
Shapes: V words, B buckets, D components.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kb.arguments import require_count
from kb.embeddings.keyed_vectors import KeyedVectors
from kb.embeddings.subwords import buckets, checked_lengths
from kb.embeddings.vocabulary import Vocabulary
from kb.embeddings.word2vec import Word2Vec, first_vectors


class FastTextKeyedVectors(KeyedVectors):
    """Vectors of words, and of any other word by the mean of its n-grams.

    Args:
        vocabulary: The words.
        vectors: Their vectors, (V, D).
        vectors_ngrams: A vector for each bucket, (B, D).
        min_n: Characters of the shortest n-gram.
        max_n: Characters of the longest.
    """

    def __init__(
        self, vocabulary: Vocabulary, vectors: np.ndarray, vectors_ngrams: np.ndarray, min_n: int, max_n: int
    ) -> None:
        super().__init__(vocabulary, vectors)
        self.vectors_ngrams, self.min_n, self.max_n = vectors_ngrams, min_n, max_n

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and (super().__contains__(word) or bool(self._rows(word)))

    def get_vector(self, word: str, norm: bool = False) -> np.ndarray:
        """The vector of a word, known or not, of length 1 where ``norm`` says so.

        Raises:
            KeyError: the word is not known and too short for an n-gram.
        """
        if word in self.vocabulary.index:
            return super().get_vector(word, norm)
        rows = self._rows(word)
        if not rows:
            raise KeyError(f"Key {word!r} not present in vocabulary, and it has no n-gram")
        vector = self.vectors_ngrams[rows].mean(axis=0, dtype=np.float32)
        return vector / (float(np.linalg.norm(vector)) or 1.0) if norm else vector

    def _rows(self, word: str) -> list[int]:
        return buckets(word, len(self.vectors_ngrams), self.min_n, self.max_n)


class FastText(Word2Vec):
    """Word2vec with character n-grams, by negative sampling; trained when made.

    Args:
        sentences: Lists of tokens.
        min_n: Characters of the shortest n-gram.
        max_n: Characters of the longest.
        bucket: Rows for n-grams; each takes ``vector_size`` floats, whether it is used or not.
        **options: Those of :class:`~kb.embeddings.word2vec.Word2Vec` except ``hs``.

    Raises:
        TypeError: a sentence is a string, or an option is not one.
        ValueError: as Word2Vec; a length of n-grams or the number of buckets is none.
    """

    _TABLE = (8, 512)
    _SUBWORDS = True

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        min_n: int = 3,
        max_n: int = 6,
        bucket: int = 2_000_000,
        **options: Any,
    ) -> None:
        checked_lengths(min_n, max_n)
        require_count("bucket", bucket)
        if "hs" in options:
            raise TypeError("hs is no option here: fastText is trained by negative sampling")
        self.min_n, self.max_n, self.bucket = min_n, max_n, bucket
        super().__init__(sentences, **options)

    def _input_rows(self) -> tuple[np.ndarray, np.ndarray]:
        known = len(self.vocabulary)
        pieces = [buckets(word, self.bucket, self.min_n, self.max_n) for word in self.vocabulary.words]
        rows = [row for word, found in enumerate(pieces) for row in (word, *(known + one for one in found))]
        return np.cumsum([0, *(1 + len(found) for found in pieces)]), np.array(rows)

    def _first_rows(self) -> np.ndarray:
        sizes = (len(self.vocabulary), self.bucket)
        parts = [first_vectors((size, self.vector_size), self.seed + more) for more, size in enumerate(sizes)]
        return np.concatenate(parts)

    def _vectors(self) -> KeyedVectors:
        starts, rows = self.rules.row_start_V1, self.rules.rows
        sums = np.add.reduceat(self._weights.input_RD[rows], starts[:-1])
        ngram_rows = self._weights.input_RD[len(self.vocabulary) :]
        vectors = sums / np.diff(starts)[:, None].astype(np.float32)
        return FastTextKeyedVectors(self.vocabulary, vectors, ngram_rows, self.min_n, self.max_n)
