"""NF4: sixteen levels where a normal distribution has its quantiles, one scale a block; and a layer that keeps them.

Weights of a trained layer are roughly normal, so evenly spaced levels are crowded at the rim and sparse in the middle.
NF4 takes nine quantiles from 0 to 1 and eight from -1 to 0, whose shared 0 is kept once. Scales are quantized in their
turn (double quantization). Unusual: the table is computed, not typed in; and scales become int8 under one float a
chunk, after their mean is taken off, where the paper has 8-bit floats.

Source: Dettmers et al. 2023, QLoRA, section 3 (equation 4, double quantization) and appendix E (the sixteen values).
Shapes: K blocks of a weight.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count
from kb.compression.grid import require_matrix
from kb.compression.packing import pack_int4, unpack_int4

SCALES_OF_A_CHUNK = 256
# Halfway between leaving out half of a 15th and half of a 16th of the mass at an end: 0 and 1 have no finite quantile.
_OFFSET = (1 - 1 / 30 + 1 - 1 / 32) / 2


def nf4_table() -> Tensor:
    """The sixteen levels, float32, from -1 to 1, the eighth of them 0."""

    def quantiles(count: int) -> list[float]:
        step = (_OFFSET - 0.5) / count
        return [NormalDist().inv_cdf(_OFFSET - place * step) for place in range(count)]

    positive, negative = quantiles(8), [-value for value in quantiles(7)]
    levels = sorted([*negative, 0.0, *positive])
    return torch.tensor([level / max(positive) for level in levels], dtype=torch.float64).float()


@dataclass(frozen=True)
class NF4Tensor:
    """A matrix in NF4.

    Args:
        packed: Codes, two a byte, row by row; padded to whole blocks.
        scales: The largest absolute value of each block: float32, or int8 with double quantization.
        chunk_scales: One float32 for 256 int8 scales; empty without double quantization.
        mean_scale: Mean of all scales, float32 [1]; 0 without double quantization.
        shape: Of the matrix.
        block_size: Weights of a block.
    """

    packed: Tensor
    scales: Tensor
    chunk_scales: Tensor
    mean_scale: Tensor
    shape: tuple[int, ...]
    block_size: int

    @property
    def bits_per_weight(self) -> float:
        """Stored bits of a weight, scales included: 4.127 with blocks of 64 and double quantization."""
        return 8 * self.storage_bytes / math.prod(self.shape)

    @property
    def storage_bytes(self) -> int:
        """Bytes of codes and scales."""
        doubled = self.chunk_scales.numel() > 0
        parts = [self.packed, self.scales, self.chunk_scales, *([self.mean_scale] if doubled else [])]
        return sum(part.numel() * part.element_size() for part in parts)

    def dequantize(self) -> Tensor:
        """The weights that the codes stand for, float32."""
        return _dequantize(self.packed, self.scales, self.chunk_scales, self.mean_scale, self.shape, self.block_size)


def quantize_nf4(weight: Tensor, block_size: int = 64, double_quant: bool = True) -> NF4Tensor:
    """Round a matrix to NF4, block by block along its rows, which may go on in the next row.

    Args:
        weight: Finite numbers [O, I].
        block_size: Weights that share a scale; even.
        double_quant: Whether scales are kept as int8.

    Raises:
        TypeError: the weight is no floating-point tensor.
        ValueError: it is no finite matrix, or the block size is odd or not positive.
    """
    require_matrix("weight", weight)
    require_count("block_size", block_size, least=2)
    if block_size % 2:
        raise ValueError(f"block_size must be even, as two codes share a byte, got {block_size}")
    flat = weight.detach().float().flatten()
    blocks = F.pad(flat, (0, -len(flat) % block_size)).view(-1, block_size)
    absmax_K = blocks.abs().amax(1)
    nothing = torch.empty(0, device=weight.device)
    scales, chunk_scales, mean_scale = absmax_K, nothing, torch.zeros(1, device=weight.device)
    if double_quant:
        scales, chunk_scales, mean_scale = _quantize_scales(absmax_K)
    # Rounded to the exact scale, as in the paper; the scale's own rounding is an error on top.
    ratios = blocks / absmax_K.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    table = nf4_table().to(weight.device)
    codes = torch.bucketize(ratios, (table[1:] + table[:-1]) / 2)
    packed = pack_int4(codes.flatten())
    return NF4Tensor(packed, scales, chunk_scales, mean_scale, tuple(weight.shape), block_size)


class NF4Linear(nn.Module):
    """A linear layer whose frozen weight is kept in NF4 and dequantized at every call; gradients reach its input.

    Args:
        weight: [O, I].
        bias: [O], or None; kept as it is, frozen.
        block_size: As for :func:`quantize_nf4`.
        double_quant: As for :func:`quantize_nf4`.

    Raises:
        TypeError: as for :func:`quantize_nf4`.
        ValueError: as for :func:`quantize_nf4`, or the bias is not [O].
    """

    packed: Tensor
    scales: Tensor
    chunk_scales: Tensor
    mean_scale: Tensor
    bias: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, block_size: int = 64, double_quant: bool = True
    ) -> None:
        super().__init__()
        quantized = quantize_nf4(weight, block_size, double_quant)
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"bias must be [{weight.shape[0]}], got {tuple(bias.shape)}")
        self.out_features, self.in_features = weight.shape
        self.block_size = block_size
        for name in ("packed", "scales", "chunk_scales", "mean_scale"):
            self.register_buffer(name, getattr(quantized, name))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """The dequantized weight, made anew at each access, float32 [O, I]."""
        shape = (self.out_features, self.in_features)
        parts = (self.packed, self.scales, self.chunk_scales, self.mean_scale)
        return _dequantize(*parts, shape, self.block_size)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O], in the dtype of ``x``."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


def _quantize_scales(absmax_K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean = absmax_K.mean()[None]
    centred = F.pad(absmax_K - mean, (0, -len(absmax_K) % SCALES_OF_A_CHUNK)).view(-1, SCALES_OF_A_CHUNK)
    largest = centred.abs().amax(1)
    chunk_scales = torch.where(largest > 0, largest, torch.ones_like(largest)) / 127
    codes = (centred / chunk_scales[:, None]).round().to(torch.int8)
    return codes.flatten()[: len(absmax_K)].clone(), chunk_scales, mean


def _dequantize(
    packed: Tensor, scales: Tensor, chunk_scales: Tensor, mean_scale: Tensor, shape: tuple[int, ...], block_size: int
) -> Tensor:
    if scales.dtype == torch.int8:
        chunk = torch.arange(len(scales), device=scales.device) // SCALES_OF_A_CHUNK
        absmax_K = scales.float() * chunk_scales.float()[chunk] + mean_scale.float()
    else:
        absmax_K = scales.float()
    levels = nf4_table().to(packed.device)[unpack_int4(packed).int()]
    blocks = levels.view(-1, block_size) * absmax_K[:, None]
    return blocks.flatten()[: math.prod(shape)].view(shape)
