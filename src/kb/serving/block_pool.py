"""A fixed number of blocks: which are free, in what order they are handed out again, how many hold each of the others.

Ints only; what a block contains is no concern of the pool. Unusual: the queue of free blocks is a doubly linked list in
two lists of ints, so that a free block whose content is wanted again leaves the middle of the queue in O(1), and
nothing is ever searched or created. A freed block keeps its content until it reaches the head and is handed out.

Sources: Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with PagedAttention", section
4.2 (blocks and reference counts); vLLM, docs/design/prefix_caching.md (the queue).
"""

from collections.abc import Callable

from kb.arguments import require_count


class BlockPool:
    """Blocks 0 to ``num_blocks`` - 1, each free or referenced.

    The free queue starts in the order of the ids. Its head is the block that was released longest ago.

    Args:
        num_blocks: Blocks in all.
        on_evict: Told of each block that is about to be handed out, so that whoever remembers its content forgets it.
            When it raises, the block stays where it was.

    Raises:
        ValueError: ``num_blocks`` is not a positive integer.
    """

    def __init__(self, num_blocks: int, *, on_evict: Callable[[int], None] | None = None) -> None:
        require_count("num_blocks", num_blocks)
        self.num_blocks = num_blocks
        self.on_evict = on_evict
        self._references = [0] * num_blocks
        self._num_free = num_blocks
        self._num_shared = 0
        # Entry num_blocks is the queue's end on both sides: after it comes the head, before it the tail.
        self._after = [*range(1, num_blocks + 1), 0]
        self._before = [num_blocks, *range(num_blocks)]

    @property
    def num_free(self) -> int:
        """Length of the free queue; a block with content that nobody references counts."""
        return self._num_free

    @property
    def num_shared(self) -> int:
        """Blocks with more than one reference."""
        return self._num_shared

    def references(self, block: int) -> int:
        """How often a block is held; 0: it is free.

        Raises:
            ValueError: there is no such block.
        """
        self._require(block)
        return self._references[block]

    def allocate(self) -> int:
        """Hand out the head of the free queue, with one reference.

        Raises:
            ValueError: no block is free.
        """
        block = self._after[self.num_blocks]
        if block == self.num_blocks:
            raise ValueError(f"no block to allocate: all {self.num_blocks} are referenced")
        if self.on_evict is not None:
            self.on_evict(block)
        self._leave_queue(block)
        self._references[block] = 1
        return block

    def take(self, count: int) -> list[int]:
        """Hand out several blocks as :meth:`allocate` does, or, where the callback raises, none of them.

        Raises:
            ValueError: fewer are free; nothing has changed.
        """
        if count > self._num_free:
            raise ValueError(f"cannot take {count} blocks: {self._num_free} of {self.num_blocks} are free")
        taken: list[int] = []
        try:
            for _ in range(count):
                taken.append(self.allocate())
        except BaseException:
            for block in taken:
                self.release(block)
            raise
        return taken

    def share(self, block: int) -> None:
        """Add a reference; a free block leaves the queue, wherever in it it stands, and keeps its content.

        Raises:
            ValueError: there is no such block.
        """
        self._require(block)
        before = self._references[block]
        self._references[block] = before + 1
        if before == 0:
            self._leave_queue(block)
        elif before == 1:
            self._num_shared += 1

    def release(self, block: int) -> None:
        """Drop a reference; with the last one the block joins the tail of the free queue.

        Raises:
            ValueError: there is no such block, or it is free already.
        """
        self._require(block)
        left = self._references[block] - 1
        if left < 0:
            raise ValueError(f"block {block} is free already, it cannot be released")
        self._references[block] = left
        if left == 0:
            self._join_queue(block)
        elif left == 1:
            self._num_shared -= 1

    def free_order(self) -> list[int]:
        """The free blocks, in the order in which they would be handed out."""
        order = []
        block = self._after[self.num_blocks]
        while block != self.num_blocks:
            order.append(block)
            block = self._after[block]
        return order

    def _leave_queue(self, block: int) -> None:
        before, after = self._before[block], self._after[block]
        self._after[before] = after
        self._before[after] = before
        self._num_free -= 1

    def _join_queue(self, block: int) -> None:
        end = self.num_blocks
        tail = self._before[end]
        self._after[tail] = self._before[end] = block
        self._before[block], self._after[block] = tail, end
        self._num_free += 1

    def _require(self, block: int) -> None:
        # An exact type: True would pass for block 1, and a negative index for a block at the end.
        if type(block) is not int or not 0 <= block < self.num_blocks:
            raise ValueError(f"block must be an integer from 0 to {self.num_blocks - 1}, got {block!r}")
