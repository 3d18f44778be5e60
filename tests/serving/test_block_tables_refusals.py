"""Block tables: what is refused, by name and before anything is changed."""

from typing import Any

import pytest

from kb.serving.block_tables import BlockTables
from kb.serving.table_statistics import empty_slots
from tests.serving.block_filling import filled, state


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"seq_id": 7}, "sequence 7 is open already"),
        ({"seq_id": "8"}, "id must be an integer, got '8'"),
        ({"tokens": []}, "tokens must not be empty"),
        ({"budget": 0}, "budget must be an integer of at least 1, got 0"),
        ({"budget": 1.5}, "budget must be"),
        ({"salt": ""}, "salt must not be empty"),
        ({"reserve": -1}, "reserve must be an integer of at least 0, got -1"),
        ({"outside": -1}, "outside must be"),
        ({"outside": True}, "outside must be"),
    ],
)
def test_refuses_to_open(change: dict[str, Any], error: str) -> None:
    tables = filled(8, 8)
    tables.open(7, range(5), 5)
    before = state(tables)
    with pytest.raises(ValueError, match=error):
        tables.open(**{"seq_id": 8, "tokens": range(9), "budget": 4, **change})
    assert state(tables) == before


def test_refuses_a_salt_that_is_no_string() -> None:
    tables = filled(8, 8)
    for method in (
        tables.cached_prefix,
        tables.outside_digests,
        lambda tokens, salt: tables.open(1, tokens, 1, salt=salt),
    ):
        with pytest.raises(TypeError, match="salt must be a string or None, got 5"):
            method(range(9), 5)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (4, 2), (9, 10), (5.0, 6), (5, 6.0), (True, 6), ("5", 6)])
def test_refuses_to_grow_where_nothing_can_be_written(start: Any, end: Any) -> None:
    tables = filled(8, 8)
    tables.open(1, range(6), 6)
    before = state(tables)
    for method in (tables.grow, tables.blocks_needed):
        with pytest.raises(ValueError, match="start must be from 0 to the room for 8 tokens, and end after it"):
            method(1, start, end)
    assert state(tables) == before


@pytest.mark.parametrize(("end", "length"), [(9, 20), (13, 12), (-1, 20), (8.0, 20)])
def test_refuses_to_fill_what_is_not_there(end: Any, length: int) -> None:
    tables = BlockTables(8, 4)
    tables.open(1, range(8), 8)
    with pytest.raises(ValueError, match=rf"end must be from 0 to the {length} tokens and the room for 8, got {end}"):
        tables.fill(1, range(length), end)
    assert len(tables.prefix) == 0


def test_refuses_another_salt_than_the_one_it_was_opened_with() -> None:
    tables = BlockTables(8, 4)
    tables.open(1, range(8), 8, salt="a")
    with pytest.raises(ValueError, match="salt must be 'a' as when sequence 1 was opened, got 'b'"):
        tables.fill(1, range(8), 8, "b")
    tables.fill(1, range(8), 8)
    assert tables.cached_prefix(range(9), "a") == [0, 1]
    assert tables.cached_prefix(range(9)) == []


def test_refuses_sequences_that_are_not_open() -> None:
    tables = BlockTables(8, 4)
    tables.open(1, range(3), 3)
    for call in (
        lambda: tables.grow(2, 0, 1),
        lambda: tables.blocks_needed(2, 0, 1),
        lambda: tables.fill(2, range(4), 4),
        lambda: tables.fork(2, 3),
        lambda: tables.forget(2, 0),
        lambda: tables.blocks(2),
        lambda: tables.close(2),
    ):
        with pytest.raises(ValueError, match="sequence 2 is not open"):
            call()
    with pytest.raises(ValueError, match="sequence 1 is open already"):
        tables.fork(1, 1)
    with pytest.raises(ValueError, match="from_token must be an integer of at least 0, got -1"):
        tables.forget(1, -1)
    tables.close(1)
    with pytest.raises(ValueError, match="sequence 1 is not open"):
        tables.close(1)
    assert tables.num_free == 8


@pytest.mark.parametrize(
    ("length", "error"), [(-1, "of at least 0, got -1"), (9, "at most the room for 8 tokens, got 9")]
)
def test_refuses_lengths_that_cannot_be(length: int, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        empty_slots([([0, 1], length)], 4)


@pytest.mark.parametrize(("num_blocks", "block_size"), [(0, 4), (4, 0), (-1, 4), (4, 2.0)])
def test_refuses_no_blocks(num_blocks: Any, block_size: Any) -> None:
    with pytest.raises(ValueError, match="must be an integer of at least 1"):
        BlockTables(num_blocks, block_size)
