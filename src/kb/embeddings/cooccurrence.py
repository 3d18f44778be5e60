"""How often words stand near each other: a sparse matrix of weighted counts.

Unusual: the weight of a distance is chosen. ``linear`` is what a window of random size, as word2vec draws it, gives on
average; ``harmonic`` is GloVe's 1/d; ``flat`` counts every neighbour alike.

Sources: Levy, Goldberg and Dagan 2015, Improving Distributional Similarity with Lessons Learned from Word Embeddings,
section 3.1; Pennington et al. 2014, GloVe, section 4.2.
Shapes: V words.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from kb.arguments import require_count
from kb.embeddings.vocabulary import Vocabulary, checked_sentences

WEIGHTS = ("linear", "harmonic", "flat")


def distance_weights(window: int, weighting: str) -> list[float]:
    """The weight of each distance from 1 to ``window``.

    Raises:
        ValueError: ``window`` is none, or ``weighting`` is another word.
    """
    require_count("window", window)
    if weighting not in WEIGHTS:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTS)}, got {weighting!r}")
    distances = range(1, window + 1)
    if weighting == "linear":
        return [(window - distance + 1) / window for distance in distances]
    return [1 / distance if weighting == "harmonic" else 1.0 for distance in distances]


def count_pairs(
    sentences: Iterable[Sequence[str]], vocabulary: Vocabulary, window: int = 5, weighting: str = "linear"
) -> sparse.csr_matrix:
    """Weighted counts of (word, context) within a sentence, (V, V), symmetric, float64.

    Words outside of the vocabulary are taken out before distances are counted.

    Raises:
        TypeError: a sentence is a string.
        ValueError: as :func:`distance_weights`.
    """
    weights = distance_weights(window, weighting)
    numbers = [vocabulary.encode(sentence) for sentence in checked_sentences(sentences)]
    words_N = np.concatenate([np.empty(0, np.int32), *numbers]).astype(np.int64)
    sentence_N = np.repeat(np.arange(len(numbers)), [len(one) for one in numbers])
    size = len(vocabulary)
    total = sparse.csr_matrix((size, size))
    for distance, weight in enumerate(weights, start=1):
        near = sentence_N[distance:] == sentence_N[:-distance]
        pair = words_N[:-distance][near], words_N[distance:][near]
        total = total + sparse.csr_matrix((np.full(len(pair[0]), weight), pair), (size, size))
    return (total + total.T).tocsr()


def count_pairs_loop(
    sentences: Iterable[Sequence[str]], vocabulary: Vocabulary, window: int = 5, weighting: str = "linear"
) -> np.ndarray:
    """The same by the definition, as a dense matrix: for each token each neighbour."""
    weights = distance_weights(window, weighting)
    found = np.zeros((len(vocabulary), len(vocabulary)))
    for sentence in checked_sentences(sentences):
        words = [vocabulary.index[word] for word in sentence if word in vocabulary.index]
        for middle, word in enumerate(words):
            for at, context in enumerate(words):
                if 0 < abs(at - middle) <= window:
                    found[word, context] += weights[abs(at - middle) - 1]
    return found
