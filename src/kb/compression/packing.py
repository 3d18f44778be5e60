"""Two 4-bit codes in a byte, the first one low; and the same matrix back, exactly.

Memory is addressed by the byte, so that a 4-bit weight has to share one. A kernel reads the byte and takes it apart by
a mask and a shift.
"""

import torch
from torch import Tensor


def pack_int4(codes: Tensor) -> Tensor:
    """Codes [..., 2 N] of 4 bits as uint8 [..., N].

    Args:
        codes: Integers from 0 to 15, or from -8 to 7 of a signed dtype, which are packed as two's complement.

    Raises:
        TypeError: they are no integers.
        ValueError: the last axis is odd, or a code does not fit into 4 bits.
    """
    if codes.is_floating_point() or codes.dtype == torch.bool:
        raise TypeError(f"codes must be integers, got {codes.dtype}")
    if codes.dim() == 0 or codes.shape[-1] % 2:
        raise ValueError(f"codes must have an even last axis, got {tuple(codes.shape)}")
    wide = codes.to(torch.int16)
    low, high = (int(wide.min()), int(wide.max())) if wide.numel() else (0, 0)
    if low < -8 or high > 15 or (low < 0 and high > 7):
        raise ValueError(f"codes must lie in 0 to 15 or in -8 to 7, got {low} to {high}")
    nibbles = wide & 0xF
    return (nibbles[..., 0::2] | (nibbles[..., 1::2] << 4)).to(torch.uint8)


def unpack_int4(packed: Tensor, *, signed: bool = False) -> Tensor:
    """uint8 [..., N] as codes [..., 2 N]: uint8 from 0 to 15, or int8 from -8 to 7 with ``signed``.

    Raises:
        TypeError: it is not of uint8.
    """
    if packed.dtype != torch.uint8:
        raise TypeError(f"packed must be uint8, got {packed.dtype}")
    codes = torch.stack([packed & 0xF, packed >> 4], dim=-1).flatten(-2)
    if not signed:
        return codes
    return ((codes.to(torch.int8) ^ 8) - 8).to(torch.int8)  # bit 3 counts -8
