"""Attention under any mask: loop = einsum = fused, in value and gradient, with dropout, with empty rows."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.nn import (
    causal_mask,
    grouped_query_attention,
    masked_attention_einsum,
    masked_attention_fused,
    masked_attention_loop,
)

WAYS = [masked_attention_loop, masked_attention_einsum, masked_attention_fused]


def draw(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@st.composite
def cases(draw_: st.DrawFn) -> tuple[list[Tensor], Tensor | None]:
    B, T, S, G, M, H, V = (draw_(st.integers(1, most)) for most in (2, 3, 3, 2, 2, 3, 3))
    qkv = draw(draw_(st.integers(0, 2**31)), (B, T, G * M, H), (B, S, G, H), (B, S, G, V))
    shape = draw_(st.sampled_from([None, (T, S), (B, 1, 1, S), (B, G * M, T, S), (1, G * M, 1, S)]))
    if shape is None:
        return qkv, None
    generator = torch.Generator().manual_seed(draw_(st.integers(0, 2**31)))
    mask = torch.randn(shape, generator=generator, dtype=torch.float64)
    forbidden = torch.rand(shape, generator=generator) < draw_(st.sampled_from([0.0, 0.3, 0.8]))
    return qkv, mask.masked_fill(forbidden, -math.inf)


@settings(max_examples=12)
@given(case=cases())
def test_three_ways_give_one_answer_in_value_and_gradient(case: tuple[list[Tensor], Tensor | None]) -> None:
    qkv, mask = case
    outs = [way(*qkv, mask, zero_empty=True)[0] for way in WAYS]
    upstream = torch.randn(outs[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # Where no query sees a key, the loop's output depends on no query.
    gradients = [torch.autograd.grad(out, qkv, upstream, allow_unused=True, materialize_grads=True) for out in outs]
    for out, gradient in zip(outs[1:], gradients[1:], strict=True):
        torch.testing.assert_close(out, outs[0], rtol=1e-10, atol=1e-10)
        for ours, reference in zip(gradient, gradients[0], strict=True):
            torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


@settings(max_examples=10)
@given(case=cases())
def test_weights_are_equal_and_rows_sum_to_one_or_are_nan(case: tuple[list[Tensor], Tensor | None]) -> None:
    qkv, mask = case
    (_, loop), (_, einsum) = (way(*qkv, mask) for way in WAYS[:2])
    torch.testing.assert_close(loop, einsum, rtol=1e-10, atol=1e-10, equal_nan=True)
    empty = torch.zeros(einsum.shape[:3], dtype=torch.bool)
    if mask is not None:
        empty = (mask.expand(einsum.shape) == -math.inf).all(-1)
    assert einsum[empty].isnan().all()
    torch.testing.assert_close(einsum.sum(-1)[~empty], torch.ones_like(einsum.sum(-1)[~empty]))
    zeroed = masked_attention_einsum(*qkv, mask, zero_empty=True)[1]
    assert (zeroed[empty] == 0).all()


def test_three_tokens_of_width_two_by_hand() -> None:
    # q · k / sqrt(2) is ln 1, ln 2 and ln 3 times the first feature: weights 1/6, 2/6, 3/6.
    q = torch.tensor([math.sqrt(2.0), 0.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    k = torch.tensor([[0.0, 5.0], [math.log(2), -1.0], [math.log(3), 2.0]], dtype=torch.float64).reshape(1, 3, 1, 2)
    v = torch.tensor([6.0, 12.0, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    for way in WAYS:
        assert way(q, k, v, zero_empty=True)[0].item() == pytest.approx((6 + 24 + 0) / 6)
    weights = masked_attention_einsum(q, k, v)[1].flatten()
    assert weights.tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_causal_mask_is_that_of_torch_and_of_grouped_query_attention() -> None:
    mask = causal_mask(4)
    assert torch.equal(mask, torch.nn.Transformer.generate_square_subsequent_mask(4) == -math.inf)
    q, k, v = draw(0, (2, 4, 6, 2), (2, 4, 3, 2), (2, 4, 3, 2))
    added = torch.zeros(4, 4, dtype=torch.float64).masked_fill(mask, -math.inf)
    for way in WAYS:
        out = way(q, k, v, added, zero_empty=True)[0]
        torch.testing.assert_close(out, grouped_query_attention(q, k, v), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("G", [1, 2, 4])
def test_groups_are_those_of_torch(G: int) -> None:
    q, k, v = draw(0, (2, 3, 4, 2), (2, 5, G, 2), (2, 5, G, 2))
    theirs = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), enable_gqa=True).transpose(1, 2)
    for way in WAYS:
        torch.testing.assert_close(way(q, k, v, zero_empty=True)[0], theirs, rtol=1e-10, atol=1e-10)


def test_after_the_same_seed_all_three_drop_the_same_weights() -> None:
    qkv = draw(0, (2, 3, 4, 2), (2, 5, 2, 2), (2, 5, 2, 2))
    outs = []
    for way in WAYS:
        torch.manual_seed(7)
        outs.append(way(*qkv, dropout=0.4, zero_empty=True)[0])
    assert not torch.allclose(outs[0], masked_attention_loop(*qkv)[0])
    for out in outs[1:]:
        torch.testing.assert_close(out, outs[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("way", WAYS[1:])
def test_dropout_keeps_the_mean_and_scales_what_stays(way: Callable[..., Any]) -> None:
    p, copies = 0.25, 20_000
    q, k, v = (x.detach() for x in draw(0, (1, 1, 1, 2), (1, 3, 1, 2), (1, 3, 1, 1)))
    torch.manual_seed(0)
    out = way(*(x.expand(copies, -1, -1, -1) for x in (q, k, v)), dropout=p, zero_empty=True)[0].flatten()
    weights = masked_attention_einsum(q, k, v)[1].flatten()
    values = v.flatten()
    # A weight w is w / (1 - p) with probability 1 - p, else 0: mean w, variance w² p / (1 - p).
    variance = float((weights**2 * values**2).sum() * p / (1 - p))
    assert out.mean().item() == pytest.approx(float(weights @ values), abs=4 * math.sqrt(variance / copies))
    assert out.var().item() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("way", WAYS)
def test_all_is_dropped_at_probability_one(way: Callable[..., Any]) -> None:
    qkv = draw(0, (1, 2, 2, 2), (1, 3, 2, 2), (1, 3, 2, 2))
    assert (way(*qkv, dropout=1.0, zero_empty=True)[0] == 0).all()


def test_large_scores_do_not_overflow() -> None:
    qkv = [1e4 * x.detach() for x in draw(0, (1, 3, 2, 2), (1, 3, 2, 2), (1, 3, 2, 2))]
    for way in WAYS:
        assert way(*qkv, zero_empty=True)[0].isfinite().all()


@pytest.mark.parametrize(
    ("q", "k", "v", "mask", "message"),
    [
        ((1, 2, 4, 8), (1, 2, 3, 8), (1, 2, 3, 8), None, "cannot share"),
        ((2, 4, 8), (2, 4, 8), (2, 4, 8), None, "wanted q"),
        ((1, 2, 4, 8), (1, 3, 4, 8), (1, 2, 4, 8), None, "wanted q"),
        ((2, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), None, "batch of q"),
        ((1, 2, 4, 8), (1, 2, 4, 6), (1, 2, 4, 6), None, "batch of q"),
        ((1, 2, 4, 8), (1, 0, 4, 8), (1, 0, 4, 8), None, "at least one key"),
        ((1, 2, 4, 8), (1, 3, 4, 8), (1, 3, 4, 8), (3, 2), "mask"),
        ((1, 2, 4, 8), (1, 3, 4, 8), (1, 3, 4, 8), (1, 1, 1, 2, 3), "mask"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_refuses_bad_input(
    way: Callable[..., Any],
    q: tuple[int, ...],
    k: tuple[int, ...],
    v: tuple[int, ...],
    mask: tuple[int, ...] | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        way(torch.ones(q), torch.ones(k), torch.ones(v), None if mask is None else torch.zeros(mask))


@pytest.mark.parametrize("way", WAYS)
def test_refuses_other_dtypes_and_probabilities(way: Callable[..., Any]) -> None:
    x = torch.ones(1, 2, 2, 2)
    with pytest.raises(TypeError, match="one floating dtype"):
        way(x, x.double(), x)
    with pytest.raises(TypeError, match="one floating dtype"):
        way(x, x, x, torch.zeros(2, 2, dtype=torch.bool))
    for p in (-0.1, 1.5, math.nan, True):
        with pytest.raises(ValueError, match="dropout"):
            way(x, x, x, dropout=p)


def test_refuses_what_the_kernel_and_a_mask_cannot_do() -> None:
    x = torch.ones(1, 2, 2, 2)
    with pytest.raises(ValueError, match="zero_empty"):
        masked_attention_fused(x, x, x, zero_empty=False)
    with pytest.raises(ValueError, match="length"):
        causal_mask(0)
