"""Layers over pictures: convolution and pooling.

Source: torch's documentation of ``torch.nn``, for names, shapes and initial values.
"""

import math
from typing import Any

from kb.arguments import require_count
from kb.autograd import functional as F
from kb.autograd.arguments import pair
from kb.autograd.functional.convolution import Pair
from kb.autograd.nn import init
from kb.autograd.nn.module import Module
from kb.autograd.nn.new import new_parameter


class Conv2d(Module):
    """A convolution, [B, in_channels, H, W] to [B, out_channels, I, J].

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel_size: Rows and columns of the kernel.
        stride: As of :func:`kb.autograd.functional.conv2d`, like the next three.
        padding: See there.
        dilation: See there.
        groups: See there.
        bias: Whether a number is added to each channel.
        dtype: Floating, of NumPy; float32 if not given.
        generator: Where the initial values come from: uniform, up to 1 / sqrt(numbers under the kernel) in size.

    Attributes:
        weight: [out_channels, in_channels / groups, R, S].
        bias: [out_channels], or None.

    Raises:
        TypeError: the dtype is not floating, or the generator none of NumPy.
        ValueError: a size is out of range, or the channels do not divide by the groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: Any = None,
        generator: init.Generator = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            require_count(name, value)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"channels must divide by groups, got {in_channels} and {out_channels} in {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair("kernel_size", kernel_size, least=1)
        self.stride, self.dilation = pair("stride", stride, least=1), pair("dilation", dilation, least=1)
        self.padding = padding if isinstance(padding, str) else pair("padding", padding, least=0)
        if padding not in ("valid", "same") and isinstance(padding, str):
            raise ValueError(f"padding must be 'valid', 'same' or integers, got {padding!r}")
        self.weight = new_parameter((out_channels, in_channels // groups, *self.kernel_size), dtype)
        self.bias = new_parameter((out_channels,), dtype) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: init.Generator = None) -> None:
        """Draw the initial values anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound, generator)

    def forward(self, input: Any) -> Any:  # noqa: A002 - torch's name
        """[B, in_channels, H, W] or [in_channels, H, W]."""
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Channels and sizes, where they are not the usual ones."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class MaxPool2d(Module):
    """The greatest number of each window; arguments as of :func:`kb.autograd.functional.max_pool2d`."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode
        _check_windows(self.kernel_size, self.stride, padding)
        pair("dilation", dilation, least=1)

    def forward(self, input: Any) -> Any:  # noqa: A002
        """[B, C, H, W] to [B, C, I, J]."""
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        """The arguments."""
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{sizes}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(Module):
    """The mean of each window; arguments as of :func:`kb.autograd.functional.avg_pool2d`."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override
        _check_windows(self.kernel_size, self.stride, padding)

    def forward(self, input: Any) -> Any:  # noqa: A002
        """[B, C, H, W] to [B, C, I, J]."""
        sizes = (self.kernel_size, self.stride, self.padding)
        return F.avg_pool2d(input, *sizes, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _check_windows(kernel_size: Pair, stride: Pair, padding: Pair) -> None:
    pair("kernel_size", kernel_size, least=1)
    pair("stride", stride, least=1)
    pair("padding", padding, least=0)
