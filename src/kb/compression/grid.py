"""Uniform quantization of a weight matrix: evenly spaced levels, one scale for a group of weights.

Three kinds of grid. Symmetric (absmax): w ≈ s q with q from -(2^(b-1) - 1) to 2^(b-1) - 1; 0 is a level, and one code
is left unused. Affine (zero-point): w ≈ s (q - z) with q from 0 to 2^b - 1 and an integer z, so that 0 is a level too.
Minimum: w ≈ m + s q with a float m, as GGUF's Q4_1 stores it; 0 need not be a level. Unusual: a scale is rounded to the
dtype that it is stored in *before* the weights are rounded to it, so that what is computed is what a file would give.

Sources: Jacob et al. 2018, Quantization and Training of Neural Networks, section 2.1 (zero-point); Nagel et al. 2021, A
White Paper on Neural Network Quantization, section 2.2 (affine, symmetric), 2.2.3 (per tensor, channel).
Shapes: O outputs, I inputs, G groups of a row; scales are [O, G], [O, 1] of whole rows, [1, 1] of a tensor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_integer

KINDS = ("symmetric", "affine", "minimum")
SHARES = ("row", "tensor")


@dataclass(frozen=True)
class Grid:
    """How weights are rounded.

    Args:
        bits: Of a weight, 2 to 8.
        kind: "symmetric", "affine" or "minimum".
        group: How many weights of a row share a scale; "row" for all of a row, "tensor" for all of the matrix.
        scale_dtype: What scales, and the minima of "minimum", are stored in.

    Raises:
        ValueError: one is out of its range.
    """

    bits: int = 4
    kind: str = "affine"
    group: int | str = 64
    scale_dtype: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        if not is_integer(self.bits) or not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be an integer from 2 to 8, got {self.bits!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is not known; wanted one of {', '.join(KINDS)}")
        if self.group not in SHARES and not (isinstance(self.group, int) and is_integer(self.group) and self.group > 0):
            raise ValueError(f"group must be a positive integer, 'row' or 'tensor', got {self.group!r}")
        if self.scale_dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise ValueError(f"scale_dtype must be float16, bfloat16 or float32, got {self.scale_dtype!r}")

    @property
    def lowest(self) -> int:
        """The lowest code."""
        return -(2 ** (self.bits - 1) - 1) if self.kind == "symmetric" else 0

    @property
    def highest(self) -> int:
        """The highest code."""
        return 2 ** (self.bits - 1) - 1 if self.kind == "symmetric" else 2**self.bits - 1

    def width(self, inputs: int) -> int:
        """Weights of one row that share a scale.

        Raises:
            ValueError: the row is not a whole number of groups.
        """
        width = self.group if isinstance(self.group, int) else inputs
        if inputs % width:
            raise ValueError(f"group {width} does not divide the {inputs} inputs of a row")
        return width

    def bits_per_weight(self, outputs: int, inputs: int) -> float:
        """Bits of a weight in a matrix [outputs, inputs], its share of scales and offsets included."""
        groups = 1 if self.group == "tensor" else outputs * (inputs // self.width(inputs))
        scale_bits = torch.finfo(self.scale_dtype).bits
        offset_bits = {"symmetric": 0, "affine": self.bits, "minimum": scale_bits}[self.kind]
        return self.bits + groups * (scale_bits + offset_bits) / (outputs * inputs)


@dataclass(frozen=True)
class QuantizedTensor:
    """A matrix as codes and scales.

    Args:
        codes: int8 where symmetric, else uint8; unpacked, see :mod:`kb.compression.packing`.
        scale: float32 values that ``grid.scale_dtype`` holds exactly, [O, G], or [1, 1] of a tensor.
        offset: Zero-points or minima in float32, of the same shape; zeros where symmetric.
        grid: How it was rounded.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor
    grid: Grid

    @property
    def bits_per_weight(self) -> float:
        """Stored bits of a weight, its share of scales and offsets included."""
        return self.grid.bits_per_weight(*self.codes.shape)

    @property
    def storage_bytes(self) -> int:
        """Bytes of codes, packed without gaps, and of scales and offsets."""
        return math.ceil(self.bits_per_weight * self.codes.numel() / 8)

    def dequantize(self) -> Tensor:
        """The weights that the codes stand for, float32 [O, I]."""
        inputs = self.codes.shape[1]
        return decode(self.codes.float(), spread(self.scale, inputs), spread(self.offset, inputs), self.grid)


