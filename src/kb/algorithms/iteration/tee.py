"""Several iterators over one, as :func:`itertools.tee` makes them, which tell how much they hold.

Unusual: ``held``, the items that one of them has drawn and another one has not. It is what makes ``tee`` a trap: with
one iterator far ahead, all that lies between is in memory, and a list would have been simpler. Items are kept for an
iterator that was thrown away, too; :func:`itertools.tee` lets those go.

Source: the itertools documentation, ``tee``.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from kb.arguments import require_count

T = TypeVar("T")


class TeeIterator(Generic[T]):
    """One of the iterators that :func:`tee` makes."""

    def __init__(self, iterator: Iterator[T], queues: list[deque[T]], place: int) -> None:
        self._iterator = iterator
        self._queues = queues
        self._queue = queues[place]

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._queue:
            item = next(self._iterator)
            for queue in self._queues:
                queue.append(item)
        return self._queue.popleft()

    @property
    def held(self) -> int:
        """Items that are kept for this iterator because another one is ahead."""
        return len(self._queue)


def tee(iterable: Iterable[T], n: int = 2) -> tuple[TeeIterator[T], ...]:
    """N iterators, each of which gives all items of ``iterable``, which nobody else may draw from.

    Raises:
        TypeError: ``iterable`` is none.
        ValueError: ``n`` is negative or no integer.
    """
    require_count("n", n, least=0)
    iterator = iter(iterable)
    queues: list[deque[T]] = [deque() for _ in range(n)]
    return tuple(TeeIterator(iterator, queues, place) for place in range(n))
