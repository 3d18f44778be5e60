"""Sinusoidal positions: loop = fast = transformers, and a shift turns each pair; learned positions = nn.Embedding."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions

from kb.nn import (
    LearnedPositions,
    RopeParameters,
    half_split_order,
    inverse_frequencies,
    shift_matrix,
    sinusoidal_positions,
    sinusoidal_positions_loop,
)


def test_first_rows_by_hand() -> None:
    table = sinusoidal_positions(2, 4)
    assert table[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert table[1].tolist() == pytest.approx([0.8414710, 0.5403023, 0.0099998, 0.9999500], abs=1e-7)


@settings(max_examples=25)
@given(length=st.integers(1, 40), pairs=st.integers(1, 16), base=st.sampled_from([1.0, 10.0, 1e4, 5e5]))
def test_loop_equals_fast_path(length: int, pairs: int, base: float) -> None:
    fast = sinusoidal_positions(length, 2 * pairs, base=base, dtype=torch.float64)
    torch.testing.assert_close(fast, sinusoidal_positions_loop(length, 2 * pairs, base=base), rtol=1e-12, atol=1e-12)
    assert torch.equal(
        fast[length // 2 :],
        sinusoidal_positions(length - length // 2, 2 * pairs, base=base, start=length // 2, dtype=torch.float64),
    )


def test_equals_transformers_but_for_the_order_of_features() -> None:
    ours, theirs = sinusoidal_positions(512, 32), create_sinusoidal_positions(512, 32)
    torch.testing.assert_close(ours[:, half_split_order(32)], theirs, rtol=0, atol=1e-4)  # their angles are float32


@settings(max_examples=25)
@given(position=st.integers(0, 5000), offset=st.integers(-100, 5000), pairs=st.integers(1, 8))
def test_a_shift_turns_each_pair_whatever_the_position(position: int, offset: int, pairs: int) -> None:
    offset = max(offset, -position)
    here = sinusoidal_positions(1, 2 * pairs, start=position, dtype=torch.float64)[0]
    there = sinusoidal_positions(1, 2 * pairs, start=position + offset, dtype=torch.float64)[0]
    matrix = shift_matrix(offset, 2 * pairs)
    torch.testing.assert_close(matrix @ here, there, rtol=0, atol=1e-10)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(2 * pairs, dtype=torch.float64), rtol=0, atol=1e-12)
    distance = here @ there  # depends on the offset alone, and so cannot tell before from after
    torch.testing.assert_close(distance, matrix.trace() / 2, rtol=0, atol=1e-10)


def test_angles_are_those_of_rotary_positions() -> None:
    frequencies = inverse_frequencies(RopeParameters(), 16)[0]
    torch.testing.assert_close(sinusoidal_positions(2, 16)[1, 0::2], frequencies.sin(), rtol=1e-6, atol=1e-7)


def test_learned_positions_equal_an_embedding_in_value_and_gradient() -> None:
    ours = LearnedPositions(8, 6, generator=torch.Generator().manual_seed(0))
    theirs = torch.nn.Embedding(8, 6)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    out, wanted = ours(x, start=4), x + theirs(torch.arange(4, 7))
    assert torch.equal(out, wanted)
    out.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    assert ours.weight.grad is not None
    assert ours.weight.grad[:4].count_nonzero() == 0  # never seen, never learned
    again = LearnedPositions(8, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours.weight, again.weight)


def test_learned_positions_end() -> None:
    with pytest.raises(ValueError, match="position 8, but the last learned one is 7"):
        LearnedPositions(8, 6)(torch.ones(1, 3, 6), start=6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length"),
        ({"width": 5}, "even"),
        ({"width": 0}, "width"),
        ({"base": 0.5}, "base"),
        ({"base": float("nan")}, "base"),
        ({"start": -1}, "start"),
    ],
)
def test_refuses_bad_tables(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sinusoidal_positions(**{"length": 3, "width": 4, **options})


def test_refuses_other_bad_input() -> None:
    with pytest.raises(TypeError, match="dtype"):
        sinusoidal_positions(3, 4, dtype=torch.int64)
    with pytest.raises(TypeError, match="offset"):
        shift_matrix(1.5, 4)  # type: ignore[arg-type]
    for options in ({"max_positions": 0}, {"width": 0}, {"std": -1.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            LearnedPositions(**{"max_positions": 2, "width": 2, **options})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[\.\.\., T, 6\]"):
        LearnedPositions(8, 6)(torch.ones(1, 3, 5))
