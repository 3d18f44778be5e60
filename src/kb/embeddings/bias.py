"""Association of two sets of words with two others, by cosines: the word-embedding association test (WEAT).

Unusual: the p-value is exact, over all ways to split the target words in two equal halves. It says whether *these
words* are told apart by *these attributes* in *these vectors*, and nothing of other words, of people, or of harm.

Source: Caliskan, Bryson and Narayanan 2017, Semantics derived automatically from language corpora contain human-like
biases, Science 356, supplementary methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from kb.embeddings.keyed_vectors import KeyedVectors

_MOST_SPLITS = 200_000


@dataclass(frozen=True)
class Association:
    """Effect size in standard deviations, between -2 and 2 roughly, and the one-sided p-value."""

    effect: float
    p_value: float


def associations(wv: KeyedVectors, words: Sequence[str], first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Mean cosine of each word with the attributes ``first``, minus that with ``second``.

    Raises:
        KeyError: a word has no vector.
        ValueError: a list is empty.
    """
    for name, one in {"words": words, "first": first, "second": second}.items():
        if not len(one):
            raise ValueError(f"{name} must hold at least one word")
    unit, near, far = (np.stack([wv.get_vector(w, norm=True) for w in group]) for group in (words, first, second))
    return (unit @ near.T).mean(1) - (unit @ far.T).mean(1)


def weat(
    wv: KeyedVectors, targets: tuple[Sequence[str], Sequence[str]], attributes: tuple[Sequence[str], Sequence[str]]
) -> Association:
    """How much more the first targets go with the first attributes than the second targets do.

    Raises:
        KeyError: a word has no vector.
        ValueError: the targets are not equally many, at least two each, or too many for the exact test.
    """
    half = len(targets[0])
    if half != len(targets[1]) or half < 2 or comb(2 * half, half) > _MOST_SPLITS:
        raise ValueError(f"targets must be two lists of equal length, 2 to 10 words, got {half} and {len(targets[1])}")
    scores = associations(wv, [*targets[0], *targets[1]], *attributes)
    spread = scores.std(ddof=1)
    observed = scores[:half].mean() - scores[half:].mean()
    chosen = np.array(list(combinations(range(2 * half), half)))
    sums = scores[chosen].sum(axis=1)
    # A hair of room, as the split itself is among them and sums round.
    p_value = float((sums >= scores[:half].sum() - 1e-9).mean())
    return Association(float(observed / spread) if spread else 0.0, p_value)
