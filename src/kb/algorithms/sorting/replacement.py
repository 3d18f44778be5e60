"""Replacement selection: runs that are longer than memory.

What has been given out makes room for what comes next; a newcomer that can still follow goes into the present run, and
one that is too small waits for the next. On items in random order runs are twice as long as memory, on items that are
nearly sorted there is one run, and on items in reverse order runs are as long as memory.

Source: Knuth 1998, section 5.4.1, with the snow plough that explains the twice.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_NOTHING = object()


class _Last:
    """A key that comes before what it is larger than."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: "_Last") -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Last) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]


def replacement_selection(
    items: Iterable[T],
    room: int,
    *,
    key: Callable[[T], Any] | None = None,
    reverse: bool = False,
    size: Callable[[T], int] = lambda item: 1,
) -> Iterator[tuple[int, T]]:
    """Cut items into sorted runs with a heap.

    Args:
        items: In any order.
        room: What the items in the heap may take together.
        key: Gives what is compared. Keys must agree with ``<`` and ``==``.
        reverse: Largest first.
        size: What an item takes; at first each takes 1, so that ``room`` counts items.

    Yields:
        The number of a run, from 0, and an item; run after run, each sorted. Of equal items the earlier comes first,
        and in no later run.

    Raises:
        ValueError: there is room for nothing.
    """
    if room < 1:
        raise ValueError(f"room must be at least 1, got {room}")
    heap: list[tuple[int, Any, int, T, int]] = []  # run, key, place among the items, item, size
    held = run = 0
    last: Any = _NOTHING
    for place, item in enumerate(items):
        value = item if key is None else key(item)
        value, taken = _Last(value) if reverse else value, size(item)
        while heap and held + taken > room:
            run, last, _, out, freed = heapq.heappop(heap)
            held -= freed
            yield run, out
        held += taken
        heapq.heappush(heap, (run + (last is not _NOTHING and value < last), value, place, item, taken))
    while heap:
        run, _, _, out, _ = heapq.heappop(heap)
        yield run, out
