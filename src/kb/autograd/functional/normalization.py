"""Numbers brought to mean 0 and variance 1 along some axes: layer norm, batch norm, and RMS norm, which keeps the mean.

Compositions of operations: the gradient through mean and variance comes from the tape.

Sources: Ba, Kiros and Hinton 2016 (layer norm); Ioffe and Szegedy 2015 (batch norm); Zhang and Sennrich 2019 (RMS
norm).
Shapes: B examples, C channels.
"""

import math
from collections.abc import Sequence
from typing import Any

from kb.arguments import require_count
from kb.autograd import backend, ops
from kb.autograd.arguments import array_in, require_floating, require_real
from kb.autograd.backend import Array
from kb.autograd.tape import Variable


def layer_norm(
    input: Any,  # noqa: A002 - torch's name
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / sqrt(variance + eps) weight + bias, with mean and variance over the last axes.

    Args:
        input: [..., *normalized_shape], floating.
        normalized_shape: Sizes of the last axes, or the size of the last one.
        weight: ``normalized_shape``; ones if not given.
        bias: ``normalized_shape``; zeros if not given.
        eps: Added to the variance.

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: the shapes do not fit, or ``eps`` is no number.
    """
    require_floating(input=input, weight=weight, bias=bias)
    require_real("eps", eps)
    axes = _last_axes(input, normalized_shape, weight=weight, bias=bias)
    return _scaled(_standardized(input, axes, eps), weight, bias)


def rms_norm(
    input: Any,  # noqa: A002
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    eps: float | None = None,
) -> Any:
    """X / sqrt(mean(x²) + eps) weight, with the mean over the last axes.

    Args:
        input: [..., *normalized_shape], floating.
        normalized_shape: Sizes of the last axes, or the size of the last one.
        weight: ``normalized_shape``; ones if not given.
        eps: Added to the mean; if not given, the smallest step above 1 in the dtype.

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: the shapes do not fit, or ``eps`` is no number.
    """
    require_floating(input=input, weight=weight)
    array = array_in("input", input)
    eps = float(backend.namespace(array).finfo(array.dtype).eps) if eps is None else eps
    require_real("eps", eps)
    axes = _last_axes(input, normalized_shape, weight=weight)
    return _scaled(input * ops.rsqrt(ops.mean(input * input, axis=axes, keepdims=True) + eps), weight, None)


def batch_norm(
    input: Any,  # noqa: A002
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / sqrt(variance + eps) weight + bias, with a mean and a variance for each channel.

    In training they are those of the batch, and the running ones move towards them by the share ``momentum``, the
    variance with its count less one; otherwise the running ones are used.

    Args:
        input: [B, C, ...], floating.
        running_mean: [C], written in place in training; None for none.
        running_var: [C], as ``running_mean``.
        weight: [C]; ones if not given.
        bias: [C]; zeros if not given.
        training: Whether to use the batch's own mean and variance.
        momentum: Share of the batch in the running ones.
        eps: Added to the variance.

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: the shapes do not fit, a channel has one number only in training, there are no running mean and
            variance otherwise, or only one of the two, or a number is none.
    """
    require_floating(input=input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    require_real("momentum", momentum)
    require_real("eps", eps)
    shape = tuple(input.shape)
    _check_channels(shape, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    if (running_mean is None) != (running_var is None) or (running_mean is None and not training):
        raise ValueError("running_mean and running_var must come together, and are needed where training is False")
    count = math.prod(shape) // shape[1] if shape[1] else 0
    if training and count == 1:
        raise ValueError(f"training wants more than one number for each channel, got input of shape {shape}")
    spread = (1, shape[1], *(1,) * (len(shape) - 2))
    weight, bias = (None if value is None else ops.reshape(value, to=spread) for value in (weight, bias))
    if not training:
        mean, variance = (ops.reshape(array_in("running", value), to=spread) for value in (running_mean, running_var))
        return _scaled((input - mean) * ops.rsqrt(variance + eps), weight, bias)
    axes = (0, *range(2, len(shape)))
    if count and running_mean is not None:
        _follow(array_in("input", input), axes, running_mean, running_var, momentum)
    return _scaled(_standardized(input, axes, eps), weight, bias)


def _standardized(value: Any, axes: tuple[int, ...], eps: float) -> Any:
    apart = value - ops.mean(value, axis=axes, keepdims=True)
    return apart * ops.rsqrt(ops.mean(apart * apart, axis=axes, keepdims=True) + eps)


def _scaled(value: Any, weight: Any, bias: Any) -> Any:
    out = value if weight is None else value * weight
    return out if bias is None else out + bias


def _follow(array: Array, axes: tuple[int, ...], running_mean: Any, running_var: Any, momentum: float) -> None:
    for running, batch in (
        (running_mean, ops.mean(array, axis=axes)),
        (running_var, ops.var(array, axis=axes)),
    ):
        memory = array_in("running", running)
        memory *= 1 - momentum
        memory += momentum * batch
        if isinstance(running, Variable):
            running.bump()


def _check_channels(shape: tuple[int, ...], **given: Any) -> None:
    if len(shape) < 2:
        raise ValueError(f"input must be [batch, channels, ...], got shape {shape}")
    for name, value in given.items():
        if value is not None and tuple(value.shape) != shape[1:2]:
            raise ValueError(f"{name} must have shape ({shape[1]},), one for each channel, got {tuple(value.shape)}")


def _last_axes(value: Any, normalized_shape: int | Sequence[int], **given: Any) -> tuple[int, ...]:
    sizes = tuple(normalized_shape) if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    for size in sizes:
        require_count("normalized_shape", size, least=0)
    shape = tuple(value.shape)
    if not sizes or shape[-len(sizes) :] != sizes:
        raise ValueError(f"input {shape} must end in normalized_shape {sizes}")
    for name, one in given.items():
        if one is not None and tuple(one.shape) != sizes:
            raise ValueError(f"{name} must have normalized_shape {sizes}, got {tuple(one.shape)}")
    return tuple(range(len(shape) - len(sizes), len(shape)))
