"""What attention moves: the formula equals the count of a run whose result is attention."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.nn import FastMemory, largest_tile, simulate_tiled, standard_traffic, tiled_traffic


@settings(max_examples=40)
@given(
    N=st.integers(1, 30),
    d=st.integers(1, 6),
    memory=st.integers(30, 400),
    outer=st.sampled_from(["queries", "keys"]),
    seed=st.integers(0, 2**31),
)
def test_the_formula_is_the_count(N: int, d: int, memory: int, outer: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(N, d, generator=generator, dtype=torch.float64) for _ in range(3))
    out, traffic = simulate_tiled(q, k, v, memory, outer=outer)  # type: ignore[arg-type]
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v), rtol=1e-10, atol=1e-10)
    assert traffic.total == tiled_traffic(N, d, largest_tile(memory, d), outer=outer)  # type: ignore[arg-type]
    assert traffic.peak <= memory


@settings(max_examples=60)
@given(memory=st.integers(10, 100_000), width=st.integers(1, 128))
def test_the_largest_tile_fits_and_the_next_does_not(memory: int, width: int) -> None:
    def room(b: int) -> int:
        return 4 * b * width + b * b + 2 * b

    if memory < room(1):
        with pytest.raises(ValueError, match=f"at least {room(1)}"):
            largest_tile(memory, width)
    else:
        tile = largest_tile(memory, width)
        assert room(tile) <= memory < room(tile + 1)


def test_traffic_grows_as_theorem_2_says() -> None:
    # N² d² / M: four times for twice the length, half for twice the memory, once tiles are small beside the width.
    width, N = 64, 65_536
    small = tiled_traffic(N, width, largest_tile(4_000, width))
    assert tiled_traffic(2 * N, width, largest_tile(4_000, width)) / small == pytest.approx(4, rel=0.01)
    assert small / tiled_traffic(N, width, largest_tile(8_000, width)) == pytest.approx(2, rel=0.1)
    assert 8 * N**2 * width**2 / 4_000 == pytest.approx(small, rel=0.15)
    assert standard_traffic(2 * N, width) / standard_traffic(N, width) == pytest.approx(4, rel=0.01)


def test_three_rows_by_hand() -> None:
    assert standard_traffic(3, 2) == 4 * 6 + 4 * 9
    assert tiled_traffic(3, 2, 2) == 6 + 6 + 3 + 2 * 12
    assert tiled_traffic(3, 2, 2, outer="keys") == 12 + 2 * (18 + 12)
    assert [largest_tile(memory, 2) for memory in (11, 23, 24)] == [1, 1, 2]


def test_a_memory_that_is_full_says_so() -> None:
    chip = FastMemory(5)
    held = chip.load(torch.zeros(4))
    with pytest.raises(MemoryError, match="6 numbers in a fast memory of 5"):
        chip.keep(torch.zeros(2))
    assert math.isclose(chip.traffic.total, held.numel())


def test_bad_input_is_refused() -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="three"):
        simulate_tiled(x, x, x[:2], 100)
    with pytest.raises(TypeError, match="floating"):
        simulate_tiled(x.long(), x, x, 100)
    with pytest.raises(ValueError, match="outer"):
        simulate_tiled(x, x, x, 100, outer="rows")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="outer"):
        tiled_traffic(3, 2, 1, outer="rows")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="length"):
        standard_traffic(0, 2)
    with pytest.raises(ValueError, match="capacity"):
        FastMemory(0)
