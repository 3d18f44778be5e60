"""Group normalization: each row's channels in groups, each group by its own mean and variance; nothing of other rows.

One group is layer norm over channels and places; as many groups as channels is instance norm. Unusual: there is no
kernel of its own, a view that gives each group an axis is enough. The weight and the bias stay one for each channel.

Sources: Wu and He 2018, Group Normalization, section 3.1; Ulyanov, Vedaldi and Lempitsky 2016, Instance Normalization.
Shapes: N rows, C channels, G groups, ``...`` places.
"""

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.nn.batch_normalization import RunningNorm
from kb.nn.normalization import normalize, normalize_backward, normalize_forward, normalize_loop, statistics


def group_norm_loop(x_NCL: Tensor, num_groups: int, weight_C: Tensor, bias_C: Tensor, eps: float = 1e-5) -> Tensor:
    """Reference: rows [N, C, L], one group of one row at a time."""
    (N, C, L), size = x_NCL.shape, x_NCL.shape[1] // num_groups
    out = torch.empty_like(x_NCL)
    for n in range(N):
        for start in range(0, C, size):
            x_hat = normalize_loop(x_NCL[n, start : start + size].flatten(), eps).view(size, L)
            for i in range(size):
                out[n, start + i] = weight_C[start + i] * x_hat[i] + bias_C[start + i]
    return out


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Mean 0 and variance 1 in each group of each row; arguments as of ``torch.nn.functional.group_norm``.

    Args:
        x: [N, C, ...], floating; the result has its dtype.
        num_groups: G, which divides C. Channels of a group are neighbours.
        weight: [C], or None.
        bias: [C], or None; not without a weight.
        eps: Added to the variance.

    Raises:
        TypeError: ``x`` is not floating-point.
        ValueError: shapes do not fit, G does not divide C, or ``eps`` is not a positive number.
    """
    _check(x, num_groups, weight, bias)
    grouped = x.unflatten(1, (num_groups, -1))
    scale, shift = (None if one is None else _in_groups(one, num_groups, x) for one in (weight, bias))
    return normalize(grouped, range(2, grouped.dim()), scale, shift, eps).flatten(1, 2)


def group_norm_backward(
    grad: Tensor, x: Tensor, num_groups: int, weight: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [N, C, ...], weight [C] and bias [C] from that of the result, without autograd."""
    _check(x, num_groups, weight, None)
    grouped, scale = x.unflatten(1, (num_groups, -1)), _in_groups(weight, num_groups, x)
    axes = range(2, grouped.dim())
    _, x_hat, deviation = normalize_forward(grouped, axes, scale, None, eps)
    grads = normalize_backward(grad.unflatten(1, (num_groups, -1)), x_hat, deviation, axes, scale)
    return grads[0].flatten(1, 2), grads[1].flatten(), grads[2].flatten()


class GroupNorm(nn.Module):
    """``torch.nn.GroupNorm`` with the backward pass of this book; arguments, names and initial values are torch's.

    Raises:
        ValueError: a number is not a positive integer, or the groups do not divide the channels.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        require_count("num_groups", num_groups)
        require_count("num_channels", num_channels)
        if num_channels % num_groups:
            raise ValueError(f"num_groups must divide num_channels {num_channels}, got {num_groups}")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ...], the same; errors as of :func:`group_norm`."""
        if x.dim() < 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"x {tuple(x.shape)}: wanted [N, {self.num_channels}, ...]")
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class _InstanceNorm(RunningNorm):
    places: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x: Tensor) -> Tensor:
        """As of the input; where statistics are tracked, training moves them and evaluation uses them.

        Raises:
            TypeError: ``x`` is not floating-point.
            ValueError: ``x`` has another shape, or a channel has one place, whose variance is 0.
        """
        if x.dim() == self.places + 1:  # one row without its axis, as torch takes it
            return self.forward(x[None])[0]
        if x.dim() != self.places + 2 or x.shape[1] != self.num_features:
            raise ValueError(f"x {tuple(x.shape)}: wanted [N, {self.num_features}] and {self.places} more axes")
        if not x.is_floating_point():
            raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return self._evaluate(x, self.running_mean, self.running_var)
        count = x[0, 0].numel()
        if count < 2:
            raise ValueError(f"x {tuple(x.shape)}: each channel of a row must have 2 places at least")
        if self.running_mean is not None:
            mean, variance = statistics(x.detach(), range(2, x.dim()))
            unbiased = variance * count / (count - 1)
            assert self.momentum is not None
            self._track(mean.mean(0).flatten(), unbiased.mean(0).flatten(), self.momentum)
        return group_norm(x, self.num_features, self.weight, self.bias, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """``torch.nn.InstanceNorm1d`` of [N, C, L] or [C, L] with the backward pass of this book."""

    places = 1


class InstanceNorm2d(_InstanceNorm):
    """``torch.nn.InstanceNorm2d`` of [N, C, H, W] or [C, H, W] with the backward pass of this book."""

    places = 2


def _in_groups(per_channel_C: Tensor, num_groups: int, x: Tensor) -> Tensor:
    return per_channel_C.view(1, num_groups, -1, *(1,) * (x.dim() - 2))


def _check(x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None) -> None:
    require_count("num_groups", num_groups)
    if x.dim() < 2:
        raise ValueError(f"x {tuple(x.shape)}: wanted [N, C, ...]")
    if x.shape[1] % num_groups:
        raise ValueError(f"num_groups must divide the {x.shape[1]} channels of x, got {num_groups}")
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != x.shape[1:2]:
            raise ValueError(f"{name} {tuple(parameter.shape)}: wanted [{x.shape[1]}]")
