"""A linear layer whose sums and results are float32 while its inputs are bfloat16, as a router's logits want.

Casting first would copy all tokens, and multiply in float32 what tensor cores multiply exactly: the product of two
bfloat16 numbers fits into a float32. Backwards the gradient of the logits is float32: it is split into two bfloat16
numbers whose sum it is to 16 bits, and both are multiplied in one product.

Shapes: T tokens, D width, E outputs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_in_float32(x_TD: Tensor, weight_ED: Tensor) -> Tensor:
    """[T, E] in float32, or float64 for float64 tokens: tokens times the weight's transpose, nothing rounded before."""
    if x_TD.is_cuda and x_TD.dtype == weight_ED.dtype == torch.bfloat16:
        return split_linear(x_TD, weight_ED)
    dtype = torch.promote_types(x_TD.dtype, torch.float32)
    return F.linear(x_TD.to(dtype), weight_ED.to(dtype))


def split_linear(x_TD: Tensor, weight_ED: Tensor) -> Tensor:
    """The same for tokens and weights that are both bfloat16, on any device."""
    logits_TE: Tensor = _SplitLinear.apply(x_TD, weight_ED)
    return logits_TE


class _SplitLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, weight_ED: Tensor) -> Tensor:
        ctx.save_for_backward(x_TD, weight_ED)
        return _product(x_TD, weight_ED.t())

    @staticmethod
    def backward(ctx: Any, grad_TE: Tensor) -> tuple[Tensor, Tensor]:
        x_TD, weight_ED = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated once more: by steps that autograd knows
            return (grad_TE @ weight_ED.float()).to(x_TD.dtype), (grad_TE.t() @ x_TD.float()).to(weight_ED.dtype)
        high_TE = grad_TE.to(x_TD.dtype)
        low_TE = (grad_TE - high_TE).to(x_TD.dtype)
        parts_T2E = torch.cat([high_TE, low_TE], dim=1)
        dx_TD = parts_T2E @ torch.cat([weight_ED, weight_ED])
        dweight_ED = _product(parts_T2E.t(), x_TD).unflatten(0, (2, -1)).sum(0)
        return dx_TD, dweight_ED.to(weight_ED.dtype)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Of two bfloat16 matrices, in float32; a CPU has no product that takes the one and gives the other."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float() @ b.float()
