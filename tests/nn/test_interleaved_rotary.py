"""Interleaved rotary positions: loop = fast = GPT-J; the half-split layout behind a permutation; relative by nature."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb

from kb.nn import (
    RopeParameters,
    apply_rotary,
    apply_rotary_interleaved,
    apply_rotary_interleaved_loop,
    half_split_order,
    half_split_rows,
    inverse_frequencies,
    rotary_tables,
    rotation_2d,
)


def tables(positions: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = rotary_tables(positions, inverse_frequencies(RopeParameters(), head_dim)[0])
    return cos.double(), sin.double()


def test_a_quarter_turn_by_hand() -> None:
    torch.testing.assert_close(
        rotation_2d(math.pi / 2) @ torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    )
    x = torch.tensor([1.0, 0.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    cos, sin = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert apply_rotary_interleaved(x, cos, sin).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


@settings(max_examples=25)
@given(B=st.integers(1, 3), T=st.integers(1, 4), N=st.integers(1, 3), P=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_equals_gpt_j_the_loop_and_the_reordered_half_split(B: int, T: int, N: int, P: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, N, 2 * P, generator=generator, dtype=torch.float64, requires_grad=True)
    positions = torch.randint(0, 300, (B, T), generator=generator)
    cos, sin = tables(positions, 2 * P)
    ours, order = apply_rotary_interleaved(x, cos, sin), half_split_order(2 * P)
    others = [apply_rotary_pos_emb(x, sin, cos), apply_rotary(x[..., order], cos, sin)[..., order.argsort()]]
    upstream = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    for other in others:
        torch.testing.assert_close(ours, other, rtol=1e-12, atol=1e-12)
        (mine,), (reference,) = torch.autograd.grad(ours, x, upstream, True), torch.autograd.grad(other, x, upstream)
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)
    frequencies = inverse_frequencies(RopeParameters(), 2 * P)[0]
    loop = apply_rotary_interleaved_loop(x[0, 0, 0], int(positions[0, 0]), frequencies)
    torch.testing.assert_close(ours[0, 0, 0], loop, rtol=1e-4, atol=1e-4)  # float32 angles of up to 300 radians


@settings(max_examples=25)
@given(m=st.integers(0, 400), n=st.integers(0, 400), shift=st.integers(0, 400), seed=st.integers(0, 2**31))
def test_scores_depend_on_the_distance_and_norms_are_kept(m: int, n: int, shift: int, seed: int) -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frequencies = inverse_frequencies(RopeParameters(), 8)[0].double()

    def turned(x: torch.Tensor, position: int) -> torch.Tensor:
        angles = (position * frequencies)[None, None]
        return apply_rotary_interleaved(x, angles.cos(), angles.sin())

    here, there = (turned(q, m) * turned(k, n)).sum(), (turned(q, m + shift) * turned(k, n + shift)).sum()
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(turned(q, m).norm(), q.norm(), rtol=1e-12, atol=1e-12)


def test_reordered_projections_give_the_same_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, 12, generator=generator, dtype=torch.float64)
    query, key = torch.randn(2, 3 * 8, 12, generator=generator, dtype=torch.float64)
    cos, sin = tables(torch.arange(5)[None], 8)

    def scores(turn: object, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        heads = [turn((x @ w.T).unflatten(-1, (3, 8)), cos, sin) for w in (q, k)]  # type: ignore[operator]
        return torch.einsum("btnh,bsnh->bnts", *heads)

    interleaved = scores(apply_rotary_interleaved, query, key)
    half_split = scores(apply_rotary, half_split_rows(query, 3), half_split_rows(key, 3))
    torch.testing.assert_close(interleaved, half_split, rtol=1e-12, atol=1e-12)
    # The reshape of Hugging Face's conversion of Meta's Llama weights.
    assert torch.equal(half_split_rows(query, 3), query.view(3, 4, 2, 12).transpose(1, 2).reshape(24, 12))
    assert torch.equal(half_split_rows(query[:, 0], 3), half_split_rows(query, 3)[:, 0])


def test_order_by_hand() -> None:
    assert half_split_order(6).tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("head_dim", [0, -2, 3, True, 4.0])
def test_refuses_an_odd_or_empty_head(head_dim: int) -> None:
    with pytest.raises(ValueError, match="head_dim"):
        half_split_order(head_dim)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="wanted"):
        apply_rotary_interleaved(torch.ones(1, 2, 1, 8), torch.ones(1, 2, 3), torch.ones(1, 2, 3))
    with pytest.raises(TypeError, match="floating-point"):
        apply_rotary_interleaved(torch.ones(1, 2, 1, 6).long(), torch.ones(1, 2, 3), torch.ones(1, 2, 3))
    with pytest.raises(ValueError, match="even width"):
        half_split_rows(torch.ones(6, 2), 2)
    with pytest.raises(ValueError, match="even width"):
        half_split_rows(torch.ones(()), 2)
    with pytest.raises(ValueError, match="num_heads"):
        half_split_rows(torch.ones(6, 2), 0)
    with pytest.raises(ValueError, match="angle"):
        rotation_2d(math.inf)


@pytest.mark.parametrize("pairs", [3, 5])
def test_the_loop_refuses_frequencies_that_do_not_fit(pairs: int) -> None:
    with pytest.raises(ValueError, match=r"wanted \[2P\]"):
        apply_rotary_interleaved_loop(torch.ones(8), 1, torch.ones(pairs))
