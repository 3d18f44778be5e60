"""Attention with linear biases: each score loses the distance times the slope of its head; nothing is learned.

Unusual: the slopes of a number of heads that is no power of two are those of the power below, then every second one
of the power above. The paper has one geometric sequence for any number; its released code, and BLOOM's, only for powers
of two, and models were trained with the code.

Source: Press, Smith and Lewis 2022, Train Short, Test Long, section 3 and the released code.
Shapes: T queries, the newest of S positions; N heads.
"""

import torch
from torch import Tensor

from kb.arguments import require_count
from kb.nn.relative_positions import distances


def alibi_slopes_loop(num_heads: int) -> list[float]:
    """Reference: the slopes one after the other, 2^(-8/n), 2^(-16/n), … for a power of two n."""
    require_count("num_heads", num_heads)
    power = 1
    while 2 * power <= num_heads:
        power *= 2
    slopes = [2 ** (-8 * head / power) for head in range(1, power + 1)]
    finer = [2 ** (-8 * head / (2 * power)) for head in range(1, 2 * power + 1)]
    return slopes + finer[0::2][: num_heads - power]


def alibi_slopes(num_heads: int) -> Tensor:
    """The slope of each head, [N] float32; 1/2 to 1/256 for 8 heads.

    Raises:
        ValueError: ``num_heads`` is not a positive integer.
    """
    require_count("num_heads", num_heads)
    power = 1 << (num_heads.bit_length() - 1)
    coarse = torch.arange(1, power + 1, dtype=torch.float64) / power
    between = (2 * torch.arange(num_heads - power, dtype=torch.float64) + 1) / (2 * power)
    return torch.exp2(-8 * torch.cat((coarse, between))).float()


def alibi_bias_loop(slopes_N: Tensor, queries: int, keys: int) -> Tensor:
    """Reference: -slope · |i - j|, one number at a time, [N, T, S]."""
    bias = slopes_N.new_empty(len(slopes_N), queries, keys)
    for n, slope in enumerate(slopes_N):
        for t in range(queries):
            for s in range(keys):
                bias[n, t, s] = -slope * abs(keys - queries + t - s)
    return bias


def alibi_bias(slopes_N: Tensor, queries: int, keys: int) -> Tensor:
    """What is added to the scores, [N, T, S] in the dtype of the slopes; the mask of the future is the caller's.

    A row may gain any constant without changing its softmax. BLOOM adds slope · j, which is this and such a constant.

    Raises:
        TypeError: the slopes are not floating-point.
        ValueError: the slopes are not [N], a number is no positive integer, or there are more queries than keys.
    """
    if slopes_N.dim() != 1:
        raise ValueError(f"slopes must be [N], got {tuple(slopes_N.shape)}")
    if not slopes_N.is_floating_point():
        raise TypeError(f"slopes must be floating-point, got {slopes_N.dtype}")
    # In float32 at least: 70,000 is infinite in float16, and bfloat16 has no 257, though the bias itself may fit.
    wide_N = slopes_N.to(torch.promote_types(slopes_N.dtype, torch.float32))
    far_TS = distances(queries, keys, slopes_N.device).abs()
    return (-wide_N[:, None, None] * far_TS).to(slopes_N.dtype)
