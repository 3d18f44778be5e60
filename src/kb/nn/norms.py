"""Root mean square layer normalization: y_i = w_i x_i / sqrt(mean_j(x_j²) + eps), with no mean taken off and no bias.

Unusual: the statistics are taken in float32 whatever the input's dtype, since the square of a float16 over 256
overflows, and since released checkpoints were trained that way. ``compute_dtype`` lifts this for gradient checks.

Source: Zhang and Sennrich 2019, Root Mean Square Layer Normalization, equation 4 (eps as in LLaMA).
Shapes: D the normalized width; ``...`` any leading axes.
"""

import torch
from torch import Tensor, nn

from kb.arguments import is_number, require_count


def rms_norm_loop(x_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Reference: one vector [D], one number at a time, in the input's own dtype.

    Raises:
        ValueError: ``x_D`` and ``weight_D`` are not two vectors of one length.
    """
    if x_D.dim() != 1 or x_D.shape != weight_D.shape:
        raise ValueError(f"x_D and weight_D must be [D], got {tuple(x_D.shape)} and {tuple(weight_D.shape)}")
    total = sum((x * x for x in x_D), start=x_D.new_zeros(()))
    root_mean_square = torch.sqrt(total / len(x_D) + eps)
    return torch.stack([w * x / root_mean_square for w, x in zip(weight_D, x_D, strict=True)])


def rms_norm(x: Tensor, weight_D: Tensor, eps: float, *, compute_dtype: torch.dtype = torch.float32) -> Tensor:
    """Normalize the last axis of ``x`` [..., D] to root mean square 1, then scale by ``weight_D`` [D].

    Args:
        x: Any floating dtype; the result has the dtype of ``weight * x``.
        weight_D: One gain per feature.
        eps: Added to the mean square; dimensionless, 1e-6 to 1e-5 in released models.
        compute_dtype: Where the statistics are taken.

    Raises:
        TypeError: ``x`` or ``weight_D`` is not of a floating dtype.
        ValueError: the last axis of ``x`` is not as long as ``weight_D``, or ``eps`` is not a positive number.
    """
    if weight_D.dim() != 1 or x.dim() < 1 or x.shape[-1] != weight_D.shape[0]:
        raise ValueError(
            f"x {tuple(x.shape)} and weight {tuple(weight_D.shape)}: the last axis of x must be the weight's length"
        )
    if not is_number(eps) or eps <= 0:
        raise ValueError(f"eps must be a positive number, got {eps!r}")
    if not (x.is_floating_point() and weight_D.is_floating_point()):
        raise TypeError(f"x and weight must be floating-point tensors, got {x.dtype} and {weight_D.dtype}")
    wide = x.to(compute_dtype)
    normalized = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight_D * normalized.to(x.dtype)


class RMSNorm(nn.Module):
    """:func:`rms_norm` with a learned gain, as ``torch.nn.RMSNorm`` and transformers' LlamaRMSNorm hold it.

    Raises:
        ValueError: ``width`` is not a positive integer, or ``eps`` not a positive number.
    """

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        require_count("width", width)
        if not is_number(eps) or eps <= 0:
            raise ValueError(f"eps must be a positive number, got {eps!r}")
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        return rms_norm(x, self.weight, self.eps)
