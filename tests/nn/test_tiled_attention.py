"""Tiled attention is dense attention and torch's own, in value and gradient, and never holds all scores."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.counting import operators
from kb.nn import grouped_query_attention, masked_attention_loop, tiled_attention, tiled_attention_forward


def draw(seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@st.composite
def cases(pick: st.DrawFn) -> dict[str, Any]:
    B, G, M, H = (pick(st.integers(1, most)) for most in (2, 2, 3, 4))
    T = pick(st.integers(1, 6))
    causal = pick(st.booleans())
    S = T + pick(st.integers(0, 4)) if causal else pick(st.integers(1, 7))
    padded = pick(st.booleans())
    return {
        "qkv": draw(pick(st.integers(0, 2**31)), (B, T, G * M, H), (B, S, G, H), (B, S, G, H)),
        "causal": causal,
        "lengths_B": torch.tensor([pick(st.integers(0, S)) for _ in range(B)]) if padded else None,
        "query_tile": pick(st.integers(1, 8)),
        "key_tile": pick(st.integers(1, 8)),
    }


def mask_of(case: dict[str, Any]) -> Tensor:
    q, k, _ = case["qkv"]
    (B, T), S = q.shape[:2], k.shape[1]
    forbidden = torch.zeros(B, 1, T, S, dtype=torch.bool)
    if case["causal"]:
        forbidden |= torch.arange(S) > torch.arange(S - T, S)[:, None]
    if case["lengths_B"] is not None:
        forbidden |= (torch.arange(S) >= case["lengths_B"][:, None])[:, None, None]
    return torch.zeros(B, 1, T, S, dtype=torch.float64).masked_fill(forbidden, -math.inf)


@settings(max_examples=40)
@given(case=cases())
def test_loop_tiles_and_torch_give_one_answer_in_value_and_gradient(case: dict[str, Any]) -> None:
    qkv, options = case["qkv"], {name: value for name, value in case.items() if name != "qkv"}
    ours = tiled_attention(*qkv, **options)
    mask = mask_of(case)
    loop = masked_attention_loop(*qkv, mask, zero_empty=True)[0]
    q, k, v = (x.transpose(1, 2) for x in qkv)
    library = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [
        torch.autograd.grad(out, qkv, upstream, allow_unused=True, materialize_grads=True)
        for out in (ours, loop, library)
    ]
    for other, theirs in zip((loop, library), gradients[1:], strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-10)
        for mine, reference in zip(gradients[0], theirs, strict=True):
            torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9)


def test_gradients_agree_with_finite_differences() -> None:
    qkv = draw(0, (1, 3, 4, 2), (1, 5, 2, 2), (1, 5, 2, 2))
    lengths = torch.tensor([4])
    assert torch.autograd.gradcheck(lambda *x: tiled_attention(*x, lengths_B=lengths, query_tile=2, key_tile=2), qkv)


def test_four_keys_in_two_tiles_by_hand() -> None:
    # Scores 0, ln 2 | ln 4, 0: after the first tile the mean is (1·1 + 2·4) / 3 = 3; the second rescales by 1/2.
    keys = torch.tensor([0.0, math.log(2), math.log(4), 0.0], dtype=torch.float64)
    values = torch.tensor([1.0, 4.0, 5.0, 11.0], dtype=torch.float64)
    q = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    out, lse = tiled_attention_forward(q, keys.view(1, 1, 4, 1), values.view(1, 1, 4, 1), False, None, (1, 2))
    assert float(out) == pytest.approx((1 * 1 + 2 * 4 + 4 * 5 + 1 * 11) / 8)
    assert float(lse) == pytest.approx(math.log(8))
    first, _ = tiled_attention_forward(q, keys[:2].view(1, 1, 2, 1), values[:2].view(1, 1, 2, 1), False, None, (1, 2))
    assert float(first) == pytest.approx(3)


def test_scores_of_any_size_do_not_overflow() -> None:
    q, k, v = draw(3, (1, 4, 1, 2), (1, 4, 1, 2), (1, 4, 1, 2), dtype=torch.float32)
    out = tiled_attention(1e3 * q, 1e3 * k, v, query_tile=2, key_tile=1)
    assert bool(out.isfinite().all())
    torch.testing.assert_close(out, grouped_query_attention(1e3 * q, 1e3 * k, v), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backward", [False, True])
def test_no_tensor_is_as_large_as_all_scores(backward: bool) -> None:
    T, tile, H = 96, 8, 4
    qkv = draw(0, (1, T, 2, H), (1, T, 1, H), (1, T, 1, H))

    def run(attend: Any) -> int:
        def work() -> None:
            out = attend(*qkv)
            if backward:
                out.sum().backward()

        return operators(work).largest

    assert run(lambda q, k, v: tiled_attention(q, k, v, query_tile=tile, key_tile=tile)) == 2 * T * H
    dense = torch.full((T, T), -math.inf, dtype=torch.float64).triu(1)
    assert run(lambda q, k, v: dense_attention(q, k, v, dense)) >= 2 * T * T


def dense_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    weights = (torch.einsum("btnh,bsgh->bnts", q, k) / 2 + mask).softmax(-1)
    return torch.einsum("bnts,bsgh->btnh", weights, v)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    qkv = [x.detach().to(dtype).requires_grad_() for x in draw(0, (2, 9, 4, 8), (2, 9, 2, 8), (2, 9, 2, 8))]
    out = tiled_attention(*qkv, query_tile=4, key_tile=4)
    wanted = tiled_attention(*[x.double() for x in qkv], query_tile=4, key_tile=4)
    assert out.dtype == dtype
    torch.testing.assert_close(out, wanted.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-3)
    assert all(g.dtype == dtype for g in torch.autograd.grad(out.sum(), qkv))


def test_no_sequence_has_no_output() -> None:
    empty = torch.zeros(0, 3, 2, 4)
    assert tiled_attention(empty, empty, empty, lengths_B=torch.zeros(0, dtype=torch.int64)).shape == empty.shape


def test_a_second_derivative_is_refused() -> None:
    qkv = draw(0, (1, 2, 1, 2), (1, 2, 1, 2), (1, 2, 1, 2))
    upstream = torch.ones(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(tiled_attention(*qkv), qkv[:1], upstream, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q_BTNH": torch.zeros(1, 3, 2)}, ValueError, r"wanted q \[B, T, N, H\]"),
        ({"q_BTNH": torch.zeros(1, 3, 3, 4)}, ValueError, "3 query heads cannot share 2"),
        ({"q_BTNH": torch.zeros(1, 6, 2, 4)}, ValueError, "a key of its own"),
        ({"q_BTNH": torch.zeros(1, 3, 2, 5)}, ValueError, "head width"),
        ({"v_BSGH": torch.zeros(1, 5, 2, 4).double()}, TypeError, "one floating dtype"),
        ({"lengths_B": torch.tensor([1.0])}, TypeError, "lengths_B must be int64"),
        ({"lengths_B": [3]}, TypeError, "lengths_B must be int64, got <class 'list'>"),
        ({"lengths_B": torch.tensor([6])}, ValueError, "0 to 5"),
        ({"lengths_B": torch.tensor([-1])}, ValueError, "0 to 5"),
        ({"lengths_B": torch.tensor([1, 2])}, ValueError, r"\[1\]"),
        ({"query_tile": 0}, ValueError, "query_tile"),
        ({"key_tile": 1.5}, ValueError, "key_tile"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    key = torch.zeros(1, 5, 2, 4)
    arguments = {"q_BTNH": torch.zeros(1, 3, 2, 4), "k_BSGH": key, "v_BSGH": key}
    with pytest.raises(error, match=message):
        tiled_attention(**{**arguments, **change})
