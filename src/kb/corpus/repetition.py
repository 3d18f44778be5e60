"""How much of a document repeats itself: Gopher's thirteen fractions of lines, paragraphs and n-grams.

Unusual: the two kinds of n-gram fractions differ. For n of 2 to 4 it is the characters of the single n-gram that occurs
most often (of several, the longest); for n of 5 to 10 those of all n-grams that occur more than once, each character
counted once.

Source: Rae et al. 2021, Gopher, section A.1.1 and Table A1 (the thresholds).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

THRESHOLDS = {
    "duplicate lines": 0.30,
    "duplicate paragraphs": 0.30,
    "characters in duplicate lines": 0.20,
    "characters in duplicate paragraphs": 0.20,
    "top 2-gram": 0.20,
    "top 3-gram": 0.18,
    "top 4-gram": 0.16,
    "duplicate 5-grams": 0.15,
    "duplicate 6-grams": 0.14,
    "duplicate 7-grams": 0.13,
    "duplicate 8-grams": 0.12,
    "duplicate 9-grams": 0.11,
    "duplicate 10-grams": 0.10,
}


def repetition_fractions(text: str, *, words: Callable[[str], list[str]] = str.split) -> dict[str, float]:
    """The fractions, by the names in :data:`THRESHOLDS`, each from 0 to 1.

    Args:
        text: The document.
        words: How it is cut into words, or for Chinese into characters.

    Raises:
        TypeError: ``text`` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    found = words(text)
    return {
        "duplicate lines": _duplicates(lines)[0],
        "duplicate paragraphs": _duplicates(paragraphs)[0],
        "characters in duplicate lines": _duplicates(lines)[1],
        "characters in duplicate paragraphs": _duplicates(paragraphs)[1],
        **{f"top {n}-gram": _top(found, n) for n in (2, 3, 4)},
        **{f"duplicate {n}-grams": _repeated(found, n) for n in range(5, 11)},
    }


def repetition_failures(text: str, *, words: Callable[[str], list[str]] = str.split) -> dict[str, float]:
    """The fractions above their threshold; empty where the document passes. Errors as in repetition_fractions."""
    fractions = repetition_fractions(text, words=words)
    return {name: value for name, value in fractions.items() if value > THRESHOLDS[name]}


def _duplicates(parts: Sequence[str]) -> tuple[float, float]:
    """Share of the parts that came before, and of their characters."""
    if not parts:
        return 0.0, 0.0
    repeats = [(count - 1, part) for part, count in Counter(parts).items()]
    characters = sum(count * len(part) for count, part in repeats)
    return sum(count for count, _ in repeats) / len(parts), characters / sum(map(len, parts))


def _top(words: Sequence[str], n: int) -> float:
    """Share of the words' characters in the occurrences of the most frequent n-gram, 0 where none comes twice."""
    grams = Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
    count, size = max(((count, sum(map(len, gram))) for gram, count in grams.items() if count > 1), default=(0, 0))
    return min(1.0, count * size / max(1, sum(map(len, words))))  # occurrences may overlap


def _repeated(words: Sequence[str], n: int) -> float:
    """Share of the words' characters inside n-grams that occur more than once."""
    grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    counts = Counter(grams)
    inside = [False] * len(words)
    for start, gram in enumerate(grams):
        if counts[gram] > 1:
            inside[start : start + n] = [True] * n
    characters = sum(len(word) for word, held in zip(words, inside, strict=True) if held)
    return characters / max(1, sum(map(len, words)))