def quantize(weight_OI: Tensor, grid: Grid) -> QuantizedTensor:
    """Round a matrix to the nearest levels of a grid that spans each group's own range.

    Args:
        weight_OI: Finite numbers [O, I].
        grid: The grid.

    Raises:
        ValueError: it is no such matrix, or a row is not a whole number of groups.
    """
    scale, offset = fit(weight_OI, grid)
    inputs = weight_OI.shape[1]
    codes = encode(weight_OI.float(), spread(scale, inputs), spread(offset, inputs), grid)
    return QuantizedTensor(codes.to(torch.int8 if grid.kind == "symmetric" else torch.uint8), scale, offset, grid)


def fit(weight_OI: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scale and offset of every group of a matrix, so that its smallest and largest weight are (nearly) levels.

    Raises:
        ValueError: as for :func:`quantize`.
    """
    require_matrix("weight", weight_OI)
    outputs, inputs = weight_OI.shape
    shape = (1, 1, -1) if grid.group == "tensor" else (outputs, -1, grid.width(inputs))
    groups = weight_OI.float().reshape(shape)
    if grid.kind == "symmetric":
        scale = _stored(groups.abs().amax(-1) / grid.highest, grid)
        return scale, torch.zeros_like(scale)
    low, high = groups.amin(-1), groups.amax(-1)
    if grid.kind == "affine":  # 0 is kept a level: it is what padding and ReLU give
        low, high = low.clamp(max=0), high.clamp(min=0)
    scale = _stored((high - low) / grid.highest, grid)
    if grid.kind == "affine":
        return scale, (-low / scale).round().clamp(0, grid.highest)
    return scale, low.to(grid.scale_dtype).float()


def encode(weight: Tensor, scale: Tensor, offset: Tensor, grid: Grid) -> Tensor:
    """The codes, in float32, of weights under scales and offsets that broadcast to them; halves go to even codes."""
    if grid.kind == "minimum":
        return ((weight - offset) / scale).round().clamp(grid.lowest, grid.highest)
    return ((weight / scale).round() + offset).clamp(grid.lowest, grid.highest)


def decode(codes: Tensor, scale: Tensor, offset: Tensor, grid: Grid) -> Tensor:
    """The weights of codes; :func:`encode` backwards."""
    return codes * scale + offset if grid.kind == "minimum" else (codes - offset) * scale


def spread(part: Tensor, inputs: int) -> Tensor:
    """What groups share, [O, G], as one number a weight, [O, inputs], or one in all, [1, 1]."""
    return part if part.numel() == 1 else part.repeat_interleave(inputs // part.shape[1], dim=1)


def quantize_loop(weights: Sequence[float], bits: int, kind: str) -> tuple[list[int], list[float]]:
    """One group by explicit steps, in Python's own floats: the codes, and the weights they stand for."""
    grid = Grid(bits, kind, "row", torch.float32)
    low, high = min(weights), max(weights)
    if kind == "symmetric":
        scale, offset = max(abs(low), abs(high)) / grid.highest or 1.0, 0.0
    elif kind == "affine":
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / grid.highest or 1.0
        offset = round(-low / scale)
    else:
        scale, offset = (high - low) / grid.highest or 1.0, low
    codes, restored = [], []
    for weight in weights:
        code = round((weight - offset) / scale) if kind == "minimum" else round(weight / scale) + offset
        code = int(min(max(code, grid.lowest), grid.highest))
        codes.append(code)
        restored.append(offset + scale * code if kind == "minimum" else scale * (code - offset))
    return codes, restored


def require_matrix(name: str, weight: Tensor) -> None:
    """Refuse what is no matrix of finite floating-point numbers.

    Raises:
        TypeError: it is no tensor of floating-point numbers.
        ValueError: it has not two axes, is empty, or holds a number that is not finite.
    """
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise TypeError(f"{name} must be a tensor of floating-point numbers, got {kind}")
    if weight.dim() != 2 or not weight.numel():
        raise ValueError(f"{name} must be a non-empty matrix [outputs, inputs], got {tuple(weight.shape)}")
    if not bool(torch.isfinite(weight).all()):
        raise ValueError(f"{name} must be finite, got nan or infinity")


def _stored(scale: Tensor, grid: Grid) -> Tensor:
    # A group of zeros, or one too small for the dtype, gets scale 1 and so codes of 0.
    stored = scale.to(grid.scale_dtype).float()
    if not bool(torch.isfinite(stored).all()):
        raise ValueError(f"weight is too large for scales in {grid.scale_dtype}")
    return torch.where(stored > 0, stored, torch.ones_like(stored))
