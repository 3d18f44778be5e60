"""Block tables that tests open, fill and look at."""

from typing import Any

from kb.serving.block_tables import BlockTables, Copy


def start(tables: BlockTables, seq_id: int, tokens: list[int], salt: str | None = None) -> list[int]:
    """Open a sequence with all its tokens, as one prefill does, and return its table."""
    assert tables.open(seq_id, tokens, len(tokens), salt=salt) is not None
    tables.fill(seq_id, tokens, len(tokens))
    return tables.blocks(seq_id)


def append(tables: BlockTables, seq_id: int, tokens: list[int], new: list[int]) -> list[Copy]:
    """Append tokens to a sequence, in place, and return what has to be copied."""
    copies = tables.grow(seq_id, len(tokens), len(tokens) + len(new))
    assert copies is not None
    tokens += new
    tables.fill(seq_id, tokens, len(tokens))
    return copies


def filled(num_blocks: int, tokens: int, *, salt: str | None = None, **options: Any) -> BlockTables:
    """Tables of blocks of 4 whose first blocks are free and hold the tokens 0, 1, 2, …"""
    tables = BlockTables(num_blocks, 4, **options)
    assert tables.open(0, range(tokens), tokens, salt=salt) == (0, tokens)
    tables.fill(0, range(tokens), tokens)
    tables.close(0)
    return tables


def state(tables: BlockTables) -> Any:
    """All that can be seen of the tables."""
    blocks = range(tables.pool.num_blocks)
    return (
        {seq_id: tables.blocks(seq_id) for seq_id in tables.sequences()},
        tables.pool.free_order(),
        [tables.pool.references(block) for block in blocks],
        [tables.prefix.digest(block) for block in blocks if block in tables.prefix],
        tables.prefix.num_nodes,
        tables.statistics,
    )
