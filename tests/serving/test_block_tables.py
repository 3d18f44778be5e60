"""Block tables: chunks, tiers, failed steps, statistics and cost."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from kb.serving.block_tables import BlockTables, Copy
from kb.serving.table_statistics import TableStatistics
from tests.serving.block_filling import filled, state


@pytest.mark.parametrize(("budget", "end", "blocks"), [(1, 9, 3), (3, 11, 3), (4, 12, 3), (5, 13, 4), (99, 14, 4)])
def test_opens_with_room_for_the_first_chunk_only(budget: int, end: int, blocks: int) -> None:
    tables = filled(8, 8)
    assert tables.open(1, range(14), budget) == (8, end)
    assert tables.blocks(1)[:2] == [0, 1]
    assert len(tables.blocks(1)) == blocks


@pytest.mark.parametrize(("tokens", "cached"), [(1, 0), (4, 0), (5, 4), (8, 4), (9, 8), (20, 8)])
def test_leaves_a_token_to_compute(tokens: int, cached: int) -> None:
    tables = filled(8, 8)
    assert len(tables.cached_prefix(range(tokens))) * 4 == cached
    assert tables.open(1, range(tokens), 1) == (cached, cached + 1)


@pytest.mark.parametrize(("reserve", "opens"), [(0, True), (3, True), (4, False), (6, False)])
def test_keeps_the_reserve_free(reserve: int, opens: bool) -> None:
    # Six blocks are free; two of them are hit, and one is added.
    tables = filled(6, 8)
    before = state(tables)
    assert (tables.open(1, range(12), 4, reserve=reserve) is not None) == opens
    if opens:
        assert tables.num_free == 3
    else:
        assert state(tables) == before


@pytest.mark.parametrize(("outside", "cached"), [(0, 8), (1, 12), (2, 16), (3, 20), (4, 20), (99, 20)])
def test_blocks_of_a_slower_tier_get_room_and_count_as_cached(outside: int, cached: int) -> None:
    tables = filled(9, 8)
    assert tables.open(1, range(24), 2, outside=outside) == (cached, cached + 2)
    assert len(tables.blocks(1)) == cached // 4 + 1
    assert tables.statistics == TableStatistics(asked=32, hit=8, outside=cached - 8)
    assert len(tables.prefix) == 2  # not findable until they are loaded
    tables.fill(1, range(24), cached)
    assert len(tables.prefix) == cached // 4


def test_a_slower_tier_is_asked_for_what_the_device_lacks() -> None:
    tables = filled(8, 8, salt="a")
    digests = tables.prefix.digests(range(18), "a")
    assert len(digests) == 4
    assert tables.outside_digests(range(18), "a") == digests[2:]
    assert tables.outside_digests(range(18)) == tables.prefix.digests(range(18))
    assert BlockTables(1, 4, prefix_caching=False).outside_digests(range(18), "a") == digests


def test_a_step_that_failed_leaves_nothing_to_be_found() -> None:
    tables = filled(8, 8)
    assert tables.open(1, range(18), 99) == (8, 18)
    tables.fill(1, range(18), 18)
    assert len(tables.cached_prefix(range(18))) == 4
    tables.forget(1, 8)
    assert len(tables.cached_prefix(range(18))) == 2
    tables.close(1)
    assert tables.open(2, range(18), 99) == (8, 18)


def test_a_step_can_be_done_again_after_it_failed() -> None:
    tables = BlockTables(8, 4)
    assert tables.open(1, range(8), 8) == (0, 8)
    tables.fill(1, range(8), 8)
    tables.forget(1, 5)
    assert tables.cached_prefix(range(9)) == [0]
    assert tables.grow(1, 4, 8) == []
    tables.fill(1, range(8), 8)
    assert tables.cached_prefix(range(9)) == [0, 1]


def test_what_was_forgotten_under_a_fork_does_not_lead_it_astray() -> None:
    tables = BlockTables(8, 4)
    tables.open(1, range(8), 8)
    tables.fill(1, range(8), 8)
    tables.fork(1, 2)
    tables.forget(1, 0)
    assert tables.grow(2, 8, 12) == []
    tables.fill(2, range(12), 12)  # its parents are gone from the cache
    assert tables.cached_prefix(range(13)) == []
    tables.fill(1, range(8), 8)
    assert tables.cached_prefix(range(13)) == [0, 1, 2]


def test_what_is_written_over_can_no_longer_be_found() -> None:
    tables = BlockTables(8, 4)
    tables.open(1, range(8), 8)
    tables.fill(1, range(8), 8)
    assert tables.grow(1, 6, 8) == []
    assert tables.cached_prefix(range(9)) == [0]
    tables.fill(1, [0, 1, 2, 3, 4, 5, 60, 70], 8)
    assert tables.cached_prefix([0, 1, 2, 3, 4, 5, 60, 70, 8]) == [0, 1]


def test_a_fork_that_turns_back_writes_into_a_copy_and_the_original_stays_to_be_found() -> None:
    tables = BlockTables(8, 4)
    tables.open(1, range(8), 8)
    tables.fill(1, range(8), 8)
    tables.fork(1, 2)
    assert tables.grow(2, 6, 9) == [Copy(1, 2)]
    assert tables.blocks(2) == [0, 2, 3]
    tables.fill(2, [0, 1, 2, 3, 4, 5, 60, 70, 80], 9)
    assert tables.cached_prefix(range(9)) == [0, 1]
    assert tables.cached_prefix([0, 1, 2, 3, 4, 5, 60, 70, 9]) == [0, 2]


def test_growth_that_does_not_fit_changes_nothing() -> None:
    tables = filled(4, 8)
    tables.open(1, range(6), 6)
    tables.fork(1, 2)
    before = state(tables)
    assert tables.blocks_needed(2, 6, 16) == 3
    assert tables.grow(2, 6, 16) is None
    assert state(tables) == before
    assert tables.grow(2, 6, 12) == [Copy(2, 3)]


@pytest.mark.parametrize(
    "step",
    [lambda tables: tables.open(2, [0, 1, 2, 3, *range(50, 62)], 99), lambda tables: tables.grow(1, 6, 16)],
    ids=["open", "grow"],
)
def test_a_tier_that_refuses_loses_no_block(step: Callable[[BlockTables], Any]) -> None:
    def refuse(block: int, digest: bytes) -> None:
        raise OSError("no space left")

    tables = filled(6, 12)
    assert tables.open(1, range(90, 96), 6) == (0, 6)
    blocks, free = tables.blocks(1), sorted(tables.pool.free_order())
    tables.on_evict = refuse
    with pytest.raises(OSError, match="no space left"):
        step(tables)
    assert tables.sequences() == [1]
    assert tables.blocks(1) == blocks
    assert sorted(tables.pool.free_order()) == free
    assert tables.cached_prefix(range(13)) == [0, 1, 2]
    assert tables.statistics.asked == 12 + 6
    tables.on_evict = None
    assert step(tables) is not None


def test_counts_what_is_used_shared_copied_and_wasted() -> None:
    tables = BlockTables(8, 4)
    assert tables.waste({}) == 0.0
    tables.open(1, range(6), 6)
    tables.fork(1, 2)
    assert (tables.num_used, tables.num_shared, tables.num_free) == (2, 2, 6)
    assert tables.waste({1: 6, 2: 6}) == 2 / 8
    assert tables.grow(2, 6, 7) == [Copy(1, 2)]
    assert (tables.num_used, tables.num_shared) == (3, 1)
    assert tables.waste({1: 6, 2: 7}) == 3 / 12
    assert tables.grow(2, 7, 13) == []
    assert tables.waste({1: 6, 2: 7}) == (2 + 1 + 4 + 4) / 20
    assert tables.statistics == TableStatistics(asked=6, copies=1)
    assert tables.sequences() == [1, 2]


def test_the_hit_rate_is_a_share_of_the_tokens_asked_for() -> None:
    tables = filled(8, 8)
    tables.open(1, range(12), 99)
    assert tables.statistics.hit_rate == 8 / 20
    assert TableStatistics().hit_rate == 0.0


def test_a_step_of_256_decoding_sequences_costs_far_less_than_2_ms() -> None:
    tables, tokens = BlockTables(8192, 16), list(range(300))
    for i in range(256):
        tables.open(i, [i, *tokens[1:200]], 200)
    start = time.process_time()
    for end in range(200, 260):
        for i in range(256):
            tables.grow(i, end, end + 1)
            tables.fill(i, tokens, end)
    # About 0.1 ms, and 0.8 ms in a step in which all reach a new block.
    assert (time.process_time() - start) / 60 < 2e-3
