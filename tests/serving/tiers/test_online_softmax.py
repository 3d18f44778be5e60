"""Attention in pieces is attention: against a loop, against torch, in any pieces and any order."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.nn import grouped_query_attention
from kb.serving.tiers import online_softmax
from kb.serving.tiers.online_softmax import (
    Partial,
    attention_in_two_passes,
    merge,
    partial_attention,
    streamed_attention_loop,
)


def tensors(
    T: int, S: int, groups: int, G: int, H: int, seed: int, *, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((T, groups * G, H), (S, G, H), (S, G, H))
    return tuple((torch.randn(shape, generator=generator) * scale).to(dtype) for shape in shapes)


def close(a: Partial, b: Partial, tolerance: float) -> bool:
    """Equal to a tolerance; where no key is seen, equal without."""
    none = b.lse == -torch.inf
    return (
        bool((a.lse.double() - b.lse.double()).abs().masked_fill(none, 0).max() <= tolerance)
        and bool((a.out.double() - b.out.double()).abs().max() <= tolerance)
        and torch.equal(a.lse == -torch.inf, none)
        and not bool(a.out[none].any())
    )


@settings(max_examples=60)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 5),
    first_query=st.integers(0, 8),
    first_key=st.integers(0, 8),
    window=st.none() | st.integers(1, 6),
    seed=st.integers(0, 2**31),
    scores=st.sampled_from([1, 7, 1 << 22]),
)
def test_fast_is_the_loop(
    sizes: tuple[int, ...], first_query: int, first_key: int, window: int | None, seed: int, scores: int
) -> None:
    q, k, v = tensors(*sizes, seed, dtype=torch.float64)
    where: dict[str, Any] = {"first_query": first_query, "first_key": first_key, "window": window}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(online_softmax, "_SCORES", scores)  # any tiles
        assert close(partial_attention(q, k, v, **where), streamed_attention_loop(q, k, v, **where), 1e-12)


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    T=st.integers(1, 4),
    window=st.none() | st.integers(1, 9),
    order=st.randoms(use_true_random=False),
    scale=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 2**31),
)
def test_pieces_in_any_order_are_the_whole(
    cuts: list[int], T: int, window: int | None, order: Any, scale: float, seed: int
) -> None:
    S = sum(cuts)
    T = min(T, S)
    q, k, v = tensors(T, S, 2, 2, 4, seed, scale=scale, dtype=torch.float64)
    starts = [sum(cuts[:number]) for number in range(len(cuts))]
    pieces = [
        partial_attention(
            q, k[start : start + cut], v[start : start + cut], first_query=S - T, first_key=start, window=window
        )
        for start, cut in zip(starts, cuts, strict=True)
    ]
    order.shuffle(pieces)
    joined = pieces[0]
    for piece in pieces[1:]:
        joined = merge(joined, piece)
    whole = grouped_query_attention(q[None], k[None], v[None], window=window)[0]
    assert float((joined.out - whole).abs().max()) <= 1e-11 * scale
    assert close(joined, partial_attention(q, k, v, first_query=S - T, window=window), 1e-10 * scale)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_two_passes_are_one_attention(cut: int) -> None:
    q, k, v = tensors(3, 40, 2, 3, 8, 0)
    ours = attention_in_two_passes(q, lambda: zip(k.split(cut), v.split(cut), strict=True))
    assert ours.dtype == torch.float64
    for number in range(3):  # each sees all keys
        theirs = streamed_attention_loop(q[number : number + 1], k, v, first_query=39).out
        torch.testing.assert_close(ours[number], theirs[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_taken_in_float32(dtype: torch.dtype) -> None:
    q, k, v = tensors(2, 300, 2, 2, 16, 0, dtype=dtype)
    ours = partial_attention(q, k, v, first_query=298)
    exact = partial_attention(q.double(), k.double(), v.double(), first_query=298)
    assert ours.out.dtype == torch.float32
    assert close(ours, exact, 2e-6)


def test_scores_of_any_size_do_not_overflow() -> None:
    q, k, v = tensors(3, 12, 1, 1, 8, 0)
    q, k = q * 1e4, k * 1e4
    pieces = [partial_attention(q, k[s : s + 4], v[s : s + 4], first_query=9, first_key=s) for s in (0, 4, 8)]
    joined = merge(merge(pieces[0], pieces[1]), pieces[2])
    theirs = F.scaled_dot_product_attention(*(x.double().transpose(0, 1) for x in (q, k, v)), attn_mask=_causal(3, 12))
    torch.testing.assert_close(joined.out.double(), theirs.transpose(0, 1), rtol=1e-5, atol=1e-5)


def _causal(T: int, S: int) -> torch.Tensor:
    return torch.ones(T, S, dtype=torch.bool).tril(S - T)


def test_nothing_and_nothing_is_nothing() -> None:
    q, k, v = tensors(2, 3, 1, 1, 4, 0)
    nothing = partial_attention(q, k, v, first_query=0, first_key=5)
    something = partial_attention(q, k, v, first_query=9)
    assert not nothing.out.any()
    assert bool((nothing.lse == -torch.inf).all())
    for joined in (merge(nothing, something), merge(something, nothing)):
        torch.testing.assert_close(joined, something)
    assert not merge(nothing, nothing).out.any()


def test_three_keys_by_hand() -> None:
    # Scores ln 1, ln 2 and ln 5 give weights 1/8, 2/8 and 5/8.
    k = torch.tensor([1.0, 2.0, 5.0]).log()[:, None, None]
    v = torch.tensor([8.0, 16.0, 24.0])[:, None, None]
    whole = partial_attention(torch.ones(1, 1, 1), k, v, first_query=2)
    torch.testing.assert_close(whole.out.item(), 1 + 4 + 15.0)
    torch.testing.assert_close(whole.lse.exp().item(), 8.0)
