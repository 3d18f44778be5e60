"""Which blocks each sequence has, in order: the page tables of PagedAttention, with sharing and copy-on-write.

Token ``t`` of a sequence lies in block ``table[t // block_size]`` at offset ``t % block_size``. Blocks are taken as the
sequence grows, so that at most one of them is partly filled. Sequences share the full blocks of a common prefix, found
in the prefix cache, and forks share everything, the partial last block included: whoever writes into a shared block
first gets a copy.

Ints only: the tables say what to copy and where to write, and touch no key or value. Unusual: what needs blocks either
gets all of them or changes nothing, not even the order of the free queue, so that a scheduler may simply try.

Sources: Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with PagedAttention", sections
4.2 to 4.4; vLLM, docs/design/prefix_caching.md (the prefix is touched first, then blocks are allocated).
"""

from collections.abc import Callable, Mapping, Sequence

from kb.arguments import is_integer, require_count
from kb.serving.block_pool import BlockPool
from kb.serving.block_table import BlockTable, Copy
from kb.serving.prefix_cache import PrefixCache, PrefixNode, require_salt
from kb.serving.table_statistics import TableStatistics, empty_slots

__all__ = ["BlockTables", "Copy"]


class BlockTables:
    """The tables of all sequences over one pool.

    Args:
        num_blocks: Blocks in all.
        block_size: Tokens in a block.
        prefix_caching: Whether full blocks are kept findable for later sequences.
        on_evict: Of the prefix cache: told ``(block, digest)`` before content is given up.

    Raises:
        ValueError: a count is not a positive integer.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        *,
        prefix_caching: bool = True,
        on_evict: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.pool = BlockPool(num_blocks)
        self.prefix = PrefixCache(self.pool, block_size, on_evict=on_evict)
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self._tables: dict[int, BlockTable] = {}
        self._asked = self._hit = self._outside = self._copies = 0

    @property
    def on_evict(self) -> Callable[[int, bytes], None] | None:
        """Told ``(block, digest)`` just before content is given up; see :class:`PrefixCache`."""
        return self.prefix.on_evict

    @on_evict.setter
    def on_evict(self, told: Callable[[int, bytes], None] | None) -> None:
        self.prefix.on_evict = told

    @property
    def num_free(self) -> int:
        """Blocks that no sequence holds."""
        return self.pool.num_free

    @property
    def num_used(self) -> int:
        """Blocks that some sequence holds."""
        return self.pool.num_blocks - self.pool.num_free

    @property
    def num_shared(self) -> int:
        """Blocks that several sequences hold."""
        return self.pool.num_shared

    @property
    def statistics(self) -> TableStatistics:
        """The counts so far."""
        return TableStatistics(self._asked, self._hit, self._outside, self.prefix.evictions, self._copies)

    def sequences(self) -> list[int]:
        """The open sequences, in the order in which they were opened."""
        return list(self._tables)

    def blocks(self, seq_id: int) -> list[int]:
        """A copy of a sequence's table.

        Raises:
            ValueError: the sequence is not open; so in all methods that take one.
        """
        return list(self._table(seq_id).blocks)

    def waste(self, lengths: Mapping[int, int]) -> float:
        """Share of the slots in used blocks that hold no token; 0 where no block is used.

        Args:
            lengths: Tokens kept of each open sequence.
        """
        if not self.num_used:
            return 0.0
        tables = ((table.blocks, lengths[seq_id]) for seq_id, table in self._tables.items())
        return empty_slots(tables, self.block_size) / (self.num_used * self.block_size)

    def cached_prefix(self, tokens: Sequence[int], salt: str | None = None) -> list[int]:
        """The longest chain of cached blocks that ``tokens`` start with; changes nothing.

        At least one token is left to be computed: without it there would be no logits to sample from.
        """
        return self._match(tokens, salt)[0]

    def outside_digests(self, tokens: Sequence[int], salt: str | None = None) -> list[bytes]:
        """Digests of the full blocks of ``tokens`` after its cached prefix, to ask slower tiers for."""
        return self.prefix.digests(tokens, salt, start=len(self.cached_prefix(tokens, salt)))

    def open(
        self,
        seq_id: int,
        tokens: Sequence[int],
        budget: int,
        *,
        salt: str | None = None,
        reserve: int = 0,
        outside: int = 0,
    ) -> tuple[int, int] | None:
        """Make the table of a new sequence, with room for its first chunk after what is cached.

        Args:
            seq_id: Not open yet.
            tokens: All that the sequence has so far, at least one.
            budget: The most tokens to compute, at least 1.
            salt: Only sequences with the same salt share a prefix.
            reserve: Blocks that must stay free.
            outside: Full blocks after the cached prefix that a slower tier holds and the caller will load. They get
                blocks and count as cached, as far as one token is left to be computed.

        Returns:
            ``(cached, end)``: the chunk to compute is tokens ``cached`` to ``end``. None where blocks are lacking, and
            then nothing has changed.

        Raises:
            ValueError: the sequence is open already, or an argument is out of its range.
            TypeError: ``salt`` is neither a string nor None.
        """
        self._check_open(seq_id, tokens, budget, reserve, outside)
        found, node = self._match(tokens, salt)
        size, device = self.block_size, len(found)
        loaded = min(outside, (len(tokens) - 1) // size - device)
        cached = (device + loaded) * size
        end = min(len(tokens), cached + budget)
        needed = -(-end // size) - device
        revived = sum(self.pool.references(block) == 0 for block in found)
        if self.num_free - revived - needed < reserve:
            return None
        # The prefix first: a free block of it could be the next that an allocation would give away.
        for block in found:
            self.pool.share(block)
        self._tables[seq_id] = table = BlockTable(found, salt, device, node)
        try:
            table.blocks += self.pool.take(needed)
        except BaseException:
            self.close(seq_id)
            raise
        self._count(len(tokens), device * size, loaded * size)
        return cached, end

    def blocks_needed(self, seq_id: int, start: int, end: int) -> int:
        """How many free blocks :meth:`grow` would take, copies included.

        Raises:
            ValueError: as there.
        """
        shared, new = self._table(seq_id).growth(start, end, self.block_size, self.pool)
        return len(shared) + new

    def grow(self, seq_id: int, start: int, end: int) -> list[Copy] | None:
        """Room to write tokens ``start`` to ``end``, in blocks that this sequence alone holds and nobody can find.

        A shared block in the range is replaced by a fresh one. One that is in the prefix cache is taken out of it.

        Returns:
            What must be copied before the write. None where blocks are lacking, and then nothing has changed.

        Raises:
            ValueError: the range is empty, negative, or starts beyond the room there is.
        """
        table = self._table(seq_id)
        blocks, size, pool, prefix = table.blocks, self.block_size, self.pool, self.prefix
        last = len(blocks) - 1
        # Nearly every call of a decoding step: the token fits into the last block.
        if type(start) is type(end) is int and start // size == last and start < end <= (last + 1) * size:
            block = blocks[last]
            if pool.references(block) == 1 and block not in prefix:
                return []
        shared, new = table.growth(start, end, size, pool)
        if len(shared) + new > pool.num_free:
            return None
        fresh = self.pool.take(len(shared) + new)
        copies = []
        for i, target in zip(shared, fresh, strict=False):
            copies.append(Copy(blocks[i], target))
            pool.release(blocks[i])
            blocks[i] = target
        table.uncache(start // size, -(-end // size), prefix)
        blocks += fresh[len(shared) :]
        self._copies += len(copies)
        return copies

    def fill(self, seq_id: int, tokens: Sequence[int], end: int, salt: str | None = None) -> None:
        """The full blocks among tokens 0 to ``end`` enter the prefix cache, unless they have.

        Args:
            seq_id: The sequence.
            tokens: Of the sequence, at least ``end``; those of earlier calls unchanged.
            end: Tokens that are written, or will be before anyone reads them.
            salt: None, or the one that the sequence was opened with.

        Raises:
            ValueError: ``end`` is beyond the tokens or the room, or the salt is another one.
        """
        table = self._table(seq_id)
        # Nearly every call: no further block has become full.
        if 0 <= end < (table.cached + 1) * self.block_size or not self.prefix_caching:
            return
        if not is_integer(end) or not 0 <= end <= min(len(tokens), len(table.blocks) * self.block_size):
            raise ValueError(
                f"end must be from 0 to the {len(tokens)} tokens and the room for "
                f"{len(table.blocks) * self.block_size}, got {end!r}"
            )
        if salt is not None and salt != table.salt:
            raise ValueError(f"salt must be {table.salt!r} as when sequence {seq_id} was opened, got {salt!r}")
        full = end // self.block_size
        table.node = self.prefix.insert(tokens, table.blocks, table.cached, full, salt=table.salt, after=table.node)
        table.cached = full

    def fork(self, parent_id: int, child_id: int) -> None:
        """Open ``child_id`` with the blocks of ``parent_id``, the partial last one included.

        Raises:
            ValueError: the child is open already.
        """
        parent = self._table(parent_id)
        self._require_new(child_id)
        for block in parent.blocks:
            self.pool.share(block)
        self._tables[child_id] = BlockTable(list(parent.blocks), parent.salt, parent.cached, parent.node)

    def close(self, seq_id: int) -> None:
        """Release the blocks of a sequence, the last first: what hangs on most tokens is the least likely to be hit."""
        table = self._table(seq_id)
        for block in reversed(table.blocks):
            self.pool.release(block)
        del self._tables[seq_id]

    def forget(self, seq_id: int, from_token: int) -> None:
        """Take the blocks with tokens from ``from_token`` on out of the prefix cache: they were never written.

        Raises:
            ValueError: ``from_token`` is negative.
        """
        require_count("from_token", from_token, least=0)
        table = self._table(seq_id)
        table.uncache(from_token // self.block_size, len(table.blocks), self.prefix)

    def _table(self, seq_id: int) -> BlockTable:
        table = self._tables.get(seq_id)
        if table is None:
            raise ValueError(f"sequence {seq_id!r} is not open")
        return table

    def _require_new(self, seq_id: int) -> None:
        if not is_integer(seq_id):
            raise ValueError(f"a sequence's id must be an integer, got {seq_id!r}")
        if seq_id in self._tables:
            raise ValueError(f"sequence {seq_id} is open already")

    def _match(self, tokens: Sequence[int], salt: str | None) -> tuple[list[int], PrefixNode | None]:
        require_salt(salt)
        if not self.prefix_caching:
            return [], None
        return self.prefix.match(tokens, (len(tokens) - 1) // self.block_size, salt)

    def _count(self, asked: int, hit: int, outside: int) -> None:
        if self.prefix_caching:
            self._asked += asked
            self._hit += hit
            self._outside += outside

    def _check_open(self, seq_id: int, tokens: Sequence[int], budget: int, reserve: int, outside: int) -> None:
        self._require_new(seq_id)
        if not len(tokens):
            raise ValueError("tokens must not be empty: there would be nothing to compute")
        require_count("budget", budget)
        require_count("reserve", reserve, least=0)
        require_count("outside", outside, least=0)
