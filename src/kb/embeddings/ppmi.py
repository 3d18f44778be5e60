"""Counts to vectors without prediction: positive pointwise mutual information, then a truncated SVD (LSA).

Unusual: the three habits that word2vec taught the counters are arguments here: contexts smoothed to the power 3/4, a
shift by log k, and singular values to a power of 1/2 or 0 instead of 1.

Sources: Church and Hanks 1990 (PMI); Bullinaria and Levy 2007 (PPMI); Deerwester et al. 1990 (LSA); Levy and Goldberg
2014, Neural Word Embedding as Implicit Matrix Factorization, section 3.2 and 4; Levy, Goldberg and Dagan 2015, section
3.2 (shift and smoothing) and 3.3 (power of singular values).
Shapes: V words, C contexts, D components.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from kb.arguments import is_number, require_count
from kb.embeddings.cooccurrence import count_pairs
from kb.embeddings.keyed_vectors import KeyedVectors
from kb.embeddings.svd import truncated_svd
from kb.embeddings.vocabulary import build_vocabulary, checked_sentences


def pmi(counts_VC: sparse.spmatrix, cds: float = 1.0, shift: float = 1.0, positive: bool = True) -> sparse.csr_matrix:
    """log(P(w, c) / (P(w) P_cds(c))) - log(shift) where a count is, 0 (that is, nothing stored) elsewhere.

    Args:
        counts_VC: Weighted counts, not negative.
        cds: Power of the contexts' counts; 1 for no smoothing, 3/4 as in word2vec's noise.
        shift: k of negative sampling.
        positive: Leave out what is not above 0 (PPMI), else keep all stored cells. Where no pair was seen PMI is minus
            infinity, which no matrix holds, so that without this the result is zero for the rarest of pairs.

    Raises:
        ValueError: a count is negative, one or their sum is not finite, all are 0, or ``cds`` or ``shift`` is not a
            positive number.
    """
    counts = sparse.csr_matrix(counts_VC, dtype=np.float64)
    counts.eliminate_zeros()
    with np.errstate(over="ignore"):
        total = counts.data.sum()
    if not counts.nnz or not np.isfinite(total) or counts.data.min() < 0:
        raise ValueError("counts_VC must be finite and not negative, with one above 0")
    for name, value in {"cds": cds, "shift": shift}.items():
        if not is_number(value) or value <= 0:
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
    found = counts.tocoo()
    word_V, context_C = (np.asarray(counts.sum(axis)).ravel() for axis in (1, 0))
    log_smoothed_C = cds * np.log(context_C, where=context_C > 0, out=np.full_like(context_C, -np.inf))
    log_context_C = log_smoothed_C - logsumexp(log_smoothed_C)
    values = np.log(found.data) - np.log(word_V[found.row]) - log_context_C[found.col] - np.log(shift)
    kept = values > 0 if positive else np.ones(len(values), bool)
    return sparse.csr_matrix((values[kept], (found.row[kept], found.col[kept])), counts.shape)


def pmi_loop(counts_VC: np.ndarray, cds: float = 1.0, shift: float = 1.0, positive: bool = True) -> np.ndarray:
    """The same by the definition, for a dense matrix."""
    total, smooth_total = counts_VC.sum(), (counts_VC.sum(0) ** cds).sum()
    found = np.zeros(counts_VC.shape)
    for word, row in enumerate(counts_VC):
        for context, count in enumerate(row):
            if count:
                joint, marginal = count / total, row.sum() / total
                noise = counts_VC[:, context].sum() ** cds / smooth_total
                value = np.log(joint / (marginal * noise * shift))
                found[word, context] = max(value, 0.0) if positive else value
    return found


def svd_vectors(
    matrix_VC: sparse.spmatrix, size: int, power: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Word vectors U S^power and context vectors V S^(1 - power), (V, D) and (C, D), whose product is near the matrix.

    Raises:
        ValueError: ``size`` is above either side of the matrix or none, or ``power`` is not from 0 to 1.
    """
    if not is_number(power) or not 0 <= power <= 1:
        raise ValueError(f"power must be a number from 0 to 1, got {power!r}")
    left_VD, singular_D, right_DC = truncated_svd(matrix_VC, size, seed=seed)
    return left_VD * singular_D**power, right_DC.T * singular_D ** (1 - power)


class PPMI:
    """Vectors from counts, with the interface of the trained models.

    Args:
        sentences: Lists of tokens.
        vector_size: Components of a vector.
        window: Words to each side at most.
        min_count: Rarer words are left out.
        weighting: Of distances, see :func:`kb.embeddings.cooccurrence.distance_weights`.
        cds: Power of the contexts' counts.
        shift: k of the shift by log k.
        power: Of the singular values.
        seed: Of the search for singular vectors.

    Attributes:
        wv: The vectors.
        matrix_VV: The sparse matrix that was factorised.

    Raises:
        TypeError: a sentence is a string.
        ValueError: a number is out of bounds, no word is frequent enough, or no cell is positive.
    """

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        vector_size: int = 100,
        window: int = 5,
        min_count: int = 5,
        weighting: str = "linear",
        cds: float = 0.75,
        shift: float = 1.0,
        power: float = 0.5,
        seed: int = 0,
    ) -> None:
        require_count("vector_size", vector_size)
        texts = checked_sentences(sentences)
        vocabulary = build_vocabulary(texts, min_count)
        self.matrix_VV = pmi(count_pairs(texts, vocabulary, window, weighting), cds, shift)
        self.wv = KeyedVectors(vocabulary, svd_vectors(self.matrix_VV, vector_size, power, seed)[0])
