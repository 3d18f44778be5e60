"""The one step that batch, layer, group and instance norm share: mean 0 and variance 1 over some axes, then a scale.

They differ in the axes alone, and in batch norm's running statistics. Unusual: the backward pass is written by hand. Of
n numbers x̂ = (x - mean) r with r = 1 / sqrt(variance + eps), and g the gradient of x̂,

    dx = r (g - mean(g) - x̂ mean(g x̂)),

so what is subtracted is the part of g that a shift or a stretch of all x would answer to: neither changes x̂. It can
be differentiated once; a second derivative raises.

Statistics are taken in float32 at least, as torch does for half precision. The variance divides by n, not n - 1.

Source: Ioffe and Szegedy 2015, algorithm 1 and the gradients that follow it in section 3; its six equations are the
loop here, and the formula above is their sum.
Shapes: M numbers that share a mean; ``...`` any axes.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kb.arguments import is_number


def normalize_loop(x_M: Tensor, eps: float) -> Tensor:
    """Reference: x̂ of one set of numbers [M], one at a time."""
    mean = sum(x_M, start=x_M.new_zeros(())) / len(x_M)
    variance = sum(((x - mean) ** 2 for x in x_M), start=x_M.new_zeros(())) / len(x_M)
    return torch.stack([(x - mean) / torch.sqrt(variance + eps) for x in x_M])


def normalize_backward_loop(grad_M: Tensor, x_M: Tensor, eps: float) -> Tensor:
    """Reference: the paper's chain of gradients, first of the variance, then of the mean, then of each number.

    Args:
        grad_M: The gradient of x̂, one set of numbers.
        x_M: The numbers.
        eps: As in the forward pass.
    """
    count = len(x_M)
    mean = sum(float(x) for x in x_M) / count
    variance = sum((float(x) - mean) ** 2 for x in x_M) / count
    scale = 1 / math.sqrt(variance + eps)
    pairs = [(float(g), float(x)) for g, x in zip(grad_M, x_M, strict=True)]
    of_variance = sum(g * (x - mean) * -0.5 * scale**3 for g, x in pairs)
    of_mean = sum(-g * scale for g, _ in pairs) + of_variance * sum(-2 * (x - mean) for _, x in pairs) / count
    return x_M.new_tensor([g * scale + of_variance * 2 * (x - mean) / count + of_mean / count for g, x in pairs])


def statistics(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance (dividing by n) over ``axes``, which stay as axes of length 1; float32 at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.mean(tuple(axes), keepdim=True)
    return mean, (wide - mean).square().mean(tuple(axes), keepdim=True)


def normalize_forward(
    x: Tensor, axes: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The result in the dtype of ``x``, and what the backward pass needs: x̂ and r.

    Args:
        x: [...], floating.
        axes: Those that share a mean.
        weight: Broadcasts to ``x``, or None for ones.
        bias: Broadcasts to ``x``, or None for zeros.
        eps: Added to the variance; positive.
    """
    mean, variance = statistics(x, axes)
    scale = torch.rsqrt(variance + eps)
    x_hat = (x.to(mean.dtype) - mean) * scale
    return _affine(x_hat, weight, bias).to(x.dtype), x_hat, scale


def normalize_backward(
    grad: Tensor, x_hat: Tensor, scale: Tensor, axes: Sequence[int], weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of the weight and of the bias, from the gradient of the result.

    Those of weight and bias have the shape of ``weight``, or of x where there is none (they are then the gradients of
    a weight of that shape).
    """
    grad = grad.to(x_hat.dtype)
    of_x_hat = grad if weight is None else grad * weight
    mean = of_x_hat.mean(tuple(axes), keepdim=True)
    along = (of_x_hat * x_hat).mean(tuple(axes), keepdim=True)
    shape = grad.shape if weight is None else weight.shape
    return scale * (of_x_hat - mean - x_hat * along), (grad * x_hat).sum_to_size(shape), grad.sum_to_size(shape)


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, axes: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        out, x_hat, scale = normalize_forward(x, axes, weight, bias, eps)
        ctx.save_for_backward(x_hat, scale, weight)
        ctx.axes, ctx.dtype, ctx.has_bias = axes, x.dtype, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        x_hat, scale, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = normalize_backward(grads[0], x_hat, scale, ctx.axes, weight)
        if weight is None:
            return of_x.to(ctx.dtype), None, None, None, None
        biased = of_bias.to(weight.dtype) if ctx.has_bias else None
        return of_x.to(ctx.dtype), None, of_weight.to(weight.dtype), biased, None


class _NormalizeBy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        scale = torch.rsqrt(variance + eps)
        x_hat = (x.to(torch.promote_types(x.dtype, torch.float32)) - mean) * scale
        ctx.save_for_backward(x_hat, scale, weight)
        ctx.dtype, ctx.has_bias = x.dtype, bias is not None
        return _affine(x_hat, weight, bias).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        x_hat, scale, weight = ctx.saved_tensors
        grad = grads[0].to(x_hat.dtype)
        if weight is None:
            return (grad * scale).to(ctx.dtype), None, None, None, None, None
        of_weight = (grad * x_hat).sum_to_size(weight.shape).to(weight.dtype)
        of_bias = grad.sum_to_size(weight.shape).to(weight.dtype) if ctx.has_bias else None
        return (grad * scale * weight).to(ctx.dtype), None, None, of_weight, of_bias, None


def normalize(x: Tensor, axes: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """:func:`normalize_forward` for autograd, whose backward pass is :func:`normalize_backward`.

    Raises:
        TypeError: ``x`` is not floating-point.
        ValueError: ``eps`` is not a positive number, or there is a bias without a weight.
    """
    _check(x, weight, bias, eps)
    out: Tensor = _Normalize.apply(x, tuple(axes), weight, bias, eps)
    return out


def normalize_by(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """The same with a mean and a variance that are given, as in evaluation: they are constants to the gradient.

    All but ``eps`` broadcast to ``x``; errors as of :func:`normalize`.
    """
    _check(x, weight, bias, eps)
    out: Tensor = _NormalizeBy.apply(x, mean, variance, weight, bias, eps)
    return out


def _affine(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = x_hat if weight is None else x_hat * weight
    return scaled if bias is None else scaled + bias


def _check(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
    if not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
    if not is_number(eps) or eps <= 0:
        raise ValueError(f"eps must be a positive number, got {eps!r}")
    if weight is None and bias is not None:
        raise ValueError("bias without weight: give both, the weight alone, or neither")
