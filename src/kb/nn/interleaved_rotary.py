"""Rotary positions in the layout of the paper: the pairs are neighbours, (2i, 2i + 1), as in GPT-J and Meta's Llama.

The half-split layout of ``kb.nn.positions`` turns (i, i + H/2) by the same angles. Unusual: the two are one function of
reordered features, and a dot product of two heads does not see their order. So a checkpoint moves from one layout to
the other by reordering the rows of its query and key projections, once; values and outputs stay as they are.

Source: Su et al. 2021, RoFormer, section 3.2.2 and equation 34.
Shapes: B sequences, T tokens, N heads, H head width, P = H/2 pairs, D model width.
"""

import math

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.nn.positions import require_pairs, require_rotary_fit


def rotation_2d(angle: float) -> Tensor:
    """The matrix that turns a column [2] by ``angle`` radians against the clock, [2, 2] float64.

    Raises:
        ValueError: the angle is not a finite number.
    """
    if not is_number(angle):
        raise ValueError(f"angle must be a finite number of radians, got {angle!r}")
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)


def apply_rotary_interleaved(x_BTNH: Tensor, cos_BTP: Tensor, sin_BTP: Tensor) -> Tensor:
    """Turn every pair (2i, 2i + 1) of every head by its angle; tables and errors as of :func:`kb.nn.apply_rotary`."""
    require_rotary_fit(x_BTNH, cos_BTP, sin_BTP)
    cos, sin = cos_BTP[:, :, None].to(x_BTNH.dtype), sin_BTP[:, :, None].to(x_BTNH.dtype)
    even, odd = x_BTNH[..., 0::2], x_BTNH[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


def apply_rotary_interleaved_loop(x_H: Tensor, position: int, inverse_frequencies_P: Tensor) -> Tensor:
    """Reference: one head vector [H] at one position, each pair of neighbours times its 2-D rotation matrix.

    Raises:
        ValueError: there is not one frequency for each pair of the head.
    """
    require_pairs(x_H, inverse_frequencies_P)
    turned = []
    for i, frequency in enumerate(inverse_frequencies_P.tolist()):
        turned.append(rotation_2d(position * frequency).to(x_H.dtype) @ x_H[2 * i : 2 * i + 2])
    return torch.cat(turned)


def half_split_order(head_dim: int) -> Tensor:
    """Where each feature of a half-split head lies in an interleaved one, [H] int64: 0, 2, 4, … then 1, 3, 5, ….

    ``x[..., order]`` makes half-split features of interleaved ones; ``x[..., order.argsort()]`` goes back.

    Raises:
        ValueError: ``head_dim`` is not a positive even number.
    """
    require_count("head_dim", head_dim, least=2)
    if head_dim % 2:
        raise ValueError(f"head_dim must be even, got {head_dim}")
    return torch.cat((torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)))


def half_split_rows(weight_FD: Tensor, num_heads: int) -> Tensor:
    """A query or key projection of an interleaved checkpoint, for the half-split layout.

    Args:
        weight_FD: Weights [N·H, D], or a bias [N·H]; a key projection has its own number of heads.
        num_heads: N.

    Raises:
        ValueError: the rows are not ``num_heads`` heads of an even width.
    """
    require_count("num_heads", num_heads)
    rows = weight_FD.shape[0] if weight_FD.dim() else 0
    if rows == 0 or rows % (2 * num_heads):
        raise ValueError(f"weight {tuple(weight_FD.shape)}: its rows must be {num_heads} heads of an even width")
    order = half_split_order(rows // num_heads).to(weight_FD.device)
    return weight_FD.unflatten(0, (num_heads, -1))[:, order].flatten(0, 1)
