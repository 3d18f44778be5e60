"""How vLLM's V0 tested growing, forking and copying on write, followed on ours in all sizes.

Source: tests/core/block/test_block_table.py (up to version 0.9).
"""

import pytest

from kb.serving.block_tables import BlockTables, Copy
from tests.serving.block_filling import append, start


@pytest.mark.parametrize("prefix_caching", [False, True])
@pytest.mark.parametrize("length", [1, 16, 129])
def test_allocation(length: int, prefix_caching: bool) -> None:
    # V0 shares the last block too, if it is full; since V1 one token is left to be computed, which costs its block.
    tables, blocks = BlockTables(1024, 16, prefix_caching=prefix_caching), -(-length // 16)
    for i in range(5):
        start(tables, i, list(range(length)))
        assert tables.num_free == 1024 - blocks - i * (1 if prefix_caching else blocks)
    for i in range(5):
        tables.close(i)
    assert tables.num_free == 1024


@pytest.mark.parametrize("prefix_caching", [False, True])
@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("length", [1, 16, 129])
@pytest.mark.parametrize("added", [1, 16, 129])
def test_appending_takes_the_blocks_it_needs(size: int, length: int, added: int, prefix_caching: bool) -> None:
    tables, tokens = BlockTables(1024, size, prefix_caching=prefix_caching), list(range(length))
    assert len(start(tables, 0, tokens)) == -(-length // size)
    wanted = -(-(length + added) // size)
    assert tables.blocks_needed(0, length, length + added) == wanted - -(-length // size)
    assert tables.grow(0, length, length + added) == []  # empty slots, reserved
    free = tables.num_free
    assert append(tables, 0, tokens, list(range(added))) == []  # and then filled: no further block
    assert len(tables.blocks(0)) == wanted
    assert tables.num_free == free == 1024 - wanted


@pytest.mark.parametrize("prefix_caching", [False, True])
@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("length", [1, 9, 129])
def test_fork(length: int, size: int, prefix_caching: bool) -> None:
    tables = BlockTables(1024, size, prefix_caching=prefix_caching)
    blocks = start(tables, 0, list(range(length)))
    free = tables.num_free
    tables.fork(0, 1)
    assert tables.blocks(1) == blocks
    assert [tables.pool.references(block) for block in blocks] == [2] * len(blocks)
    assert tables.num_free == free
    tables.close(0)
    assert tables.num_free == free
    assert tables.blocks(1) == blocks
    tables.close(1)
    assert tables.num_free == 1024


@pytest.mark.parametrize("prefix_caching", [False, True])
@pytest.mark.parametrize("writer", [0, 1])
@pytest.mark.parametrize("length", [1, 16, 129])
@pytest.mark.parametrize("added", [1, 16, 129])
def test_copy_on_write(length: int, added: int, writer: int, prefix_caching: bool) -> None:
    tables, tokens = BlockTables(1024, 8, prefix_caching=prefix_caching), list(range(length))
    before = start(tables, 0, tokens)
    tables.fork(0, 1)
    assert tables.num_free == 1024 - len(before)
    new = -(-(length + added) // 8) - length // 8
    assert tables.blocks_needed(writer, length, length + added) == new
    copies = append(tables, writer, tokens, list(range(added)))
    other, written = tables.blocks(1 - writer), tables.blocks(writer)
    assert other == before
    assert written != before
    assert tables.num_free == 1024 - len(before) - new
    # Only a partial last block is copied: from where it was to where the writer has it now.
    place = length // 8
    assert copies == ([Copy(before[place], written[place])] if length % 8 else [])
    assert [tables.pool.references(block) for block in written] == [2] * place + [1] * new
    tables.close(0)
    tables.close(1)
    assert tables.num_free == 1024


@pytest.mark.parametrize("writer", [0, 1])
@pytest.mark.parametrize("length", [1, 16, 129])
@pytest.mark.parametrize("added", [1, 16, 129])
@pytest.mark.parametrize("ahead", [1, 16, 129])
def test_copy_on_write_of_slots_reserved_ahead(length: int, added: int, ahead: int, writer: int) -> None:
    tables, tokens = BlockTables(1024, 8), list(range(length))
    start(tables, 0, tokens)
    assert tables.grow(0, length, length + ahead) == []
    before = tables.blocks(0)
    tables.fork(0, 1)
    copies = append(tables, writer, tokens, list(range(added)))
    written = tables.blocks(writer)
    assert tables.blocks(1 - writer) == before
    touched = range(length // 8, min(-(-(length + added) // 8), len(before)))
    assert copies == [Copy(before[place], written[place]) for place in touched]
    assert copies
    tables.close(0)
    tables.close(1)
    assert tables.num_free == 1024
