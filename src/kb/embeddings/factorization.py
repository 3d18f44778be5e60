"""What skip-gram with negative sampling would find if its vectors were free: the PMI of word and context, shifted.

In expectation the loss of one cell, with n observed pairs and m drawn ones, is -n log s(x) - m log s(-x) for the
product x of the two vectors. Its derivative, m s(x) - n s(-x), is zero where e^x = n / m. With m = k #(w) P(c) that is
x = PMI(w, c) - log k, once the noise P is the contexts' own distribution; otherwise PMI with the noise in its place.

Unusual: word2vec's code skips a negative that is the target itself, which leaves m = k (#(w) - #(w, c)) P(c). In a
large vocabulary nobody sees the difference; among some dozens of words it is plain, and ``skip_target`` is for those.

Source: Levy and Goldberg 2014, Neural Word Embedding as Implicit Matrix Factorization, section 3.1, equations 3 to 7.
Shapes: V words, C contexts.
"""

import numpy as np

from kb.arguments import require_count


def expected_negatives(
    counts_VC: np.ndarray, noise_C: np.ndarray, negative: int, skip_target: bool = False
) -> np.ndarray:
    """How often each pair is a negative: k #(w) P(c), (V, C); less those drawn beside themselves, if these are skipped.

    Raises:
        ValueError: a shape does not fit, the noise is no distribution, or ``negative`` is none.
    """
    require_count("negative", negative)
    counts_VC, noise_C = np.asarray(counts_VC, np.float64), np.asarray(noise_C, np.float64)
    if (
        counts_VC.ndim != 2
        or not counts_VC.size
        or noise_C.shape != counts_VC.shape[1:]
        or not np.isfinite(counts_VC).all()
        or counts_VC.min() < 0
    ):
        raise ValueError(
            f"counts_VC must be (V, C), finite and not negative, noise_C (C,); got {counts_VC.shape}, {noise_C.shape}"
        )
    if noise_C.min() <= 0 or abs(noise_C.sum() - 1) > 1e-6:
        raise ValueError(f"noise_C must be positive and sum to 1, got a sum of {noise_C.sum()}")
    return negative * (counts_VC.sum(axis=1, keepdims=True) - skip_target * counts_VC) * noise_C


def expected_loss(
    scores_VC: np.ndarray, counts_VC: np.ndarray, noise_C: np.ndarray, negative: int, skip_target: bool = False
) -> np.ndarray:
    """The loss of each cell at a score, in expectation over the negatives, (V, C); errors as above."""
    drawn_VC = expected_negatives(counts_VC, noise_C, negative, skip_target)
    return counts_VC * np.logaddexp(0, -scores_VC) + drawn_VC * np.logaddexp(0, scores_VC)


def optimal_scores(counts_VC: np.ndarray, noise_C: np.ndarray, negative: int, skip_target: bool = False) -> np.ndarray:
    """The score that minimises each cell's loss; errors as above.

    Minus infinity where the pair was never seen, infinity where it is never drawn: a word's only context, skipped.
    """
    drawn_VC = expected_negatives(counts_VC, noise_C, negative, skip_target)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(counts_VC) - np.log(drawn_VC)
