"""One-dimensional causal convolution with dilation: an output sees its own step and earlier ones, ``dilation`` apart.

y_t = b + sum_k W_k x_{t - (K - 1 - k) dilation}, where what lies before the start is 0. As everywhere in deep learning
this is a cross-correlation: the last column of the kernel meets the newest element.

Sources: van den Oord et al. 2016, WaveNet, section 2.1; Bai et al. 2018, arXiv 1803.01271, sections 3.2 and 3.3.
Shapes: B sequences, T steps, C input channels, O output channels, K width of the kernel.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count


def causal_convolution_loop(
    x_BCT: Tensor, weight_OCK: Tensor, bias_O: Tensor | None = None, *, dilation: int = 1
) -> Tensor:
    """Reference: one sequence, output channel, step and tap at a time. Arguments and errors as below."""
    _check(x_BCT, weight_OCK, bias_O, dilation)
    (B, _, T), (channels, _, K) = x_BCT.shape, weight_OCK.shape
    out = []
    for b in range(B):
        for o in range(channels):
            for t in range(T):
                total = x_BCT.new_zeros(()) if bias_O is None else bias_O[o]
                for k in range(K):
                    source = t - (K - 1 - k) * dilation
                    if source >= 0:
                        total = total + weight_OCK[o, :, k] @ x_BCT[b, :, source]
                out.append(total)
    return torch.stack(out).reshape(B, channels, T)


def causal_convolution(x_BCT: Tensor, weight_OCK: Tensor, bias_O: Tensor | None = None, *, dilation: int = 1) -> Tensor:
    """The same by unfolding: each output's inputs side by side, [B, T, C K], times one matrix [C K, O].

    Args:
        x_BCT: The sequences.
        weight_OCK: The kernel.
        bias_O: Added to every step; None for none.
        dilation: Steps between the elements that the kernel meets.

    Returns:
        [B, O, T].

    Raises:
        TypeError: the tensors are not of one floating dtype.
        ValueError: the shapes do not fit, or ``dilation`` is not a positive integer.
    """
    _check(x_BCT, weight_OCK, bias_O, dilation)
    reach = (weight_OCK.shape[2] - 1) * dilation
    windows_BCTK = F.pad(x_BCT, (reach, 0)).unfold(2, reach + 1, 1)[..., ::dilation]
    columns_BTJ = windows_BCTK.transpose(1, 2).flatten(2)
    return F.linear(columns_BTJ, weight_OCK.flatten(1), bias_O).transpose(1, 2)


def receptive_field(kernel: int, dilations: Iterable[int]) -> int:
    """How many steps, its own included, an output of a stack of causal convolutions sees: 1 + (K - 1) sum(dilations).

    Raises:
        ValueError: ``kernel`` or a dilation is not a positive integer.
    """
    require_count("kernel", kernel)
    steps = tuple(dilations)  # read twice, which an iterator is not
    for dilation in steps:
        require_count("dilations", dilation)
    return 1 + (kernel - 1) * sum(steps)


class CausalConv1d(nn.Module):
    """:func:`causal_convolution` with learned weights, held as ``torch.nn.Conv1d`` holds them.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K.
        dilation: Steps between the elements that the kernel meets.
        bias: Whether there is one.

    Raises:
        ValueError: a size is not a positive integer.
    """

    bias: nn.Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        sizes = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "kernel_size": kernel_size,
            "dilation": dilation,
        }
        for name, size in sizes.items():
            require_count(name, size)
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all numbers uniformly between ±1 / sqrt(C K), as torch does."""
        bound = self.weight[0].numel() ** -0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] to [B, O, T]."""
        return causal_convolution(x_BCT, self.weight, self.bias, dilation=self.dilation)


def _check(x_BCT: Tensor, weight_OCK: Tensor, bias_O: Tensor | None, dilation: int) -> None:
    require_count("dilation", dilation)
    shapes = f"x {tuple(x_BCT.shape)}, weight {tuple(weight_OCK.shape)}"
    if x_BCT.dim() != 3 or weight_OCK.dim() != 3 or x_BCT.shape[1] != weight_OCK.shape[1] or 0 in weight_OCK.shape:
        raise ValueError(f"{shapes}: wanted x [B, C, T] and weight [O, C, K]")
    if 0 in x_BCT.shape:
        raise ValueError(f"{shapes}: x must not be empty")
    if bias_O is not None and bias_O.shape != weight_OCK.shape[:1]:
        raise ValueError(f"bias must be [{weight_OCK.shape[0]}], got {tuple(bias_O.shape)}")
    dtypes = {one.dtype for one in (x_BCT, weight_OCK, *(() if bias_O is None else (bias_O,)))}
    if not x_BCT.is_floating_point() or (len(dtypes) > 1 and not torch.is_autocast_enabled(x_BCT.device.type)):
        raise TypeError(f"x, weight and bias must be of one floating dtype, got {', '.join(sorted(map(str, dtypes)))}")
