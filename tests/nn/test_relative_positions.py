"""Relative positions: Shaw = loop = Wav2Vec2-BERT; T5's buckets and bias = transformers'."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import _apply_relative_key_position_encoding

from kb.nn import (
    T5RelativeBias,
    distances,
    relative_key_scores,
    relative_key_scores_loop,
    relative_value_mix,
    t5_bucket_loop,
    t5_buckets,
)


def test_distances_of_the_newest_queries() -> None:
    assert distances(2, 4).tolist() == [[-2, -1, 0, 1], [-3, -2, -1, 0]]


@settings(max_examples=20)
@given(
    B=st.integers(1, 2),
    T=st.integers(1, 4),
    past=st.integers(0, 3),
    N=st.integers(1, 2),
    H=st.integers(1, 4),
    clip=st.integers(0, 5),
    seed=st.integers(0, 2**31),
)
def test_relative_keys_equal_the_loop(B: int, T: int, past: int, N: int, H: int, clip: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(B, T, N, H), (B, T + past, N, H), (2 * clip + 1, H)]
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    fast, loop = relative_key_scores(*inputs), relative_key_scores_loop(*inputs)
    torch.testing.assert_close(fast, loop, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(fast.shape, generator=generator, dtype=torch.float64)
    for mine, reference in zip(
        torch.autograd.grad(fast, inputs, upstream), torch.autograd.grad(loop, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-10)


def test_relative_keys_equal_wav2vec2_bert() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 2, 7, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    table = torch.nn.Embedding(5, 4, dtype=torch.float64)
    module = SimpleNamespace(
        distance_embedding=table, left_max_position_embeddings=2, right_max_position_embeddings=2, scaling=0.5
    )
    query, bias = _apply_relative_key_position_encoding(module, q.transpose(1, 2), k.transpose(1, 2))
    theirs = torch.einsum("bnth,bnsh->bnts", query, k.transpose(1, 2)) * 0.5 + bias
    ours = relative_key_scores(q, k, table.weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    inputs = (q, k, table.weight)
    for mine, reference in zip(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(theirs, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-10)


def test_relative_values_equal_the_sum_with_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2, 2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    v = torch.randn(2, 5, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    relative = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    inputs, index = (weights, v, relative), distances(3, 5).clamp(-1, 1) + 1
    ours = relative_value_mix(*inputs)
    plain = torch.einsum("bnts,bsnh->btnh", weights, v) + torch.einsum("bnts,tsh->btnh", weights, relative[index])
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(relative_value_mix, inputs)


@settings(max_examples=25)
@given(
    bidirectional=st.booleans(),
    eighths=st.integers(1, 8),
    more=st.integers(1, 300),
    centre=st.integers(-1000, 1000),
)
def test_buckets_are_transformers_and_nearly_always_the_loop(
    bidirectional: bool, eighths: int, more: int, centre: int
) -> None:
    num_buckets, max_distance = 4 * eighths, 2 * eighths + more
    options: dict[str, Any] = {"num_buckets": num_buckets, "max_distance": max_distance}
    distance = torch.arange(centre - 60, centre + 60)
    ours = t5_buckets(distance, bidirectional=bidirectional, **options)
    theirs = T5Attention._relative_position_bucket(distance, bidirectional=bidirectional, **options)
    assert torch.equal(ours, theirs)
    loop = torch.tensor([t5_bucket_loop(d, bidirectional=bidirectional, **options) for d in distance.tolist()])
    # A float32 logarithm may put a distance that is exactly a boundary one bucket too low, never elsewhere.
    assert ((loop - ours) >= 0).all()
    assert (loop - ours).max() <= 1


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_of_the_released_sizes_equal_the_loop(bidirectional: bool) -> None:
    distance = torch.arange(-400, 401)
    loop = [t5_bucket_loop(d, bidirectional=bidirectional) for d in distance.tolist()]
    assert t5_buckets(distance, bidirectional=bidirectional).tolist() == loop


def test_buckets_by_hand() -> None:
    distance = torch.tensor([0, -1, -7, -8, -11, -12, -16, -127, -128, -9999, 1, 8, 9999])
    assert t5_buckets(distance).tolist() == [0, 1, 7, 8, 8, 9, 10, 15, 15, 15, 17, 24, 31]
    assert t5_buckets(torch.tensor([5, 0, -15, -16, -128]), bidirectional=False).tolist() == [0, 0, 15, 16, 31]


@pytest.mark.parametrize("is_decoder", [True, False])
@pytest.mark.parametrize("past", [0, 5])
def test_bias_is_t5_in_value_and_gradient(is_decoder: bool, past: int) -> None:
    config = T5Config(d_model=16, d_kv=4, num_heads=3, is_decoder=is_decoder, relative_attention_max_distance=20)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = T5RelativeBias(3, max_distance=20, bidirectional=not is_decoder)
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if k.startswith("relative")})
    mine, reference = ours(30, 30 + past), theirs.compute_bias(30, 30 + past, past_seen_tokens=past)
    assert torch.equal(mine, reference)
    mine.sin().sum().backward()
    reference.sin().sum().backward()
    torch.testing.assert_close(
        ours.relative_attention_bias.weight.grad, theirs.relative_attention_bias.weight.grad, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_buckets": 6}, "multiple of 4"),
        ({"num_buckets": 0}, "num_buckets"),
        ({"num_buckets": 3, "bidirectional": False}, "multiple of 2"),
        ({"max_distance": 8}, "above the 8"),
    ],
)
def test_refuses_bad_buckets(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        t5_buckets(torch.arange(3), **options)
    with pytest.raises(ValueError, match=message):
        T5RelativeBias(2, **options)


def test_refuses_what_does_not_fit() -> None:
    x = torch.ones(1, 2, 1, 4)
    with pytest.raises(TypeError, match="float32"):
        t5_buckets(torch.ones(3))
    with pytest.raises(ValueError, match="more than keys"):
        relative_key_scores(torch.ones(1, 3, 1, 4), x, torch.ones(3, 4))
    with pytest.raises(ValueError, match="2k \\+ 1"):
        relative_key_scores(x, x, torch.ones(4, 4))
    with pytest.raises(ValueError, match="wanted"):
        relative_key_scores(x, torch.ones(1, 2, 2, 4), torch.ones(3, 4))
    with pytest.raises(ValueError, match="weights"):
        relative_value_mix(torch.ones(1, 1, 2, 3), x, torch.ones(3, 4))
    with pytest.raises(ValueError, match="queries"):
        distances(0, 2)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_buckets_do_not_depend_on_the_width_of_the_integers(dtype: torch.dtype, bidirectional: bool) -> None:
    ends = torch.iinfo(dtype)
    distance = torch.tensor([ends.min, ends.min + 1, 0, 1, 5, ends.max], dtype=dtype)
    wanted = [t5_bucket_loop(d, bidirectional=bidirectional) for d in distance.tolist()]
    assert t5_buckets(distance, bidirectional=bidirectional).tolist() == wanted
