"""The table of one sequence: its blocks in order, and how far they are known to the prefix cache.

Token ``t`` lies in block ``blocks[t // block_size]`` at offset ``t % block_size``. Ints only.
"""

from dataclasses import dataclass
from typing import NamedTuple

from kb.arguments import is_integer
from kb.serving.block_pool import BlockPool
from kb.serving.prefix_cache import PrefixCache, PrefixNode


class Copy(NamedTuple):
    """Keys and values of block ``source``, in all layers, must be copied to ``target`` before the next write."""

    source: int
    target: int


@dataclass(slots=True)
class BlockTable:
    """What the tables keep of a sequence.

    Args:
        blocks: In the order of the tokens.
        salt: Of its chain in the prefix cache.
        cached: So many blocks, from the first on, have entered the prefix cache.
        node: Of the last of these; None where it is not known.
    """

    blocks: list[int]
    salt: str | None
    cached: int = 0
    node: PrefixNode | None = None

    def growth(self, start: int, end: int, block_size: int, pool: BlockPool) -> tuple[list[int], int]:
        """What has to be done before tokens ``start`` to ``end`` are written.

        Returns:
            The places of shared blocks, which must be copied, and how many blocks must be added.

        Raises:
            ValueError: the range is empty, negative, or starts beyond the room there is.
        """
        have = len(self.blocks)
        if not (is_integer(start) and is_integer(end) and 0 <= start < end and start <= have * block_size):
            raise ValueError(
                f"start must be from 0 to the room for {have * block_size} tokens, and end after it, "
                f"got {start!r} to {end!r}"
            )
        stop = -(-end // block_size)
        written = range(start // block_size, min(stop, have))
        return [i for i in written if pool.references(self.blocks[i]) > 1], max(0, stop - have)

    def uncache(self, start: int, stop: int, prefix: PrefixCache) -> None:
        """Take the blocks at places ``start`` to ``stop`` out of the prefix cache."""
        for block in self.blocks[start:stop]:
            prefix.remove(block)
        if start < self.cached:
            self.cached, self.node = start, None
