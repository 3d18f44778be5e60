"""The layout of a step against its definition, token by token; and what it refuses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.serving.step_layout import StepLayout


def test_three_requests_by_hand() -> None:
    # One decodes its token 5, one reads a whole prompt of 9, one the tokens 4 and 5 of a longer prompt; blocks of 4.
    chunks = [([7, 2], 5, 6), ([0, 5, 3], 0, 9), ([4, 1, 6], 4, 6)]
    layout = StepLayout.from_chunks(chunks, block_size=4, num_blocks=8)
    assert layout.queries == (1, 9, 2)
    assert layout.lengths == (6, 9, 6)
    assert layout.offsets == (0, 1, 10, 12)
    assert layout.positions_T.tolist() == [5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 5]
    assert layout.slots_T.tolist() == [2 * 4 + 1, 0, 1, 2, 3, 20, 21, 22, 23, 12, 1 * 4, 1 * 4 + 1]
    assert layout.tables_RW.tolist() == [[7, 2, 0], [0, 5, 3], [4, 1, 0]]  # block 6 is not needed yet
    assert layout.lengths_R.tolist() == [6, 9, 6]
    assert layout.offsets_Z.tolist() == [0, 1, 10, 12]
    assert layout.chunked == (1,)
    assert layout.rows_D.tolist() == [0, 10, 11]
    assert layout.owners_D.tolist() == [0, 2, 2]


@st.composite
def steps(draw: st.DrawFn) -> tuple[int, list[tuple[list[int], int, int]]]:
    block_size, blocks = draw(st.integers(1, 9)), list(draw(st.permutations(range(60))))
    chunks = []
    for _ in range(draw(st.integers(0, 5))):
        end = draw(st.integers(1, min(10 * block_size, 30)))
        needed = -(-end // block_size)
        chunks.append(([blocks.pop() for _ in range(needed)] + [0] * draw(st.integers(0, 2)), end, needed))
    return block_size, [(table, draw(st.integers(0, end - 1)), end) for table, end, _ in chunks if len(table) <= 30]


@settings(max_examples=60)
@given(step=steps())
def test_every_token_has_the_slot_that_its_table_says(step: tuple[int, list[tuple[list[int], int, int]]]) -> None:
    block_size, chunks = step
    layout = StepLayout.from_chunks(chunks, block_size=block_size, num_blocks=60)
    tokens = [(r, position) for r, (_, start, end) in enumerate(chunks) for position in range(start, end)]
    assert layout.positions_T.tolist() == [position for _, position in tokens]
    assert layout.slots_T.tolist() == [
        chunks[r][0][position // block_size] * block_size + position % block_size for r, position in tokens
    ]
    assert [layout.tables_RW.shape[0], layout.offsets[-1]] == [len(chunks), len(tokens)]
    # Every row is attended once: one by one, or with its request.
    one_by_one = list(zip(layout.rows_D.tolist(), layout.owners_D.tolist(), strict=True))
    together = [(row, r) for r in layout.chunked for row in range(*layout.offsets[r : r + 2])]
    assert sorted(one_by_one + together) == [(row, r) for row, (r, _) in enumerate(tokens)]


def test_tables_may_be_any_sequence_of_integers() -> None:
    for table in ((3, 1), range(3, 5), np.array([3, 1])):
        layout = StepLayout.from_chunks([(table, 0, 5)], block_size=4, num_blocks=8)
        assert layout.tables_RW.tolist() == [list(table)]


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        ([([0, 1], 3, 3)], ValueError, "chunk 0 must have 0 <= start < end, got start 3 and end 3"),
        ([([0, 1], 0, 2), ([2], -1, 2)], ValueError, "chunk 1 must have 0 <= start < end"),
        ([([0, 1], 0, 9)], ValueError, "chunk 0 ends at token 9, which needs 3 blocks of 4, but its table has 2"),
        ([([0, 8], 0, 5)], ValueError, "block ids must be in 0 to 7, got 8"),
        ([([0, -1], 0, 5)], ValueError, "block ids must be in 0 to 7, got -1"),
        ([([1], 0, 3), ([1], 2, 4)], ValueError, "chunks 0 and 1 write the same slot 6"),
        ([([1, 1], 3, 8)], ValueError, "chunks 0 and 0 write the same slot 7"),
        ([([0.5], 0, 3)], TypeError, "block ids must be integers"),
        ([(["0"], 0, 3)], TypeError, "block ids must be integers"),
        ([([0], 0.0, 3)], TypeError, "starts must be integers"),
        ([([0], 0, None)], TypeError, "ends must be integers"),
        ([([0], False, True)], TypeError, "starts must be integers"),
    ],
)
def test_refuses_chunks_that_do_not_fit(chunks: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        StepLayout.from_chunks(chunks, block_size=4, num_blocks=8)


@pytest.mark.parametrize("name", ["block_size", "num_blocks"])
@pytest.mark.parametrize("value", [0, -1, 1.0, True])
def test_refuses_sizes_that_are_no_counts(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        StepLayout.from_chunks([([0], 0, 1)], **{"block_size": 4, "num_blocks": 8, name: value})
