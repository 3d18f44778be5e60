"""Pooling over pictures: the greatest number of each window, or the mean.

Unusual: max pooling finds the greatest numbers outside of the tape and only picks them on it. So each gradient goes
straight to its pixel, and of equal numbers the first one in reading order gets it, as in torch.

Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, chapter 3.
Shapes: P pictures times channels, H rows, W columns, R x S window, I x J windows.
"""

import math
from collections.abc import Sequence
from typing import Any

from kb.arguments import is_number
from kb.autograd import backend, ops
from kb.autograd.arguments import array_in, pair, require_floating
from kb.autograd.backend import Array

Pair = int | Sequence[int]


def max_pool2d(
    input: Any,  # noqa: A002 - torch's name
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Any:
    """The greatest number of each window.

    Args:
        input: [B, C, H, W] or [C, H, W], floating.
        kernel_size: Rows and columns of a window.
        stride: Steps between windows; ``kernel_size`` if not given.
        padding: Places on each side, at most half of the window, which are never the greatest.
        dilation: Steps between the elements of a window.
        ceil_mode: Whether a last window may reach beyond the picture.

    Returns:
        [B, C, I, J] or [C, I, J].

    Raises:
        TypeError: ``input`` is not floating.
        ValueError: the shape does not fit, or a size is out of range.
    """
    lead, sizes = _picture(input)
    kernel, gaps = pair("kernel_size", kernel_size, least=1), pair("dilation", dilation, least=1)
    steps = kernel if stride is None else pair("stride", stride, least=1)
    before = _padding(padding, kernel)
    places, widths = _places(sizes, kernel, steps, before, gaps, ceil_mode)
    array = backend.namespace(array_in("input", input)).reshape(array_in("input", input), (math.prod(lead), 1, *sizes))
    padded = ops.pad(array, ((0, 0), (0, 0), *widths), -math.inf)
    windows = ops.unfold(padded, kernel=kernel, stride=steps, dilation=gaps)
    chosen = _greatest(windows, sizes, steps, before, gaps)
    out = ops.getitem(ops.reshape(input, to=(math.prod(lead) * math.prod(sizes),)), chosen)
    return ops.reshape(out, to=(*lead, *places))


def avg_pool2d(
    input: Any,  # noqa: A002
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window.

    Args:
        input: [B, C, H, W] or [C, H, W], floating.
        kernel_size: Rows and columns of a window.
        stride: Steps between windows; ``kernel_size`` if not given.
        padding: Zeros on each side, at most half of the window.
        ceil_mode: Whether a last window may reach beyond the padded picture; what is beyond does not count.
        count_include_pad: Whether the zeros of ``padding`` count.
        divisor_override: What the sums are divided by, instead of the count.

    Returns:
        [B, C, I, J] or [C, I, J].

    Raises:
        TypeError: ``input`` is not floating.
        ValueError: the shape does not fit, or a number is out of range.
    """
    lead, sizes = _picture(input)
    kernel = pair("kernel_size", kernel_size, least=1)
    steps = kernel if stride is None else pair("stride", stride, least=1)
    before = _padding(padding, kernel)
    if divisor_override is not None and (not is_number(divisor_override) or divisor_override == 0):
        raise ValueError(f"divisor_override must be a number other than 0, got {divisor_override!r}")
    places, widths = _places(sizes, kernel, steps, before, (1, 1), ceil_mode)
    padded = ops.pad(ops.reshape(input, to=(math.prod(lead), 1, *sizes)), ((0, 0), (0, 0), *widths))
    totals = ops.sum(ops.unfold(padded, kernel=kernel, stride=steps, dilation=(1, 1)), axis=(2, 3))
    if divisor_override is not None:
        return ops.reshape(totals * (1 / divisor_override), to=(*lead, *places))
    array = array_in("input", input)
    rows, columns = (
        [_extent(i * step - pad, window, size, pad, count_include_pad) for i in range(count)]
        for count, step, pad, window, size in zip(places, steps, before, kernel, sizes, strict=True)
    )
    counts = backend.namespace(array).asarray(
        [[row * column for column in columns] for row in rows], dtype=array.dtype, device=backend.device(array)
    )
    return ops.reshape(totals / counts, to=(*lead, *places))


def _picture(value: Any) -> tuple[tuple[int, ...], tuple[int, int]]:
    """The axes before the rows, and rows and columns."""
    require_floating(input=value)
    shape = tuple(value.shape)
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        raise ValueError(f"input must be [B, C, H, W] or [C, H, W], with no size of 0 but B, got {shape}")
    return shape[:-2], shape[-2:]


def _padding(padding: Pair, kernel: tuple[int, int]) -> tuple[int, int]:
    before = pair("padding", padding, least=0)
    if before[0] > kernel[0] // 2 or before[1] > kernel[1] // 2:
        raise ValueError(f"padding must be at most half of kernel_size {kernel}, got {before}")
    return before


def _places(
    sizes: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    ceil_mode: bool,
) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """How many windows there are, and the padding before and after that they reach into, for rows and columns."""
    counts, widths = [], []
    for size, window, step, pad, gap in zip(sizes, kernel, stride, padding, dilation, strict=True):
        reach = gap * (window - 1) + 1
        room = size + 2 * pad - reach
        count = (room + (step - 1 if ceil_mode else 0)) // step + 1
        if (count - 1) * step >= size + pad:  # a last window must begin in the picture, or before it
            count -= 1
        first_inside = [i * step - pad + gap * max(0, -((i * step - pad) // gap)) for i in range(count)]
        if room < 0 or any(place >= size for place in first_inside):
            raise ValueError(
                f"a window of {kernel} with padding {padding} and dilation {dilation} does not fit a picture of {sizes}"
            )
        counts.append(count)
        widths.append((pad, pad + max(0, (count - 1) * step + reach - size - 2 * pad)))
    return tuple(counts), widths


def _greatest(
    windows: Array,
    sizes: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Array:
    """Of windows [P, 1, R, S, I, J], where in all pictures the greatest number lies, [P I J] in reading order."""
    P, _, R, S, *places = windows.shape
    xp, where = backend.namespace(windows), backend.device(windows)
    best = xp.argmax(xp.reshape(windows, (P, R * S, *places)), axis=1)
    rows = xp.arange(places[0], device=where)[:, None] * stride[0] - padding[0]
    columns = xp.arange(places[1], device=where)[None, :] * stride[1] - padding[1]
    row, column = rows + best // S * dilation[0], columns + best % S * dilation[1]
    # Where all is -inf, the first element was taken, which may be padding: take the first one in the picture instead.
    outside = (row < 0) | (row >= sizes[0]) | (column < 0) | (column >= sizes[1])
    row = xp.where(outside, rows + _missing(xp, rows, dilation[0]), row)
    column = xp.where(outside, columns + _missing(xp, columns, dilation[1]), column)
    picture = xp.arange(P, device=where)[:, None, None]
    return xp.reshape((picture * sizes[0] + row) * sizes[1] + column, (-1,))


def _missing(xp: Any, starts: Array, gap: int) -> Array:
    """From each start before the picture, the way in steps of ``gap`` into it; 0 from those in the picture."""
    ways = -(starts // gap) * gap
    return xp.where(ways > 0, ways, 0)


def _extent(start: int, window: int, size: int, padding: int, count_include_pad: bool) -> int:
    """How many of a window's rows, or columns, count."""
    stop = min(start + window, size + padding)
    return stop - start if count_include_pad else min(stop, size) - max(start, 0)
