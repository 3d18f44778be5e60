"""How well the blocks are used: prefix hits, evictions, copies, and slots that hold nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kb.arguments import require_count


@dataclass(frozen=True)
class TableStatistics:
    """Counts since the tables were made.

    Args:
        asked: Tokens of the sequences opened with prefix caching on.
        hit: Those of them that were on the device already.
        outside: Those that a slower tier had.
        evictions: Cached blocks whose content was given up for an allocation.
        copies: Blocks copied on write.
    """

    asked: int = 0
    hit: int = 0
    outside: int = 0
    evictions: int = 0
    copies: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the tokens asked for that were on the device; 0 before the first."""
        return self.hit / self.asked if self.asked else 0.0


def empty_slots(tables: Iterable[tuple[Sequence[int], int]], block_size: int) -> int:
    """Slots without a token in the blocks of some sequences; a block of several sequences counts once.

    Only blocks at and after a sequence's last token are looked at. Sequences that share a partial block have the same
    tokens in it, since a write would have parted them.

    Args:
        tables: For each sequence its blocks, and how many tokens it keeps in them.
        block_size: Slots of a block.

    Raises:
        ValueError: a number of tokens is negative or beyond the room.
    """
    empty: dict[int, int] = {}
    for blocks, length in tables:
        require_count("length", length, least=0)
        if length > len(blocks) * block_size:
            raise ValueError(f"length must be at most the room for {len(blocks) * block_size} tokens, got {length}")
        for i in range(length // block_size, len(blocks)):
            empty[blocks[i]] = min(block_size, (i + 1) * block_size - length)
    return sum(empty.values())
