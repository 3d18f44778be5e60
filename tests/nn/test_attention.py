"""Grouped-query attention: loop = fused = torch's and transformers' own, in value and gradient."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, eager_attention_forward

from kb.nn import grouped_query_attention, grouped_query_attention_loop


def random_qkv(B: int, T: int, S: int, N: int, G: int, H: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    return draw(B, T, N, H), draw(B, S, G, H), draw(B, S, G, H)


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, int]:
    T, G = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    return {
        "B": draw(st.integers(1, 3)),
        "T": T,
        "S": T + draw(st.integers(0, 4)),
        "N": G * draw(st.integers(1, 3)),
        "G": G,
        "H": 2 * draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 2**31)),
    }


@settings(max_examples=40)
@given(shape=shapes(), window=st.none() | st.integers(1, 9))
def test_loop_equals_fused_in_value_and_gradient(shape: dict[str, int], window: int | None) -> None:
    qkv = random_qkv(**shape)
    loop = grouped_query_attention_loop(*qkv, window=window)
    fused = grouped_query_attention(*qkv, window=window)
    torch.testing.assert_close(fused, loop, rtol=1e-10, atol=1e-10)
    upstream = torch.randn(loop.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(torch.autograd.grad(fused, qkv, upstream), torch.autograd.grad(loop, qkv, upstream), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(shape=shapes())
def test_equals_transformers_eager_attention(shape: dict[str, int]) -> None:
    q, k, v = random_qkv(**shape)
    T, S = shape["T"], shape["S"]
    module = LlamaAttention(
        LlamaConfig(
            num_attention_heads=shape["N"], num_key_value_heads=shape["G"], hidden_size=shape["N"] * shape["H"]
        ),
        0,
    )
    allowed = torch.ones(T, S).tril(S - T).bool()
    mask = torch.zeros(T, S, dtype=torch.float64).masked_fill(~allowed, -torch.inf)[None, None]
    theirs, _ = eager_attention_forward(
        module.eval(), *(x.transpose(1, 2) for x in (q, k, v)), mask, scaling=shape["H"] ** -0.5
    )
    # Their softmax is taken in float32 whatever the inputs.
    torch.testing.assert_close(grouped_query_attention(q, k, v), theirs, rtol=1e-5, atol=1e-6)


def test_one_group_per_head_equals_multi_head_attention_of_torch() -> None:
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = (F.linear(x, weight).unflatten(-1, (3, 4)) for weight in module.in_proj_weight.chunk(3))
    ours = F.linear(grouped_query_attention(q, k, v).flatten(2), module.out_proj.weight)
    blocked = torch.ones(5, 5).triu(1).bool()
    theirs, _ = module(x, x, x, attn_mask=blocked, need_weights=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_newest_queries_of_a_longer_context_equal_the_last_rows() -> None:
    q, k, v = random_qkv(2, 6, 6, 4, 2, 4)
    whole = grouped_query_attention(q, k, v)
    for T in range(1, 6):
        torch.testing.assert_close(grouped_query_attention(q[:, -T:], k, v), whole[:, -T:], rtol=1e-12, atol=1e-12)


def test_future_keys_do_not_matter_and_rows_are_averages() -> None:
    q, k, v = random_qkv(1, 4, 4, 2, 1, 2)
    changed_k, changed_v = k.detach().clone(), v.detach().clone()
    changed_k[:, 3], changed_v[:, 3] = 1e3, -1e3
    before, after = grouped_query_attention(q, k, v), grouped_query_attention(q, changed_k, changed_v)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])
    # Weights that sum to one leave a constant value as it is.
    torch.testing.assert_close(grouped_query_attention(q, k, torch.full_like(v, 3.0)), torch.full_like(q, 3.0))


def test_large_scores_do_not_overflow() -> None:
    q, k, v = (1e4 * x.detach() for x in random_qkv(1, 3, 3, 2, 2, 4))
    for attention in (grouped_query_attention, grouped_query_attention_loop):
        assert attention(q, k, v).isfinite().all()


@pytest.mark.parametrize(
    ("q", "k", "v", "window", "message"),
    [
        ((1, 2, 4, 8), (1, 2, 3, 8), (1, 2, 3, 8), None, "cannot share"),
        ((1, 3, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), None, "3 queries but only 2 keys"),
        ((1, 2, 4, 8), (1, 2, 4, 8), (1, 3, 4, 8), None, "wanted q"),
        ((2, 4, 8), (2, 4, 8), (2, 4, 8), None, "wanted q"),
        ((2, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), None, "batch and head width"),
        ((1, 2, 4, 8), (1, 2, 4, 6), (1, 2, 4, 6), None, "batch and head width"),
        ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), 0, "window"),
        ((1, 2, 4, 8), (1, 2, 0, 8), (1, 2, 0, 8), None, "cannot share"),
    ],
)
@pytest.mark.parametrize("attention", [grouped_query_attention, grouped_query_attention_loop])
def test_refuses_bad_input(
    attention: Callable[..., Tensor],
    q: tuple[int, ...],
    k: tuple[int, ...],
    v: tuple[int, ...],
    window: int | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        attention(torch.ones(q), torch.ones(k), torch.ones(v), window=window)


@pytest.mark.parametrize("attention", [grouped_query_attention, grouped_query_attention_loop])
@pytest.mark.parametrize("window", [2.5, math.nan, True, "3"])
def test_refuses_a_window_that_is_no_integer(attention: Callable[..., Tensor], window: Any) -> None:
    x = torch.ones(1, 2, 4, 8)
    with pytest.raises(TypeError, match="window must be an integer"):
        attention(x, x, x, window=window)


@pytest.mark.parametrize("attention", [grouped_query_attention, grouped_query_attention_loop])
@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.int64, torch.int64)])
def test_refuses_dtypes_that_do_not_fit(attention: Callable[..., Tensor], dtypes: tuple[torch.dtype, ...]) -> None:
    q, k = (torch.ones(1, 2, 4, 8, dtype=dtype) for dtype in dtypes)
    with pytest.raises(TypeError, match="one floating dtype"):
        attention(q, k, k)
