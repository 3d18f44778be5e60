"""What vLLM documents and tests of its block manager, followed on ours: numbers, orders and counts are theirs.

Sources: vLLM docs/design/prefix_caching.md; tests/v1/core/test_prefix_caching.py. Two differences: vLLM keeps its
block 0 for padding, so its ids are ours plus one; and its latest versions put freed partial blocks at the head of the
queue, where its document, and this package, put them at the tail.
"""

import pytest

from kb.serving.block_tables import BlockTables
from tests.serving.block_filling import append, start

COMMON = [i for i in range(3) for _ in range(16)]  # three full blocks of 16


def cached(tables: BlockTables) -> list[int]:
    return [block for block in range(tables.pool.num_blocks) if block in tables.prefix]


def test_the_worked_example() -> None:
    tables = BlockTables(10, 4)
    # Time 1: request 0 has three full blocks, and one with three of four tokens.
    request_0 = list(range(15))
    assert start(tables, 0, request_0) == [0, 1, 2, 3]
    assert tables.pool.free_order() == [4, 5, 6, 7, 8, 9]
    assert cached(tables) == [0, 1, 2]
    # Time 2 and 3: block 3 becomes full, then block 4 is needed.
    assert append(tables, 0, request_0, [15]) == []
    assert cached(tables) == [0, 1, 2, 3]
    assert tables.blocks(0) == [0, 1, 2, 3]
    assert append(tables, 0, request_0, [16]) == []
    assert tables.blocks(0) == [0, 1, 2, 3, 4]
    assert tables.pool.free_order() == [5, 6, 7, 8, 9]
    # Time 4: of request 1, the first 10 of 14 tokens are request 0's; two blocks are hit, the third matches half.
    request_1 = [*range(10), 90, 91, 92, 93]
    assert tables.cached_prefix(request_1) == [0, 1]
    assert start(tables, 1, request_1) == [0, 1, 5, 6]
    assert [tables.pool.references(block) for block in range(7)] == [2, 2, 1, 1, 1, 1, 1]
    assert tables.pool.free_order() == [7, 8, 9]
    # Time 5: request 0 is done; blocks 0 and 1 are still request 1's.
    tables.close(0)
    assert tables.pool.free_order() == [7, 8, 9, 4, 3, 2]
    assert cached(tables) == [0, 1, 2, 3, 5]
    # Time 6: request 1 is done.
    tables.close(1)
    assert tables.pool.free_order() == [7, 8, 9, 4, 3, 2, 6, 5, 1, 0]
    # Time 7: of request 2, the first 12 of 29 tokens are request 0's.
    request_2 = [*range(12), *range(100, 117)]
    assert tables.cached_prefix(request_2) == [0, 1, 2]
    assert start(tables, 2, request_2) == [0, 1, 2, 7, 8, 9, 4, 3]
    assert tables.pool.free_order() == [6, 5]
    assert cached(tables) == [0, 1, 2, 4, 5, 7, 8, 9]
    assert tables.statistics.evictions == 1
    assert (tables.statistics.asked, tables.statistics.hit) == (15 + 14 + 29, 8 + 12)


def test_duplicated_blocks() -> None:
    tables = BlockTables(10, 4)
    first, second = list(b"ABCDEFG"), list(b"ABCDEFG")
    assert start(tables, 1, first) == [0, 1]
    append(tables, 1, first, list(b"HI"))
    assert tables.blocks(1) == [0, 1, 2]
    assert start(tables, 2, second) == [0, 3]
    append(tables, 2, second, list(b"H"))
    assert tables.blocks(2) == [0, 3]  # a table only ever grows
    assert cached(tables) == [0, 1, 3]
    assert tables.cached_prefix([*second, 0]) == [0, 1]


def test_prefill() -> None:
    tables = BlockTables(10, 16)
    assert start(tables, 0, COMMON + [3] * 7) == [0, 1, 2, 3]
    assert cached(tables) == [0, 1, 2]
    assert [tables.pool.references(block) for block in range(4)] == [1, 1, 1, 1]
    assert start(tables, 1, COMMON + [3] * 5) == [0, 1, 2, 4]
    assert [tables.pool.references(block) for block in range(5)] == [2, 2, 2, 1, 1]
    assert tables.num_free == 5
    tables.close(0)
    tables.close(1)
    assert tables.pool.free_order() == [5, 6, 7, 8, 9, 3, 4, 2, 1, 0]
    assert start(tables, 2, COMMON + [3] * 6) == [0, 1, 2, 5]
    assert tables.num_free == 6
    assert tables.pool.free_order() == [6, 7, 8, 9, 3, 4]
    tables.close(2)
    assert start(tables, 3, [99] * 160) == [6, 7, 8, 9, 3, 4, 5, 2, 1, 0]
    assert tables.num_free == 0
    assert tables.pool.free_order() == []


def test_decode() -> None:
    tables, tokens = BlockTables(10, 16), COMMON + [3] * 7
    start(tables, 0, tokens)
    append(tables, 0, tokens, [8] * 4)
    assert tables.blocks(0) == [0, 1, 2, 3]
    assert 3 not in tables.prefix
    append(tables, 0, tokens, [7] * 19)
    assert tables.blocks(0) == [0, 1, 2, 3, 4]
    assert (3 in tables.prefix, 4 in tables.prefix) == (True, False)


