"""The random numbers: jumping ahead is stepping, and samples have what was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt.sampling.drawing import INCREMENT, MASK, MULTIPLIER, Drawing


def test_jumping_ahead_is_stepping() -> None:
    for seed in (0, 1, 12345, 2**32 - 1):
        state, wanted = seed, []
        for _ in range(100):
            state = (MULTIPLIER * state + INCREMENT) & MASK
            wanted.append(state >> 16 & 0x7FFF)
        drawing = Drawing(seed)
        parts = [drawing.shorts(count) for count in (1, 0, 62, 37)]
        np.testing.assert_array_equal(np.concatenate(parts), wanted)
        assert drawing.state == state


@pytest.mark.parametrize(("total", "count"), [(10, 10), (10, 0), (1000, 3), (1000, 900), (5, 1), (8, 4)])
def test_a_sample_is_in_order_and_without_repetition(total: int, count: int) -> None:
    for seed in range(5):
        chosen = Drawing(seed).sample(total, count)
        assert (np.diff(chosen) > 0).all()
        assert ((chosen >= 0) & (chosen < total)).all()
        assert len(chosen) == count
        np.testing.assert_array_equal(chosen, Drawing(seed).sample(total, count))


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3000), st.data())
def test_a_compiled_pass_is_the_loop_and_leaves_the_same_state(seed: int, total: int, data: st.DataObject) -> None:
    pytest.importorskip("numba")
    from kb.gbdt.sampling import drawing_numba

    count = data.draw(st.integers(1, total - 1))
    loop = Drawing(seed)
    wanted = loop.one_pass_loop(total, count)
    chosen, state = drawing_numba.one_pass(seed, total, count)
    np.testing.assert_array_equal(chosen, wanted)
    assert (chosen.dtype, state) == (wanted.dtype, loop.state)


def test_each_place_is_drawn_as_often_as_any_other() -> None:
    drawing = Drawing(3)
    for total, count in ((20, 3), (20, 15)):
        drawn = np.bincount(np.concatenate([drawing.sample(total, count) for _ in range(4000)]), minlength=total)
        np.testing.assert_allclose(drawn / 4000, count / total, atol=0.04)


def test_more_than_there_are_is_refused() -> None:
    for count in (-1, 6):
        with pytest.raises(ValueError, match="count"):
            Drawing(0).sample(5, count)
