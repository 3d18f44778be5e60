"""An iterator that can be asked what comes next, as more-itertools' ``peekable``.

Unusual: truth. ``if iterator:`` is true for every other iterator, used up or not; here it says whether an item is left,
for which it has to draw that item.

Source: more-itertools, ``peekable``; of its interface ``peek``, ``prepend`` and truth.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
D = TypeVar("D")
_MISSING = object()


class Peekable(Generic[T]):
    """An iterator over ``iterable`` that draws an item before it is asked for only where one peeks.

    Raises:
        TypeError: ``iterable`` is none.
    """

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterator = iter(iterable)
        self._drawn: deque[T] = deque()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self._drawn.popleft() if self._drawn else next(self._iterator)

    def __bool__(self) -> bool:
        if not self._drawn:
            self._drawn.extend(islice(self._iterator, 1))
        return bool(self._drawn)

    def peek(self, default: D = _MISSING) -> T | D:  # type: ignore[assignment]
        """The next item, which stays the next one; ``default`` at the end.

        Raises:
            StopIteration: at the end, where there is no ``default``. Inside a generator that is a RuntimeError.
        """
        if self:
            return self._drawn[0]
        if default is _MISSING:
            raise StopIteration
        return default

    def prepend(self, *items: T) -> None:
        """Put items before those that are left, the first one first."""
        self._drawn.extendleft(reversed(items))
