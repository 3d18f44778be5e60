"""Layer normalization: each token by its own mean and variance over its features, in training as in evaluation.

Unusual: forward and backward are those of ``kb.nn.normalization``; here are the axes, and torch's module. RMSNorm
(``kb.nn.norms``) is the same without the mean and the bias.

Source: Ba, Kiros and Hinton 2016, Layer Normalization, equations 3 and 4.
Shapes: D features, the last axes; ``...`` any leading axes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.nn.normalization import normalize, normalize_backward, normalize_forward, normalize_loop


def layer_norm_loop(x_D: Tensor, weight_D: Tensor, bias_D: Tensor, eps: float = 1e-5) -> Tensor:
    """Reference: one token [D], one number at a time."""
    x_hat_D = normalize_loop(x_D, eps)
    return torch.stack([w * x + b for w, x, b in zip(weight_D, x_hat_D, bias_D, strict=True)])


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over the last axes of ``x``; arguments as of ``torch.nn.functional.layer_norm``.

    Args:
        x: [..., *normalized_shape], floating; the result has its dtype.
        normalized_shape: Sizes of the last axes.
        weight: Of ``normalized_shape``, or None.
        bias: Of ``normalized_shape``, or None; not without a weight.
        eps: Added to the variance.

    Raises:
        TypeError: ``x`` is not floating-point.
        ValueError: shapes do not fit, ``eps`` is not a positive number, or there is a bias without a weight.
    """
    return normalize(x, _axes(x, tuple(normalized_shape), weight, bias), weight, bias, eps)


def layer_norm_backward(grad: Tensor, x: Tensor, weight: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias from that of the result, without autograd; the last axes are the weight's."""
    axes = _axes(x, tuple(weight.shape), weight, None)
    _, x_hat, scale = normalize_forward(x, axes, weight, None, eps)
    return normalize_backward(grad, x_hat, scale, axes, weight)


class LayerNorm(nn.Module):
    """``torch.nn.LayerNorm`` with the backward pass of this book; arguments, names and initial values are torch's."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sizes = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        for size in sizes:
            require_count("normalized_shape", size)
        if not sizes:
            raise ValueError("normalized_shape must have a size at least, got none")
        self.normalized_shape, self.eps = sizes, eps
        self.weight = nn.Parameter(torch.ones(sizes)) if elementwise_affine else None
        self.bias = nn.Parameter(torch.zeros(sizes)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., *normalized_shape], the same; errors as of :func:`layer_norm`."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


def _axes(x: Tensor, sizes: tuple[int, ...], weight: Tensor | None, bias: Tensor | None) -> tuple[int, ...]:
    if not sizes or x.shape[-len(sizes) :] != sizes:
        raise ValueError(f"x {tuple(x.shape)}: wanted [..., {', '.join(map(str, sizes))}]")
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != sizes:
            raise ValueError(f"{name} {tuple(parameter.shape)}: wanted {sizes}")
    return tuple(range(-len(sizes), 0))
