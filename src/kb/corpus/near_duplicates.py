"""Duplicates, exact and near: hashes of whole texts, and MinHash signatures cut into bands.

Comparing all pairs of N documents takes N^2 / 2 comparisons. Cut into b bands of r rows, two documents become
candidates where a whole band agrees, with probability 1 - (1 - s^r)^b at Jaccard s: a curve with a step near
(1/b)^(1/r). Unusual: candidates are looked at again with the whole signature, so that the step's soft shoulders cost
time and not documents; and clusters are the connected components, in which two members need not be alike.

Sources: Leskovec et al. 2020, Mining of Massive Datasets, section 3.4; Lee et al. 2022, section 4.2. Shapes: N
documents, K hashes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from kb.arguments import is_number, require_count
from kb.corpus.minhash import estimated_jaccard
from kb.corpus.normalization import fingerprint


class UnionFind:
    """Groups of 0 to N - 1 that only grow together."""

    def __init__(self, count: int) -> None:
        require_count("count", count, least=0)
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        """The smallest member of an item's group."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        """Make one group of two."""
        small, large = sorted((self.find(one), self.find(other)))
        self._parent[large] = small

    def groups(self) -> list[list[int]]:
        """All groups, by their smallest member."""
        found: dict[int, list[int]] = defaultdict(list)
        for item in range(len(self._parent)):
            found[self.find(item)].append(item)
        return list(found.values())


def exact_duplicates(texts: Sequence[str]) -> list[list[int]]:
    """Groups of places whose texts have the same fingerprint, those of one member too."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        found[fingerprint(text)].append(place)
    return list(found.values())


def candidate_probability(s: float, bands: int, rows: int) -> float:
    """1 - (1 - s^r)^b: how likely documents of Jaccard s share a whole band.

    Raises:
        ValueError: ``s`` is outside 0 to 1, or a number is no positive integer.
    """
    if not is_number(s) or not 0 <= s <= 1:
        raise ValueError(f"s must be a number from 0 to 1, got {s!r}")
    require_count("bands", bands)
    require_count("rows", rows)
    return 1 - (1 - s**rows) ** bands


def candidates(signatures_NK: NDArray[np.int64], bands: int) -> set[tuple[int, int]]:
    """Pairs of documents, the smaller number first, that agree in at least one whole band.

    Of a bucket with many documents each is paired with the first alone: enough for clusters of candidates, and never
    quadratic.

    Raises:
        ValueError: the bands do not divide K.
    """
    found: set[tuple[int, int]] = set()
    for band_NR in _cut(signatures_NK, bands):
        first: dict[bytes, int] = {}
        for place, row in enumerate(band_NR):
            head = first.setdefault(row.tobytes(), place)
            if head != place:
                found.add((head, place))
    return found


def near_duplicates(signatures_NK: NDArray[np.int64], *, bands: int, least: float) -> list[list[int]]:
    """Clusters of documents joined by candidate pairs whose signatures agree in a share of at least ``least``.

    In a bucket a document is looked at beside the first of each cluster there, until one is like it: two copies are
    found even where the first document of their bucket is like neither.

    Args:
        signatures_NK: One row for each document.
        bands: They divide K.
        least: Estimated Jaccard index from which two count as duplicates.

    Raises:
        ValueError: ``least`` is outside 0 to 1, or the bands do not divide K.
    """
    if not is_number(least) or not 0 <= least <= 1:
        raise ValueError(f"least must be a number from 0 to 1, got {least!r}")
    groups = UnionFind(len(signatures_NK))
    for band_NR in _cut(signatures_NK, bands):
        heads: dict[bytes, list[int]] = defaultdict(list)
        for place, row in enumerate(band_NR):
            bucket = heads[row.tobytes()]
            like = (at for at in bucket if estimated_jaccard(signatures_NK[at], signatures_NK[place]) >= least)
            if (head := next(like, None)) is None:
                bucket.append(place)
            else:
                groups.join(head, place)
    return groups.groups()


def keep_first(clusters: Iterable[Sequence[int]]) -> list[int]:
    """The first member of each cluster, in order."""
    return sorted(min(cluster) for cluster in clusters)


def _cut(signatures_NK: NDArray[np.int64], bands: int) -> list[NDArray[np.int64]]:
    require_count("bands", bands)
    if signatures_NK.ndim != 2 or signatures_NK.shape[1] % bands:
        raise ValueError(f"signatures_NK must be [N, K] with K a multiple of {bands}, got {signatures_NK.shape}")
    return [np.ascontiguousarray(band_NR) for band_NR in np.split(signatures_NK, bands, axis=1)]
