"""ALiBi: slopes are the paper's and BLOOM's, for any number of heads; the bias gives BLOOM's attention weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from kb.nn import alibi_bias, alibi_bias_loop, alibi_slopes, alibi_slopes_loop


def test_slopes_by_hand() -> None:
    assert alibi_slopes(8).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert alibi_slopes(1).tolist() == [2**-8]
    assert alibi_slopes(12).tolist()[8:] == pytest.approx([2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 8, 12, 16, 20, 25, 32, 71, 112])
def test_slopes_are_the_loop_and_bloom(heads: int) -> None:
    slopes = alibi_slopes(heads)
    assert slopes.tolist() == pytest.approx(alibi_slopes_loop(heads), rel=1e-6)
    bloom = build_alibi_tensor(torch.ones(1, 2, dtype=torch.int64), heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(slopes, bloom, rtol=1e-5, atol=0)


@settings(max_examples=20)
@given(heads=st.integers(1, 6), T=st.integers(1, 6), past=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_bias_is_the_loop_and_gives_bloom_s_weights(heads: int, T: int, past: int, seed: int) -> None:
    S, slopes = T + past, alibi_slopes(heads)
    bias = alibi_bias(slopes, T, S)
    assert torch.equal(bias, alibi_bias_loop(slopes, T, S))
    scores = torch.randn(heads, T, S, generator=torch.Generator().manual_seed(seed))
    scores = scores.masked_fill(torch.ones(T, S).triu(past + 1).bool(), -torch.inf)
    bloom = build_alibi_tensor(torch.ones(1, S, dtype=torch.int64), heads, torch.float32)
    torch.testing.assert_close((scores + bias).softmax(-1), (scores + bloom).softmax(-1), rtol=1e-4, atol=1e-6)
    assert (bias.diagonal(past, 1, 2) == 0).all()


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="num_heads"):
        alibi_slopes(0)
    with pytest.raises(ValueError, match="num_heads"):
        alibi_slopes_loop(True)
    with pytest.raises(TypeError, match="floating"):
        alibi_bias(torch.ones(2).long(), 1, 1)
    with pytest.raises(ValueError, match=r"\[N\]"):
        alibi_bias(torch.ones(2, 2), 1, 1)
    with pytest.raises(ValueError, match="more than keys"):
        alibi_bias(torch.ones(2), 3, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_bias_in_few_bits_is_rounded_once(dtype: torch.dtype) -> None:
    slopes = alibi_slopes(12).to(dtype)
    bias = alibi_bias(slopes, 1, 70_001)
    exact = -slopes.double()[:, None, None] * torch.arange(70_000, -1, -1)
    assert bias.dtype == dtype
    assert torch.equal(bias, exact.to(dtype))