def test_evict() -> None:
    tables = BlockTables(10, 16)
    assert len(start(tables, 0, list(range(5 * 16 + 7)))) == 6
    assert len(start(tables, 1, list(range(87, 87 + 3 * 16)))) == 3
    assert tables.num_free == 1
    tables.close(0)
    assert tables.pool.free_order() == [9, 5, 4, 3, 2, 1, 0]
    tables.close(1)
    assert tables.pool.free_order() == [9, 5, 4, 3, 2, 1, 0, 8, 7, 6]
    assert start(tables, 2, list(range(2 * 16 + 3))) == [0, 1, 9]
    assert tables.num_free == 7


def test_a_reused_block_forgets_what_it_held() -> None:
    tables = BlockTables(1, 16)
    start(tables, 0, list(range(16)))
    tables.close(0)
    assert cached(tables) == [0]
    assert start(tables, 1, list(range(15))) == [0]
    assert cached(tables) == []


def test_hit_blocks_are_not_the_ones_evicted() -> None:
    tables = BlockTables(2, 16)
    assert start(tables, 0, list(range(16))) == [0]
    assert start(tables, 1, list(range(16, 32))) == [1]
    tables.close(0)
    tables.close(1)
    assert tables.pool.free_order() == [0, 1]
    assert tables.cached_prefix(list(range(32))) == [0]
    assert start(tables, 2, list(range(32))) == [0, 1]


def test_without_prefix_caching() -> None:
    tables = BlockTables(4, 4, prefix_caching=False)
    assert len(start(tables, 1, list(range(10)))) == 3
    tables.close(1)
    assert tables.cached_prefix(list(range(16))) == []
    assert len(start(tables, 2, list(range(16)))) == 4
    assert tables.open(3, list(range(4)), 4) is None
    assert cached(tables) == []
    assert (tables.statistics.asked, tables.statistics.hit, tables.statistics.hit_rate) == (0, 0, 0.0)


def test_full_blocks_enter_as_they_become_full() -> None:
    tables, tokens = BlockTables(4, 4), list(range(14))
    assert tables.open(0, tokens, 8) == (0, 8)
    tables.fill(0, tokens, 8)
    assert len(tables.prefix) == 2
    assert tables.grow(0, 8, 14) == []
    tables.fill(0, tokens, 11)
    assert len(tables.prefix) == 2
    tables.fill(0, tokens, 14)
    assert len(tables.prefix) == 3


def test_salts() -> None:
    tables, tokens = BlockTables(10, 16), COMMON + [3] * 11
    assert start(tables, 0, tokens, salt="salt1") == [0, 1, 2, 3]
    append(tables, 0, tokens, [8] * 5)
    assert len(tables.prefix) == 4
    again = COMMON + [4] * 11
    assert tables.cached_prefix(again, "salt1") == [0, 1, 2]
    assert tables.cached_prefix(again, "salt2") == []
    assert tables.cached_prefix(again) == []


def test_what_cannot_be_allocated_touches_nothing() -> None:
    tables = BlockTables(10, 16)
    start(tables, 0, list(COMMON))
    both = start(tables, 1, COMMON * 2)
    assert both == [0, 1, 2, 3, 4, 5]
    tables.close(1)
    start(tables, 2, [7] * 32)
    assert tables.num_free == 5
    order = tables.pool.free_order()
    assert tables.cached_prefix(COMMON * 3) == both
    assert tables.open(3, COMMON * 3, 200) is None
    assert [tables.pool.references(block) for block in both] == [1, 1, 1, 0, 0, 0]
    assert tables.pool.free_order() == order
    assert tables.sequences() == [0, 2]


def test_reset() -> None:
    tables = BlockTables(10, 16)
    assert start(tables, 0, COMMON + [3] * 7) == [0, 1, 2, 3]
    assert start(tables, 1, COMMON + [4] * 7) == [0, 1, 2, 4]
    assert not tables.prefix.reset()
    assert len(tables.prefix) == 3
    tables.close(0)
    tables.close(1)
    assert tables.prefix.reset()
    assert len(tables.prefix) == 0
    assert tables.cached_prefix([*COMMON, 5]) == []


@pytest.mark.parametrize("num_blocks", [2, 3, 10])
def test_events_of_eviction(num_blocks: int) -> None:
    heard: list[bytes] = []
    tables = BlockTables(num_blocks, 16, on_evict=lambda block, digest: heard.append(digest))
    tokens = list(range(16 * num_blocks))
    start(tables, 0, tokens)
    stored = tables.prefix.digests(tokens)
    assert len(tables.prefix) == len(stored) == num_blocks
    assert heard == []
    tables.close(0)
    # All but the last block are hit, since one token must be computed: only that one is evicted, and filled again.
    start(tables, 1, tokens)
    assert heard == stored[-1:]
    tables.close(1)
    start(tables, 2, [-1] * 16 * num_blocks)
    assert heard[1:] == stored[::-1]
