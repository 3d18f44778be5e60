"""Test items that a training text holds: overlap in n-grams of words, 13 of them as for GPT-3.

Unusual: both directions are here. An item is *contaminated* where any n-gram of it is in the training text; how *much*
of it is, as the share of its words inside such n-grams, tells a quoted sentence from a copied item. A paraphrase or a
translation is not found by either.

Sources: Brown et al. 2020, section 4 and appendix C (13-grams, those in more than 10 documents ignored; that an item
shorter than n is one n-gram as a whole is ours); Touvron et al. 2023, Llama 2, section A.6 (share of contaminated
tokens).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kb.arguments import require_count
from kb.corpus.normalization import normalize

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def contamination_words(text: str) -> list[str]:
    """Lower case, split at whatever is no letter or digit; a Chinese, Japanese or Korean character is a word."""
    return re.findall(
        r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+",
        normalize(text).lower(),
    )


@dataclass(frozen=True)
class Overlap:
    """How much of a test item is in the training text.

    Args:
        words: Of the item.
        covered: Those inside an n-gram that the training text has.
    """

    words: int
    covered: int

    @property
    def share(self) -> float:
        """Covered words of all, 0 for an empty item."""
        return self.covered / self.words if self.words else 0.0


class Decontaminator:
    """An index of the n-grams of a test set, by which training documents and test items are held against each other.

    Args:
        items: Texts of the test set.
        n: Words of an n-gram; an item with fewer is one n-gram as a whole.
        words: How a text is cut.

    Raises:
        TypeError: ``items`` is one string.
        ValueError: ``n`` is no positive integer, or an item has no word.
    """

    def __init__(
        self, items: Iterable[str], n: int = 13, *, words: Callable[[str], list[str]] = contamination_words
    ) -> None:
        require_count("n", n)
        if isinstance(items, str):
            raise TypeError("items must be texts, got one string")
        self._n, self._words = n, words
        self._items = [words(item) for item in items]
        if empty := [place for place, item in enumerate(self._items) if not item]:
            raise ValueError(f"items[{empty[0]}] has no word")
        self._places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for place, item in enumerate(self._items):
            for start, gram in self._grams(item):
                self._places.setdefault(gram, []).append((place, start))
        self._lengths = sorted({len(gram) for gram in self._places})
        self._seen: dict[int, set[int]] = {}

    def contaminates(self, document: str) -> list[int]:
        """The items of which a document holds an n-gram, in order; and remember what of them it covers."""
        words, found = self._words(document), set()
        for length in self._lengths:
            for start in range(len(words) - length + 1):
                for item, at in self._places.get(tuple(words[start : start + length]), ()):
                    found.add(item)
                    self._seen.setdefault(item, set()).update(range(at, at + length))
        return sorted(found)

    def overlaps(self) -> list[Overlap]:
        """Of each item, what all documents so far cover of it."""
        return [Overlap(len(item), len(self._seen.get(place, ()))) for place, item in enumerate(self._items)]

    def _grams(self, words: list[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
        length = min(self._n, len(words))
        for start in range(len(words) - length + 1):
            yield start, tuple(words[start : start + length])
