"""Rotary positions: angles are transformers' to the last bit for every scaling; relative by nature."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from kb.lm import ModelConfig
from kb.nn import RopeParameters, apply_rotary, apply_rotary_loop, inverse_frequencies, rotary_tables

SCALINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
    "yarn of DeepSeek": {
        "factor": 40.0,
        "original_max_position_embeddings": 64,
        "mscale": 0.707,
        "mscale_all_dim": 1.0,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
    },
    "yarn, not truncated": {
        "factor": 32.0,
        "original_max_position_embeddings": 64,
        "truncate": False,
        "attention_factor": 1.25,
    },
    "longrope": {
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "short_factor": [1.0 + i / 16 for i in range(8)],
        "long_factor": [2.0 + i / 4 for i in range(8)],
    },
}


def configuration(name: str, **more: Any) -> LlamaConfig:
    parameters = {"rope_type": name.split(",")[0].split(" ")[0], "rope_theta": 5e4, **SCALINGS[name]}
    return LlamaConfig(
        hidden_size=64, num_attention_heads=4, max_position_embeddings=256, rope_parameters=parameters, **more
    )


@pytest.mark.parametrize("length", [1, 64, 65, 256, 300])
@pytest.mark.parametrize("name", SCALINGS)
def test_angles_are_transformers_to_the_last_bit(name: str, length: int) -> None:
    theirs = configuration(name)
    rope = ModelConfig.from_huggingface(theirs.to_dict()).rope
    positions = torch.arange(length)[None]
    cos, sin = rotary_tables(positions, *inverse_frequencies(rope, 16, length=length))
    wanted_cos, wanted_sin = LlamaRotaryEmbedding(theirs)(torch.zeros(1, length, 64), positions)
    assert torch.equal(torch.cat((cos, cos), -1), wanted_cos)
    assert torch.equal(torch.cat((sin, sin), -1), wanted_sin)


@settings(max_examples=30)
@given(B=st.integers(1, 3), T=st.integers(1, 5), N=st.integers(1, 3), P=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_turning_equals_transformers_and_the_loop(B: int, T: int, N: int, P: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, N, 2 * P, generator=generator, dtype=torch.float64, requires_grad=True)
    positions = torch.randint(0, 5000, (B, T), generator=generator)
    frequencies, _ = inverse_frequencies(RopeParameters(), 2 * P)
    cos, sin = (table.double() for table in rotary_tables(positions, frequencies))
    ours = apply_rotary(x, cos, sin)
    theirs, _ = apply_rotary_pos_emb(x, x, torch.cat((cos, cos), -1), torch.cat((sin, sin), -1), unsqueeze_dim=2)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    (mine,), (reference,) = torch.autograd.grad(ours, x, upstream), torch.autograd.grad(theirs, x, upstream)
    torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)
    loop = torch.stack(
        [
            apply_rotary_loop(x[b, t, n], int(positions[b, t]), frequencies)
            for b in range(B)
            for t in range(T)
            for n in range(N)
        ]
    ).reshape(x.shape)
    # Angles up to 5000 radians, rounded to float32 in the fast path, as the checkpoints were trained.
    torch.testing.assert_close(ours, loop, rtol=0, atol=5000 * 2**-23 * float(x.detach().abs().max()) * 2)


def test_small_positions_equal_the_loop_tightly_with_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, generator=generator, dtype=torch.float64, requires_grad=True)
    frequencies, _ = inverse_frequencies(RopeParameters(), 8)
    loop = apply_rotary_loop(x, 3, frequencies)
    cos, sin = rotary_tables(torch.tensor([[3]]), frequencies)
    fast = apply_rotary(x[None, None, None], cos.double(), sin.double())[0, 0, 0]
    torch.testing.assert_close(fast, loop, rtol=1e-6, atol=1e-6)
    (a,), (b,) = torch.autograd.grad(loop.cos().sum(), x), torch.autograd.grad(fast.cos().sum(), x)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@settings(max_examples=30)
@given(m=st.integers(0, 500), n=st.integers(0, 500), shift=st.integers(0, 500), seed=st.integers(0, 2**31))
def test_dot_products_depend_on_the_distance_alone(m: int, n: int, shift: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator, dtype=torch.float64)
    frequencies = inverse_frequencies(RopeParameters(), 16)[0].double()

    def turned(x: torch.Tensor, position: int) -> torch.Tensor:
        angles = torch.tensor([[position]]).double()[..., None] * frequencies
        return apply_rotary(x, angles.cos(), angles.sin())

    here = (turned(q, m) * turned(k, n)).sum()
    there = (turned(q, m + shift) * turned(k, n + shift)).sum()
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(turned(q, m).norm(), q.norm(), rtol=1e-12, atol=1e-12)


def test_default_frequencies_are_the_paper_s() -> None:
    frequencies, factor = inverse_frequencies(RopeParameters(theta=10_000.0), 8)
    assert factor == 1.0
    assert frequencies.tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001], rel=1e-6)


def test_yarn_keeps_fast_pairs_and_interpolates_slow_ones() -> None:
    rope = RopeParameters(type="yarn", factor=8.0, max_positions=4096)
    scaled, factor = inverse_frequencies(rope, 128)
    plain, _ = inverse_frequencies(RopeParameters(), 128)
    assert scaled[0] == plain[0]
    assert float(scaled[-1] / plain[-1]) == pytest.approx(1 / 8)
    assert factor == pytest.approx(0.1 * math.log(8) + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "spiral"}, "spiral"),
        ({"theta": 0.0}, "rope_theta"),
        ({"theta": float("nan")}, "rope_theta"),
        ({"type": "linear", "factor": 0.5}, "factor"),
        ({"beta_fast": 0}, "beta_fast"),
        ({"beta_slow": -1.0}, "beta_slow"),
        ({"attention_factor": "x"}, "attention_factor"),
        ({"mscale": float("nan")}, "mscale"),
        ({"type": "longrope", "long_factor": (1.0,)}, "short_factor"),
        ({"type": "longrope", "short_factor": (1.0, 0.0), "long_factor": (1.0, 1.0)}, "short_factor"),
        ({"type": "longrope", "short_factor": (1.0,), "long_factor": (1.0, 1.0)}, "1 short factors and 2 long"),
        ({"type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}, "high_freq_factor"),
        ({"type": ["yarn"]}, "rope_type"),
        ({"type": "yarn", "truncate": "no"}, "truncate"),
        ({"max_positions": True}, "max_positions"),
    ],
)
def test_refuses_bad_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RopeParameters(**options)


@pytest.mark.parametrize("head_dim", [0, -2, 3])
def test_refuses_an_odd_or_empty_head(head_dim: int) -> None:
    with pytest.raises(ValueError, match="head_dim"):
        inverse_frequencies(RopeParameters(), head_dim)


def test_refuses_longrope_factors_of_the_wrong_number() -> None:
    with pytest.raises(ValueError, match="wants 8 factors"):
        inverse_frequencies(RopeParameters(type="longrope", short_factor=(1.0,), long_factor=(1.0,)), 16)


@pytest.mark.parametrize("table", [(1, 2, 3), (2, 4), (1, 4), (3, 2, 4), (2, 3, 4), (4,)])
def test_refuses_tables_that_do_not_fit(table: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        apply_rotary(torch.ones(2, 2, 4, 8), torch.ones(table), torch.ones(table))


def test_positions_of_one_row_serve_all_and_integers_are_refused() -> None:
    x, table = torch.randn(2, 3, 1, 8), torch.randn(1, 3, 4)
    assert torch.equal(apply_rotary(x, table, table)[1:], apply_rotary(x[1:], table, table))
    with pytest.raises(TypeError, match="floating-point"):
        apply_rotary(x.long(), table, table)


@pytest.mark.parametrize("head_dim", [64.0, "64", True])
def test_refuses_a_head_that_is_no_integer(head_dim: Any) -> None:
    with pytest.raises(ValueError, match="head_dim"):
        inverse_frequencies(RopeParameters(), head_dim)


@pytest.mark.parametrize("length", [-1, 4096.5, "9999"])
def test_refuses_a_length_that_is_none(length: Any) -> None:
    with pytest.raises(ValueError, match="length"):
        inverse_frequencies(RopeParameters(type="dynamic"), 64, length=length)


@pytest.mark.parametrize("frequencies", [(3,), (5,), (4, 1)])
def test_the_loop_refuses_frequencies_that_do_not_fit(frequencies: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"wanted \[2P\]"):
        apply_rotary_loop(torch.ones(8), 1, torch.ones(frequencies))
