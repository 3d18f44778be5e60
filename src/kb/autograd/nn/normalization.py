"""Layers that bring numbers to mean 0 and variance 1: layer norm, RMS norm, batch norm with its running statistics.

Sources: as of ``kb.autograd.functional.normalization``; torch's documentation, for names, shapes and initial values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kb.arguments import require_count
from kb.autograd import functional as F
from kb.autograd.arguments import require_real
from kb.autograd.nn import init
from kb.autograd.nn.module import Module
from kb.autograd.nn.new import floating_dtype, new_parameter
from kb.autograd.tensor import Tensor


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last axes, then a weight and a bias for each place there.

    Args:
        normalized_shape: Sizes of the last axes, or the size of the last one.
        eps: Added to the variance.
        elementwise_affine: Whether there are weights.
        bias: Whether there are biases as well.
        dtype: Floating, of NumPy; float32 if not given.

    Attributes:
        weight: ``normalized_shape``, at first ones; or None.
        bias: ``normalized_shape``, at first zeros; or None.

    Raises:
        TypeError: the dtype is not floating.
        ValueError: a size is not a positive integer, or ``eps`` no number.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        require_real("eps", eps)
        self.normalized_shape, self.eps, self.elementwise_affine = _sizes(normalized_shape), eps, elementwise_affine
        self.weight = new_parameter(self.normalized_shape, dtype) if elementwise_affine else None
        self.bias = new_parameter(self.normalized_shape, dtype) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights 1, biases 0."""
        _reset(self.weight, self.bias)

    def forward(self, input: Any) -> Any:  # noqa: A002 - torch's name
        """[..., *normalized_shape]."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(Module):
    """Mean square 1 over the last axes, then a weight for each place there; arguments as of :class:`LayerNorm`."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if eps is not None:
            require_real("eps", eps)
        self.normalized_shape, self.eps, self.elementwise_affine = _sizes(normalized_shape), eps, elementwise_affine
        self.weight = new_parameter(self.normalized_shape, dtype) if elementwise_affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights 1."""
        _reset(self.weight, None)

    def forward(self, input: Any) -> Any:  # noqa: A002
        """[..., *normalized_shape]."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class BatchNorm(Module):
    """Base of the batch norms: mean 0 and variance 1 for each channel, over the batch and over all places.

    Args:
        num_features: Channels.
        eps: Added to the variance.
        momentum: Share of a batch in the running mean and variance; None for the mean over all batches so far.
        affine: Whether there is a weight for each channel.
        track_running_stats: Whether there are a running mean and variance; without, the batch's own always count.
        bias: Whether there is a bias for each channel, with ``affine``.
        dtype: Floating, of NumPy; float32 if not given.

    Attributes:
        weight: [C], at first ones; or None.
        bias: [C], at first zeros; or None.
        running_mean: [C], at first zeros; or None.
        running_var: [C], at first ones; or None.
        num_batches_tracked: How many batches went into them, an int64; or None.

    Raises:
        TypeError: the dtype is not floating.
        ValueError: ``num_features`` is not a positive integer, or a number is none.
    """

    axes: tuple[int, ...]  # how many the input may have

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        require_count("num_features", num_features)
        require_real("eps", eps)
        if momentum is not None:
            require_real("momentum", momentum)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = new_parameter((num_features,), dtype) if affine else None
        self.bias = new_parameter((num_features,), dtype) if affine and bias else None
        kind = floating_dtype(dtype)
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        self.register_buffer("running_mean", np.zeros(num_features, kind) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features, kind) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track_running_stats else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights 1, biases 0, and no batch so far."""
        _reset(self.weight, self.bias)
        for tensor, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if tensor is not None:
                init.constant_(tensor, value)

    def forward(self, input: Any) -> Any:  # noqa: A002
        """[B, C, ...]."""
        if len(input.shape) not in self.axes:
            wanted = " or ".join(map(str, self.axes))
            raise ValueError(f"{type(self).__name__} wants an input of {wanted} axes, got shape {tuple(input.shape)}")
        counts = self.training and self.num_batches_tracked is not None
        batches = self.num_batches_tracked.item() + 1 if counts and self.num_batches_tracked is not None else 1
        training = self.training or self.running_mean is None
        share = 1 / batches if self.momentum is None else self.momentum
        out = F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training, share, self.eps
        )
        if counts and self.num_batches_tracked is not None:
            init.constant_(self.num_batches_tracked, batches)
        return out

    def extra_repr(self) -> str:
        """The arguments."""
        sizes = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{sizes}, bias={self.bias is not None}, track_running_stats={self.track_running_stats}"


class BatchNorm1d(BatchNorm):
    """Batch norm of [B, C] or [B, C, L]; see :class:`BatchNorm`."""

    axes = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch norm of [B, C, H, W]; see :class:`BatchNorm`."""

    axes = (4,)


def _sizes(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(normalized_shape) if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    if not sizes:
        raise ValueError("normalized_shape must have at least one size")
    for size in sizes:
        require_count("normalized_shape", size)
    return sizes


def _reset(weight: Tensor | None, bias: Tensor | None) -> None:
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)
