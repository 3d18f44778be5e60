"""Many words sought in one pass over a text, with the interface of pyahocorasick, and its answers in its order.

    >>> automaton = Automaton()
    >>> for word in ("he", "she", "his", "hers"):
    ...     automaton.add_word(word, word.upper())
    >>> automaton.make_automaton()
    >>> list(automaton.iter("ushers"))
    [(3, 'SHE'), (3, 'HE'), (5, 'HERS')]

Unusual: ``iter_long`` gives what its name says, leftmost-longest matches; pyahocorasick 2.3.1 misses some of them (its
issue 189). And a search that is given more text by ``set`` loses no match that nobody has asked for yet.

Characters are code points, as everywhere in Python; nothing is folded or normalised, since that would move positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from kb.algorithms.matching.arrays import ArrayAutomaton
from kb.algorithms.matching.trie import Batch, Place, TrieAutomaton
from kb.arguments import require_count
from kb.installed import is_installed

V = TypeVar("V")
D = TypeVar("D")


class Automaton(Generic[V]):
    """Words with values, sought all at once.

    Args:
        compiled: Whether to search in arrays by compiled loops, which need numba, or in dictionaries. None: the former
            where numba is there.

    Raises:
        ModuleNotFoundError: compiled loops were asked for, and there is no numba.
    """

    def __init__(self, *, compiled: bool | None = None) -> None:
        if compiled and not is_installed("numba"):
            raise ModuleNotFoundError("compiled=True needs numba, which is not installed")
        self._compiled = is_installed("numba") if compiled is None else compiled
        self._numbers: dict[str, int] = {}
        self._values: list[V] = []
        self._built: _Built | None = None

    def add_word(self, word: str, value: V) -> bool:
        """Add a word, or give one that is there another value; ``make_automaton`` has to be called (again) after it.

        Returns:
            Whether the word is new. The empty word is not taken, and False.

        Raises:
            TypeError: the word is no text.
        """
        if not _text("word", word):
            return False
        self._built = None
        number = self._numbers.setdefault(word, len(self._values))
        if number < len(self._values):
            self._values[number] = value
            return False
        self._values.append(value)
        return True

    def make_automaton(self) -> None:
        """Build what searches; without a word there is nothing to build."""
        if self._numbers and self._built is None:
            kind = ArrayAutomaton if self._compiled else TrieAutomaton
            values = np.fromiter(self._values, dtype=object, count=len(self._values))
            self._built = _Built(kind(list(self._numbers)), values)

    def __len__(self) -> int:
        """The number of words."""
        return len(self._numbers)

    def __contains__(self, word: str) -> bool:
        """Whether this word was added."""
        return _text("word", word) in self._numbers

    def exists(self, word: str) -> bool:
        """Whether this word was added."""
        return word in self

    @overload
    def get(self, word: str) -> V: ...

    @overload
    def get(self, word: str, default: D, /) -> V | D: ...

    def get(self, word: str, *default: D) -> V | D:
        """The value of a word, or the default if one is given.

        Raises:
            KeyError: there is no such word, and no default.
        """
        if word not in self and default:
            return default[0]
        return self._values[self._numbers[word]]

    def iter(self, text: str, start: int = 0, end: int | None = None) -> "Search[V]":
        """All matches in ``text[start:end]``, overlapping ones too, by where they end; of those the longest first.

        Returns:
            An iterator over pairs of the index of a match's last character and the value of its word. Its method
            ``set`` takes the next piece of a text that comes in pieces.

        Raises:
            AttributeError: ``make_automaton`` was not called since the last word was added.
            TypeError: the text is no text.
            ValueError: start or end is negative.
        """
        return Search(self._require(), text, *_limits(text, start, end))

    def iter_long(self, text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, V]]:
        """Leftmost-longest matches in ``text[start:end]``: no two overlap.

        From the left, at each place the longest word that begins there; the search goes on behind it. In the worst case
        this takes the text's length times that of the longest word, and always four bytes for each character of it.
        Arguments, pairs and errors as for :meth:`iter`.
        """
        built = self._require()
        return built.matches(built.machine.longest(text, *_limits(text, start, end)))

    def _require(self) -> "_Built":
        if self._built is None:
            raise AttributeError("no automaton yet: add words, then call make_automaton()")
        return self._built


class Search(Generic[V]):
    """The matches of one text, or of the pieces of one; made by :meth:`Automaton.iter`.

    It goes on with the words and values that were there when the automaton was made, whatever is added meanwhile.
    """

    def __init__(self, built: "_Built", text: str, begin: int, end: int) -> None:
        self._built, self._pieces = built, [(text, begin, end, 0)]  # text, from where to where, what came before it
        self._place, self._length = Place(), end
        self._matches = self._anew()

    def __iter__(self) -> Iterator[tuple[int, V]]:
        """The matches that were not yet handed out."""
        return self._matches

    def __next__(self) -> tuple[int, V]:
        """The next match.

        Raises:
            StopIteration: there is none in the text so far.
        """
        return next(self._matches)

    def set(self, text: str, reset: bool = False) -> None:
        """Go on with the next piece of the text, whose positions go on too, or with another text.

        Args:
            text: The piece.
            reset: Forget what came before: it is another text.

        Raises:
            TypeError: the piece is no text.
        """
        begin, end = _limits(text, 0, None)
        if reset:
            self._pieces = []
            self._place, self._length = Place(), 0
        self._pieces.append((text, begin, end, self._length))
        self._length += end
        if reset or self._is_done:
            self._matches = self._anew()

    def _anew(self) -> Iterator[tuple[int, V]]:
        self._is_done = False
        return self._built.matches(self._batches(self._pieces, self._place))

    def _batches(self, pieces: list[tuple[str, int, int, int]], place: Place) -> Iterator[Batch]:
        while pieces:
            yield from self._built.machine.scan(*pieces.pop(0), place)
        self._is_done |= pieces is self._pieces  # else the search was reset, and this is the rest of another text


@dataclass(frozen=True)
class _Built:
    """What searches, and the value of each word."""

    machine: TrieAutomaton | ArrayAutomaton
    values: NDArray[np.object_]

    def matches(self, batches: Iterator[Batch]) -> Iterator[tuple[int, Any]]:
        """Ends with values, by iterators that are Python's own: a generator would double the time of a match."""
        return chain.from_iterable(zip(ends, self.values[words].tolist(), strict=True) for ends, words in batches)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {type(value).__name__}")
    return value


def _limits(text: str, start: int, end: int | None) -> tuple[int, int]:
    """Where to begin and to end in a text, neither behind its end."""
    length = len(_text("text", text))
    if start:
        require_count("start", start, least=0)
    if end is None:
        return start, length
    require_count("end", end, least=0)
    return start, min(end, length)
