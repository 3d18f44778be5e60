"""MinHash: a set of shingles as a short row of numbers whose agreement estimates the Jaccard index.

A random hash orders all shingles; two sets have the same first one with probability |A and B| / |A or B|, exactly their
Jaccard index. K such orders give K coins with that bias. Unusual: the hash is (a x + b) mod p with p = 2^31 - 1, small
enough that numpy's 64-bit integers never overflow, so that a signature is the same on every machine.

Source: Broder 1997, On the resemblance and containment of documents; Lee et al. 2022, Deduplicating Training Data Makes
Language Models Better, section 4.2 and appendix A (5-grams, and their settings). Shapes: K hashes, S shingles.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kb.arguments import is_integer, require_count

_PRIME = 2**31 - 1


def shingles(text: str, n: int = 5, *, units: str = "words") -> set[str]:
    """All n-grams of a text as a set; a text shorter than n is one shingle, an empty one none.

    Args:
        text: Compared as it is: normalise before.
        n: Length.
        units: "words", or "characters" for Chinese.

    Raises:
        ValueError: another unit, or n is no positive integer.
    """
    require_count("n", n)
    if units not in ("words", "characters"):
        raise ValueError(f"units must be words or characters, got {units!r}")
    parts, glue = (text.split(), " ") if units == "words" else (list("".join(text.split())), "")
    return {glue.join(parts[start : start + n]) for start in range(max(1, len(parts) - n + 1))} if parts else set()


def jaccard(one: set[str], other: set[str]) -> float:
    """What two sets share, over what either has; 1 for two empty ones."""
    return len(one & other) / len(one | other) if one or other else 1.0


class MinHasher:
    """K random orders of all shingles.

    Args:
        hashes: K.
        seed: Of the orders; signatures can be compared only under the same seed and K.

    Raises:
        ValueError: a number is none.
    """

    def __init__(self, hashes: int = 128, *, seed: int = 0) -> None:
        require_count("hashes", hashes)
        if not is_integer(seed):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        draw = np.random.default_rng(seed)
        self._a_K = draw.integers(1, _PRIME, size=hashes, dtype=np.int64)
        self._b_K = draw.integers(0, _PRIME, size=hashes, dtype=np.int64)

    @property
    def hashes(self) -> int:
        """K."""
        return len(self._a_K)

    def signature(self, items: Iterable[str]) -> NDArray[np.int64]:
        """The smallest hash of each order, [K]; the largest possible number throughout for an empty set.

        Raises:
            TypeError: ``items`` is one string; :func:`shingles` cuts it.
        """
        if isinstance(items, str):
            raise TypeError("items must be a set of shingles, got one string")
        base_S = np.fromiter({_hash(item) for item in items}, dtype=np.int64)
        if not base_S.size:
            return np.full(self.hashes, _PRIME, dtype=np.int64)
        smallest_K = np.full(self.hashes, _PRIME, dtype=np.int64)
        for first in range(0, base_S.size, 4096):  # a long document must not make a matrix of gigabytes
            part_S = base_S[first : first + 4096]
            hashed_KS = (self._a_K[:, None] * part_S + self._b_K[:, None]) % _PRIME
            np.minimum(smallest_K, hashed_KS.min(axis=1), out=smallest_K)
        return smallest_K

    def signature_loop(self, items: Iterable[str]) -> list[int]:
        """The same, one number at a time: the reference."""
        found = [_PRIME] * self.hashes
        for base in {_hash(item) for item in items}:
            for place, (a, b) in enumerate(zip(self._a_K.tolist(), self._b_K.tolist(), strict=True)):
                found[place] = min(found[place], (a * base + b) % _PRIME)
        return found


def estimated_jaccard(one_K: NDArray[np.int64], other_K: NDArray[np.int64]) -> float:
    """Share of the places where two signatures agree: unbiased, with a standard error of sqrt(s (1 - s) / K).

    Raises:
        ValueError: they differ in length or are empty.
    """
    if one_K.shape != other_K.shape or one_K.ndim != 1 or not one_K.size:
        raise ValueError(f"one_K and other_K must be signatures of one length, got {one_K.shape} and {other_K.shape}")
    return float((one_K == other_K).mean())


def _hash(item: str) -> int:
    return int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest()) % _PRIME
