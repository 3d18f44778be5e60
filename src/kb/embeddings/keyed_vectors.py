"""Vectors by word, with the searches of gensim's ``KeyedVectors``: cosine neighbours and the two analogy rules.

Unusual: all rows are normalised once; a query by words leaves those words out of the answer and a query by vectors does
not, as in gensim, which is the whole difference between the analogy as it is reported and the analogy as it is.

Sources: gensim 4.4.0, ``KeyedVectors.most_similar`` and ``most_similar_cosmul``; Levy and Goldberg 2014, Linguistic
Regularities in Sparse and Explicit Word Representations, equations 2 (3CosAdd) and 4 (3CosMul, shifted to [0, 1]).
Shapes: V words, D components.
"""

from collections.abc import Sequence

import numpy as np

from kb.arguments import require_count
from kb.embeddings.vocabulary import Vocabulary

Query = str | np.ndarray | Sequence[str | np.ndarray] | None
MUL_EPSILON = 1e-6


class KeyedVectors:
    """A vector for each word of a vocabulary.

    Args:
        vocabulary: The words, most frequent first.
        vectors: Their vectors, (V, D), kept as float32.

    Raises:
        TypeError: not real numbers.
        ValueError: another shape, or a number that is not finite as float32.
    """

    def __init__(self, vocabulary: Vocabulary, vectors: np.ndarray) -> None:
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or len(vectors) != len(vocabulary) or not vectors.shape[1]:
            raise ValueError(f"vectors must have shape ({len(vocabulary)}, D), got {vectors.shape}")
        self.vocabulary = vocabulary
        self.vectors = _finite("vectors", vectors)
        norms_V1 = np.linalg.norm(self.vectors.astype(np.float64), axis=1, keepdims=True)
        # A zero vector stays zero: it is like nothing.
        self.unit_VD = (self.vectors / np.where(norms_V1 == 0, 1, norms_V1)).astype(np.float32)

    @property
    def index_to_key(self) -> list[str]:
        """The words, most frequent first."""
        return list(self.vocabulary.words)

    @property
    def key_to_index(self) -> dict[str, int]:
        """The place of each word."""
        return self.vocabulary.index

    @property
    def vector_size(self) -> int:
        """Components of a vector."""
        return self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __contains__(self, word: object) -> bool:
        return word in self.vocabulary.index

    def __getitem__(self, key: str | Sequence[str]) -> np.ndarray:
        """The vector of a word, (D,), or those of several, (N, D)."""
        return self.get_vector(key) if isinstance(key, str) else np.stack([self.get_vector(word) for word in key])

    def get_vector(self, word: str, norm: bool = False) -> np.ndarray:
        """The vector of a word, of length 1 where ``norm`` says so.

        Raises:
            KeyError: the word is not in the vocabulary.
        """
        return (self.unit_VD if norm else self.vectors)[self.get_index(word)].copy()

    def get_index(self, word: str) -> int:
        """The place of a word.

        Raises:
            KeyError: it is not in the vocabulary.
        """
        if word not in self.vocabulary.index:
            raise KeyError(f"Key {word!r} not present in vocabulary")
        return self.vocabulary.index[word]

    def similarity(self, first: str, second: str) -> float:
        """The cosine of two words' vectors."""
        return float(self.get_vector(first, norm=True) @ self.get_vector(second, norm=True))

    def most_similar(
        self, positive: Query = None, negative: Query = None, topn: int = 10, restrict_vocab: int | None = None
    ) -> list[tuple[str, float]]:
        """The words nearest by cosine to the sum of unit vectors, negative ones subtracted; best first.

        Args:
            positive: Words or vectors; words are not among the answers, vectors are taken as they come.
            negative: The same, subtracted.
            topn: How many.
            restrict_vocab: Search only among this many of the most frequent words.

        Raises:
            KeyError: a word is not in the vocabulary.
            ValueError: there is nothing to go by, a vector of another size or not finite, or a count is none.
        """
        plus, minus, left_out = self._asked(positive, negative)
        if not len(plus) + len(minus):
            raise ValueError("cannot compute similarity with no input")
        target_D = plus.sum(0) - minus.sum(0)
        length = float(np.linalg.norm(target_D))
        scores_V = self._searched(restrict_vocab) @ (target_D / (length or 1.0))
        return self._best(scores_V, left_out, topn)

    def most_similar_cosmul(
        self, positive: Query = None, negative: Query = None, topn: int = 10, restrict_vocab: int | None = None
    ) -> list[tuple[str, float]]:
        """The same by 3CosMul: similarities, shifted to [0, 1], are multiplied and divided.

        Raises:
            KeyError: a word is not in the vocabulary.
            ValueError: there is nothing positive, a vector of another size or not finite, or a count is none.
        """
        plus, minus, left_out = self._asked(positive, negative)
        if not len(plus):
            raise ValueError("cannot compute similarity with no input")
        rows = self._searched(restrict_vocab)
        high, low = (((1 + rows @ terms.T) / 2).prod(axis=1) for terms in (_unit(plus), _unit(minus)))
        return self._best(high / (low + MUL_EPSILON), left_out, topn)

    def doesnt_match(self, words: Sequence[str]) -> str:
        """The word that is farthest from the mean of all.

        Raises:
            KeyError: a word is not in the vocabulary.
            ValueError: there is none.
        """
        words = list(words)
        terms = self._terms(list(words))
        if not len(terms):
            raise ValueError("words must hold at least one")
        return words[int((terms @ terms.mean(0)).argmin())]

    def _terms(self, items: list[str | np.ndarray]) -> np.ndarray:
        found = [self.get_vector(item, norm=True) if isinstance(item, str) else np.asarray(item) for item in items]
        for item in found:
            if item.shape != (self.vector_size,):
                raise ValueError(f"a vector must have shape ({self.vector_size},), got {item.shape}")
        return np.array([_finite("a vector", item) for item in found], np.float32).reshape(-1, self.vector_size)

    def _asked(self, positive: Query, negative: Query) -> tuple[np.ndarray, np.ndarray, set[int]]:
        """What is added, what is subtracted, and the places of the words among them."""
        plus, minus = _listed(positive), _listed(negative)
        index = self.vocabulary.index
        named = {index[item] for item in (*plus, *minus) if isinstance(item, str) and item in index}
        return self._terms(plus), self._terms(minus), named

    def _searched(self, restrict_vocab: int | None) -> np.ndarray:
        if restrict_vocab is not None:
            require_count("restrict_vocab", restrict_vocab)
        return self.unit_VD[:restrict_vocab]

    def _best(self, scores_V: np.ndarray, left_out: set[int], topn: int) -> list[tuple[str, float]]:
        require_count("topn", topn)
        wanted = min(len(scores_V), topn + len(left_out))
        order = np.argpartition(-scores_V, wanted - 1)[:wanted]
        order = order[np.lexsort((order, -scores_V[order]))]
        kept = [place for place in order.tolist() if place not in left_out][:topn]
        return [(self.vocabulary.words[place], float(scores_V[place])) for place in kept]


def _finite(name: str, numbers: np.ndarray) -> np.ndarray:
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got {numbers.dtype}")
    with np.errstate(over="ignore"):
        found = numbers.astype(np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite as float32")
    return found


def _listed(query: Query) -> list[str | np.ndarray]:
    if query is None:
        return []
    return [query] if isinstance(query, str) or (isinstance(query, np.ndarray) and query.ndim == 1) else list(query)


def _unit(terms: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(terms, axis=1, keepdims=True)
    return terms / np.where(lengths == 0, 1, lengths)
