"""Merging sorted runs: a tree of losers, which is what the books have, and blocks that list.sort merges.

Unusual: in Python the second is faster by far, although it compares more. Its comparisons are made in C, where the
tree's are each a line of Python: cut from every block what comes before the smallest of the blocks' last lines, sort
all that together, and no later line can belong among them. list.sort finds the sorted pieces itself.

Source: the tree of losers, Knuth 1998, section 5.4.1; list.sort's runs, Objects/listsort.txt in CPython.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from kb.algorithms.sorting.order import Entry, Order
from kb.algorithms.sorting.reading import LineReader

T = TypeVar("T")
Write = Callable[[list[Entry]], None]
Merging = Callable[[Sequence[LineReader], int, Order, Write], None]
_END = object()
_BATCH = 64  # entries that the tree gives before they are written


class LoserTree(Iterator[T]):
    """Items of sorted sources in one order, the smallest first; of equal ones the one from the earlier source.

    Every source has a leaf. Where two meet the loser stays, and the winner goes on to the next game; so after a winner
    has left and its source has sent the next item, only the games on the one way from that leaf to the top are played
    again, each against a loser who sits there: ceil(log2 k) of them at most.

    Args:
        sources: Sorted iterators.
        precedes: Whether one item comes before another.

    Attributes:
        losers: For each inner node, from 1, the source whose item lost there; at 0 the one that won all.
        items: The present item of each source.
        comparisons: How many were made; a game against a source that has ended needs none.
    """

    def __init__(self, sources: Sequence[Iterator[T]], precedes: Callable[[T, T], bool]) -> None:
        self._sources, self._precedes, self.comparisons = sources, precedes, 0
        self.items: list[Any] = [next(source, _END) for source in sources]
        k = len(sources)
        winners = [*range(k), *range(k)]  # of nodes; those from k on are the leaves
        self.losers = [0] * k
        for node in range(k - 1, 0, -1):
            one, other = winners[2 * node], winners[2 * node + 1]
            winners[node], self.losers[node] = (one, other) if self._beats(one, other) else (other, one)
        if k:
            self.losers[0] = winners[1] if k > 1 else 0

    def _beats(self, one: int, other: int) -> bool:
        """Whether the item of one source comes before that of another; the earlier source wins where none does."""
        mine, yours = self.items[one], self.items[other]
        if mine is _END or yours is _END:
            return yours is _END and (mine is not _END or one < other)
        self.comparisons += 1
        return not self._precedes(yours, mine) if one < other else self._precedes(mine, yours)

    def __next__(self) -> T:
        """The next item, after which its source is asked for another."""
        winner = self.losers[0] if self.items else 0
        if not self.items or self.items[winner] is _END:
            raise StopIteration
        item: T = self.items[winner]
        self.items[winner] = next(self._sources[winner], _END)
        node = (winner + len(self.items)) // 2
        while node:
            if self._beats(self.losers[node], winner):
                self.losers[node], winner = winner, self.losers[node]
            node //= 2
        self.losers[0] = winner
        return item


def loser_merge(*iterables: Iterable[T], key: Callable[[T], Any] | None = None, reverse: bool = False) -> Iterator[T]:
    """What ``heapq.merge`` gives, by a tree of losers.

    A source is asked for its next item before the present one is handed out, where ``heapq.merge`` asks after that; so
    no source may use one object again for its next item.

    Args:
        *iterables: Each sorted.
        key: Gives what is compared, once an item.
        reverse: Each is sorted with the largest first, and so is the result.
    """
    before: Callable[[Any, Any], bool] = operator.gt if reverse else operator.lt
    if key is None:
        return LoserTree([iter(one) for one in iterables], before)
    pairs = [((key(item), item) for item in one) for one in iterables]
    return (item for _, item in LoserTree(pairs, lambda one, other: bool(before(one[0], other[0]))))


def merge_by_losers(readers: Sequence[LineReader], budget: int, order: Order, write: Write) -> None:
    """Merge runs entry by entry, each read in blocks of ``budget`` bytes."""
    waiting: list[Entry] = []

    def entries(reader: LineReader) -> Iterator[Entry]:
        while block := reader.fill(budget):
            yield from block
            write(waiting)  # these may be the last to hold on to lines of the block
            waiting.clear()
            block.clear()

    for entry in LoserTree([entries(reader) for reader in readers], order.precedes):
        waiting.append(entry)
        if len(waiting) == _BATCH:
            write(waiting)
            waiting.clear()
    write(waiting)


def merge_blocks(readers: Sequence[LineReader], budget: int, order: Order, write: Write) -> None:
    """Merge runs, each read in blocks of ``budget`` bytes, by sorting what is known to come next.

    What comes next ends with the smallest of the blocks' last entries. That block is used up then; of several that end
    alike it is the first, and equal entries of later runs have to wait, as the first run may have more of them.
    """
    blocks = [reader.fill(budget) for reader in readers]
    places = [0] * len(blocks)
    alive = [run for run, block in enumerate(blocks) if block]
    while alive:
        first = alive[0]
        for run in alive[1:]:
            if order.precedes(blocks[run][-1], blocks[first][-1]):
                first = run
        bound, together = blocks[first][-1], []
        for run in alive:
            low, block = places[run], blocks[run]
            # The first block goes whole, whatever its keys are: a search among NaN might never get to its end.
            places[run] = len(block) if run == first else order.cut(block, low, bound, with_equals=run < first)
            together += block[low : places[run]]
        order.sort(together)
        write(together)
        for run in [run for run in alive if places[run] == len(blocks[run])]:
            together, bound, block = [], None, []  # nothing may hold on to what is given back now
            blocks[run], places[run] = [], 0
            blocks[run] = readers[run].fill(budget)
            if not blocks[run]:
                alive.remove(run)
