"""What comes before what: lines by their bytes, or by a key; and what lines and keys take in memory.

Unusual: text in UTF-8 is compared as bytes, since their order is that of the code points; it is only checked. In other
encodings, and where there is a key, lines are decoded. A line is compared without its end: with it, the line "a, tab,
b" would come before the line "a", as a tab is less than a newline.
"""

import codecs
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What one line takes beside its characters, at most: the head of a bytes object, its rounding up to 16 bytes, a place
# in a list that may be an eighth too long, half a place where list.sort merges, a place in the list that is written.
LINE_BYTES = sys.getsizeof(b"") + 15 + 9 + 4 + 8
# A pair, with the head that the garbage collector keeps, and a place in the list of keys that list.sort makes.
_PAIR_BYTES = sys.getsizeof((None, None)) + 16 + 8
_SAME_AS_BYTES = ("utf-8", "ascii", "iso8859-1")

Entry = Any  # a line as bytes, or a pair of its key and the line


def key_bytes(key: object) -> int:
    """What a key takes in memory; in tuples and lists, with what they hold."""
    total, waiting = 0, [key]
    while waiting:
        part = waiting.pop()
        total += sys.getsizeof(part)
        if isinstance(part, tuple | list):
            waiting += part
    return total


@dataclass(frozen=True)
class Order:
    """How lines are compared.

    Args:
        key: Gives what is compared instead of the line: from the text of a line, or from its bytes where there is no
            encoding. It is called about once a line in every pass. Keys must agree with ``<`` and ``==``.
        reverse: Largest first. Lines that compare equal keep their order all the same, as in ``sorted``.
        encoding: Of the text. None: lines are bytes.

    Raises:
        TypeError: the key cannot be called.
        ValueError: the encoding is unknown, or a newline in it is not the one byte that ends a line here.
    """

    key: Callable[[Any], Any] | None = None
    reverse: bool = False
    encoding: str | None = "utf-8"

    def __post_init__(self) -> None:
        if self.key is not None and not callable(self.key):
            raise TypeError(f"key must be a function of a line, got {self.key!r}")
        if self.encoding is not None:
            try:
                newline = "\n".encode(self.encoding)
            except LookupError:
                raise ValueError(f"encoding: there is none called {self.encoding!r}") from None
            if newline != b"\n":
                raise ValueError(f"encoding: lines must end in the byte 10, and in {self.encoding} they do not")

    @property
    def has_keys(self) -> bool:
        """Whether entries are pairs of a key and a line."""
        return self.key is not None or not self._same_as_bytes

    @property
    def checked(self) -> str | None:
        """The encoding that bytes have to be checked for, as nothing decodes them."""
        return self.encoding if self.encoding and not self.has_keys else None

    @property
    def _same_as_bytes(self) -> bool:
        return self.encoding is None or codecs.lookup(self.encoding).name in _SAME_AS_BYTES

    def entry(self, line: bytes) -> Entry:
        """A line with its key.

        Raises:
            UnicodeDecodeError: it is not in the encoding.
        """
        text = line.decode(self.encoding) if self.encoding else line
        return (self.key(text) if self.key else text, line)

    def entry_bytes(self, entry: Entry) -> int:
        """What an entry takes in memory, at most."""
        if not self.has_keys:
            return len(entry) + LINE_BYTES
        return len(entry[1]) + LINE_BYTES + key_bytes(entry[0]) + _PAIR_BYTES

    def precedes(self, one: Entry, other: Entry) -> bool:
        """Whether one entry has to come before another; neither does where they compare equal."""
        if self.has_keys:
            one, other = one[0], other[0]
        return bool(other < one if self.reverse else one < other)

    def sort(self, entries: list[Entry]) -> None:
        """Sort in place, stably."""
        entries.sort(key=operator.itemgetter(0) if self.has_keys else None, reverse=self.reverse)

    def lines(self, entries: list[Entry]) -> list[bytes]:
        """The lines of entries."""
        return [line for _, line in entries] if self.has_keys else entries

    def cut(self, block: list[Entry], low: int, bound: Entry, *, with_equals: bool) -> int:
        """Where in a sorted block, from ``low`` on, the entries end that come before ``bound``, or equal it."""
        high = len(block)
        while low < high:
            middle = (low + high) // 2
            one = block[middle]
            if not self.precedes(bound, one) if with_equals else self.precedes(one, bound):
                low = middle + 1
            else:
                high = middle
        return low
