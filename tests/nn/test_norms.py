"""RMSNorm: loop = fast path = torch = transformers, in value and gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from kb.nn import RMSNorm, rms_norm, rms_norm_loop


@settings(max_examples=30)
@given(
    shape=st.lists(st.integers(1, 5), min_size=0, max_size=3),
    width=st.integers(1, 24),
    eps=st.sampled_from([1e-6, 1e-5, 0.1]),
    seed=st.integers(0, 2**31),
)
def test_value_and_gradients_equal_torch(shape: list[int], width: int, eps: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(width, generator=generator, dtype=torch.float64, requires_grad=True)
    ours = rms_norm(x, weight, eps, compute_dtype=torch.float64)
    theirs = torch.nn.functional.rms_norm(x, (width,), weight, eps)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    upstream = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    for mine, reference in zip(
        torch.autograd.grad(ours, (x, weight), upstream),
        torch.autograd.grad(theirs, (x, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-8, atol=1e-8)


def test_loop_equals_fast_path_with_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, generator=generator, dtype=torch.float64, requires_grad=True)
    loop = rms_norm_loop(x, weight, 1e-5)
    fast = rms_norm(x, weight, 1e-5, compute_dtype=torch.float64)
    torch.testing.assert_close(loop, fast, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(loop.cos().sum(), (x, weight)),
        torch.autograd.grad(fast.cos().sum(), (x, weight)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_module_is_bitwise_transformers(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    ours, theirs = RMSNorm(48, 1e-5), LlamaRMSNorm(48, 1e-5)
    with torch.no_grad():
        ours.weight.copy_(torch.randn(48, generator=generator))
    theirs.load_state_dict(ours.state_dict())
    x = (30 * torch.randn(3, 5, 48, generator=generator)).to(dtype)
    assert torch.equal(ours.to(dtype)(x), theirs.to(dtype)(x))


def test_float16_squares_do_not_overflow() -> None:
    x = torch.full((1, 8), 6e4, dtype=torch.float16)
    torch.testing.assert_close(RMSNorm(8).half()(x), torch.ones(1, 8, dtype=torch.float16))


@settings(max_examples=30)
@given(width=st.integers(1, 64), scale=st.floats(1e-2, 1e3), seed=st.integers(0, 2**31))
def test_root_mean_square_is_one_and_scale_does_not_matter(width: int, scale: float, seed: int) -> None:
    x = torch.randn(width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    ones = torch.ones(width, dtype=torch.float64)
    normalized = rms_norm(x, ones, 1e-18, compute_dtype=torch.float64)
    torch.testing.assert_close(normalized.pow(2).mean(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(rms_norm(scale * x, ones, 1e-18, compute_dtype=torch.float64), normalized)


@pytest.mark.parametrize("eps", [0.0, -1e-6, float("nan"), float("inf"), True, "1e-6"])
def test_refuses_an_eps_that_is_not_positive(eps: Any) -> None:
    with pytest.raises(ValueError, match="eps"):
        rms_norm(torch.ones(2, 3), torch.ones(3), eps)
    with pytest.raises(ValueError, match="eps"):
        RMSNorm(3, eps)


@pytest.mark.parametrize("width", [0, -1, 2.0])
def test_refuses_a_width_that_is_no_count(width: Any) -> None:
    with pytest.raises(ValueError, match="width"):
        RMSNorm(width)


def test_refuses_integers() -> None:
    with pytest.raises(TypeError, match=r"floating-point.*int64"):
        rms_norm(torch.tensor([3, 4]), torch.ones(2), 1e-6)


@pytest.mark.parametrize(("x", "weight"), [((2, 3), (2,)), ((3,), (3, 1)), ((), (1,))])
def test_refuses_shapes_that_do_not_fit(x: tuple[int, ...], weight: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="last axis"):
        rms_norm(torch.ones(x), torch.ones(weight), 1e-5)


@pytest.mark.parametrize("width", [0, -3, 2.5])
def test_refuses_a_width_or_an_epsilon_that_is_none(width: int) -> None:
    with pytest.raises(ValueError, match="width"):
        RMSNorm(width)


@pytest.mark.parametrize(("x", "weight"), [((2, 4), (4,)), ((4,), (3,)), ((), (1,))])
def test_the_loop_refuses_what_is_no_vector(x: tuple[int, ...], weight: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x_D and weight_D"):
        rms_norm_loop(torch.ones(x), torch.ones(weight), 1e-5)
