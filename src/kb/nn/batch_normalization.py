"""Batch normalization: each channel by its mean and variance over the batch (and over the image's places).

In training the batch's own statistics are used, and blended into running ones; in evaluation the running ones, so that
a row's result depends on no other row. Unusual, and as in torch: the normalizing variance divides by n, the running one
by n - 1, and ``momentum`` is the share of the new (0.1), not of the old.

Source: Ioffe and Szegedy 2015, algorithms 1 and 2; section 3.1 for the unbiased variance of inference.
Shapes: N rows, C channels, L or H and W places.
"""

import torch
from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.nn.normalization import (
    normalize,
    normalize_backward,
    normalize_by,
    normalize_forward,
    normalize_loop,
    statistics,
)


def batch_norm_loop(x_NC: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float = 1e-5) -> Tensor:
    """Reference in training: rows [N, C], one channel and one number at a time."""
    columns = [weight_C[c] * normalize_loop(x_NC[:, c], eps) + bias_C[c] for c in range(x_NC.shape[1])]
    return torch.stack(columns, dim=1)


def batch_norm_backward(grad: Tensor, x: Tensor, weight_C: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [N, C, ...], weight [C] and bias [C] in training, from that of the result, without autograd."""
    axes, shape = _axes(x), _per_channel(x)
    _, x_hat, scale = normalize_forward(x, axes, weight_C.view(shape), None, eps)
    of_x, of_weight, of_bias = normalize_backward(grad, x_hat, scale, axes, weight_C.view(shape))
    return of_x, of_weight.flatten(), of_bias.flatten()


class RunningNorm(nn.Module):
    """Channels with a weight, a bias and running statistics: what batch and instance norm have in common.

    Args:
        num_features: C.
        eps: Added to the variance.
        momentum: Share of the newest batch in the running statistics; None for the plain average of all batches.
        affine: Whether there are a weight and a bias.
        track_running_stats: Whether there are running statistics; without them evaluation uses the batch's own.

    Attributes:
        weight: [C], at first ones, or None.
        bias: [C], at first zeros, or None.
        running_mean: [C], at first zeros, or None.
        running_var: [C], at first ones, or None.
        num_batches_tracked: int64, how many batches the running statistics have seen, or None.

    Raises:
        ValueError: ``num_features`` is not a positive integer, ``eps`` not a positive number, or ``momentum`` not a
            number of 0 to 1.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        require_count("num_features", num_features)
        if not is_number(eps) or eps <= 0:
            raise ValueError(f"eps must be a positive number, got {eps!r}")
        if momentum is not None and not (is_number(momentum) and 0 <= momentum <= 1):
            raise ValueError(f"momentum must be a number of 0 to 1 or None, got {momentum!r}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        tracked = track_running_stats
        self.register_buffer("running_mean", torch.zeros(num_features) if tracked else None)
        self.register_buffer("running_var", torch.ones(num_features) if tracked else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if tracked else None)

    def _affine(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.weight is None or self.bias is None:
            return None, None
        return self.weight.view(_per_channel(x)), self.bias.view(_per_channel(x))

    def _evaluate(self, x: Tensor, mean_C: Tensor, variance_C: Tensor) -> Tensor:
        shape = _per_channel(x)
        return normalize_by(x, mean_C.view(shape), variance_C.view(shape), *self._affine(x), self.eps)

    @torch.no_grad()
    def _track(self, mean_C: Tensor, variance_C: Tensor, share: float) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance_C.to(self.running_var.dtype), share)


class _BatchNorm(RunningNorm):
    dims: tuple[int, ...]
    wanted: str

    def forward(self, x: Tensor) -> Tensor:
        """As of the input; in training the running statistics move.

        Raises:
            TypeError: ``x`` is not floating-point.
            ValueError: ``x`` has another shape, or a channel a single value where the batch's own statistics are
                used: its variance is 0.
        """
        if x.dim() not in self.dims or x.shape[1] != self.num_features:
            raise ValueError(f"x {tuple(x.shape)}: wanted {self.wanted} with C = {self.num_features}")
        if not x.is_floating_point():
            raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return self._evaluate(x, self.running_mean, self.running_var)
        count = x.numel() // self.num_features
        if count < 2:
            when = "in training" if self.training else "without running statistics"
            raise ValueError(f"x {tuple(x.shape)}: {when} each channel must have 2 values at least")
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            mean, variance = statistics(x.detach(), _axes(x))
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self._track(mean.flatten(), variance.flatten() * count / (count - 1), share)
        return normalize(x, _axes(x), *self._affine(x), self.eps)


class BatchNorm1d(_BatchNorm):
    """``torch.nn.BatchNorm1d`` of [N, C] or [N, C, L] with the backward pass of this book."""

    dims, wanted = (2, 3), "[N, C] or [N, C, L]"


class BatchNorm2d(_BatchNorm):
    """``torch.nn.BatchNorm2d`` of [N, C, H, W] with the backward pass of this book."""

    dims, wanted = (4,), "[N, C, H, W]"


def _axes(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.dim()))


def _per_channel(x: Tensor) -> tuple[int, ...]:
    return (1, -1, *(1,) * (x.dim() - 2))
