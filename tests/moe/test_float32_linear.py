"""Logits in float32 of bfloat16 tokens: what float64 gives, and gradients that lose no more than their own rounding."""

import pytest
import torch
from torch import Tensor

from kb.moe.float32_linear import linear_in_float32, split_linear

HALF_ROUNDING = 2**-8  # of bfloat16


def tensors(T: int, D: int, E: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens and weights in bfloat16, and a gradient of the logits in float32."""
    generator = torch.Generator().manual_seed(seed)
    x_TD, weight_ED = (torch.randn(n, D, generator=generator).bfloat16() for n in (T, E))
    return x_TD.requires_grad_(), weight_ED.requires_grad_(), torch.randn(T, E, generator=generator)


def relative(ours: Tensor, wanted: Tensor) -> float:
    return float((ours.double() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(("T", "D", "E"), [(1, 1, 1), (7, 64, 3), (300, 33, 8)])
def test_logits_and_gradients_equal_float64(T: int, D: int, E: int) -> None:
    x_TD, weight_ED, upstream_TE = tensors(T, D, E)
    out_TE = split_linear(x_TD, weight_ED)
    assert out_TE.dtype == torch.float32
    wide = [tensor.detach().double().requires_grad_() for tensor in (x_TD, weight_ED)]
    wanted_TE = wide[0] @ wide[1].t()
    assert relative(out_TE.detach(), wanted_TE.detach()) <= 1e-6
    mine = torch.autograd.grad(out_TE, (x_TD, weight_ED), upstream_TE)
    theirs = torch.autograd.grad(wanted_TE, wide, upstream_TE.double())
    for ours, wanted in zip(mine, theirs, strict=True):
        assert ours.dtype == torch.bfloat16
        assert relative(ours, wanted) <= HALF_ROUNDING


def test_the_gradient_of_the_logits_is_not_rounded() -> None:
    # 1 + 2^-12 rounds to 1 in bfloat16: were it rounded, the two rows would cancel.
    x_TD, weight_ED = torch.ones(2, 1).bfloat16().requires_grad_(), torch.ones(1, 1).bfloat16().requires_grad_()
    upstream_TE = torch.tensor([[1 + 2**-12], [-1.0]])
    (dweight_ED,) = torch.autograd.grad(split_linear(x_TD, weight_ED), weight_ED, upstream_TE)
    assert float(dweight_ED) == 2**-12


def test_a_second_derivative_is_that_of_the_plain_layer() -> None:
    x_TD, weight_ED, _ = tensors(5, 8, 3)
    penalties = []
    for layer in (split_linear, linear_in_float32):  # on a CPU the plain one
        (dx_TD,) = torch.autograd.grad(layer(x_TD, weight_ED).square().sum(), x_TD, create_graph=True)
        penalties.append(torch.autograd.grad(dx_TD.float().square().sum(), weight_ED)[0])
    assert relative(penalties[0], penalties[1].double()) <= 4 * HALF_ROUNDING


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_are_multiplied_in_float32_or_wider(dtype: torch.dtype) -> None:
    x_TD, weight_ED, _ = tensors(9, 64, 4)
    out_TE = linear_in_float32(x_TD.to(dtype), weight_ED.to(dtype))
    assert out_TE.dtype == torch.promote_types(dtype, torch.float32)
    assert relative(out_TE.detach(), (x_TD.double() @ weight_ED.double().t()).detach()) <= 1e-6
