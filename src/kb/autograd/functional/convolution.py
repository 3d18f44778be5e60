"""Convolution over pictures: windows are gathered, the rest is a matrix product, and the gradient that of the two.

Source: Chellapilla, Puri and Simard 2006, section 2; Dumoulin and Visin 2016, A guide to convolution arithmetic.
Shapes: B pictures, C channels, H rows, W columns, O channels out, G groups, R x S kernel, I x J places of the kernel.
"""

import math
from collections.abc import Sequence
from typing import Any

from kb.arguments import require_count
from kb.autograd import ops
from kb.autograd.arguments import pair, require_floating

Pair = int | Sequence[int]


def conv2d(
    input: Any,  # noqa: A002 - torch's name
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Any:
    """Each kernel's products with the picture, summed, at each of its places.

    Args:
        input: [B, C, H, W] or [C, H, W], floating.
        weight: [O, C / groups, R, S].
        bias: [O].
        stride: Steps between the places, for rows and columns.
        padding: Zeros on each side, for rows and columns; "valid" for none, "same" for as many as keep the size.
        dilation: Steps between the kernel's elements.
        groups: Into how many parts the channels are divided, each with kernels of its own.

    Returns:
        [B, O, I, J] or [O, I, J].

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: the shapes do not fit, or a size is out of range.
    """
    require_floating(input=input, weight=weight, bias=bias)
    steps, gaps = pair("stride", stride, least=1), pair("dilation", dilation, least=1)
    require_count("groups", groups)
    shape, kernels = tuple(input.shape), tuple(weight.shape)
    if len(shape) not in (3, 4) or len(kernels) != 4:
        raise ValueError(f"input must be [B, C, H, W] or [C, H, W] and weight [O, C, R, S], got {shape} and {kernels}")
    if len(shape) == 3:
        out = conv2d(ops.unsqueezed(input, 0), weight, bias, stride, padding, dilation, groups)
        return ops.reshape(out, to=tuple(out.shape[1:]))
    if shape[1] != kernels[1] * groups or kernels[0] % groups:
        raise ValueError(f"input {shape} does not fit weight {kernels} in {groups} groups")
    if bias is not None and tuple(bias.shape) != kernels[:1]:
        raise ValueError(f"bias must have shape {kernels[:1]}, got {tuple(bias.shape)}")
    widths = _widths(padding, kernels[2:], steps, gaps)
    for size, (low, high), kernel, gap in zip(shape[2:], widths, kernels[2:], gaps, strict=True):
        if not 0 < gap * (kernel - 1) + 1 <= size + low + high:
            raise ValueError(f"a kernel of {kernels[2:]} with dilation {gaps} does not fit input {shape} with {widths}")
    out = _convolved(ops.pad(input, ((0, 0), (0, 0), *widths)), weight, steps, gaps, groups)
    return out if bias is None else out + ops.reshape(bias, to=(kernels[0], 1, 1))


def _convolved(padded: Any, weight: Any, stride: tuple[int, int], dilation: tuple[int, int], groups: int) -> Any:
    kernels, channels, R, S = weight.shape
    batch = padded.shape[0]
    depth = channels * R * S
    if (R, S) == (1, 1) and stride == (1, 1):
        windows, places = padded, padded.shape[-2:]
    else:
        windows = ops.unfold(padded, kernel=(R, S), stride=stride, dilation=dilation)
        places = windows.shape[-2:]
    # Pictures and places in one axis: one large product for each group, and a gradient of the weight summed within it.
    split = ops.reshape(windows, to=(batch, groups, depth, math.prod(places)))
    columns = ops.reshape(ops.permute(split, order=(1, 2, 0, 3)), to=(groups, depth, batch * math.prod(places)))
    out = ops.matmul(ops.reshape(weight, to=(groups, kernels // groups, depth)), columns)
    return ops.permute(ops.reshape(out, to=(kernels, batch, *places)), order=(1, 0, 2, 3))


def _widths(
    padding: Pair | str, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> list[tuple[int, int]]:
    """Zeros before and after, for rows and for columns."""
    if not isinstance(padding, str):
        return [(one, one) for one in pair("padding", padding, least=0)]
    if padding not in ("valid", "same"):
        raise ValueError(f"padding must be 'valid', 'same' or integers, got {padding!r}")
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if stride != (1, 1):
        raise ValueError(f"padding 'same' wants a stride of 1, got {stride}")
    totals = [gap * (size - 1) for gap, size in zip(dilation, kernel, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]
