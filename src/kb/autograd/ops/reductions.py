"""Operations that make one number of many along some axes, with their gradient rules.

Unusual: the softmax family is here, as operations of their own, since a maximum that is taken off first cancels in the
gradient, and a rule that knows the result needs neither it nor the exponentials again.

Source: Blanchard, Higham and Higham 2021, Accurately computing the log-sum-exp and softmax functions.
"""

import math
from collections.abc import Sequence
from typing import Any

from kb.autograd import backend
from kb.autograd.backend import Array, Namespace, floating
from kb.autograd.ops.elementwise import exp, root, where
from kb.autograd.ops.shaping import all_axes, astype, broadcast_to, flip, one_axis, reshape
from kb.autograd.tape import Op, Variable

Axes = int | Sequence[int] | None


def _kept(shape: Sequence[int], axis: Axes) -> tuple[int, ...]:
    axes = all_axes(axis, len(shape))
    return tuple(1 if place in axes else size for place, size in enumerate(shape))


def _spread(reduced: Array, shape: Sequence[int], axis: Axes, keepdims: bool) -> Array:
    """What a reduction gave, seen in the shape of what it was given."""
    if not keepdims and axis is not None:
        reduced = reshape(reduced, to=_kept(shape, axis))
    repeat = broadcast_to if isinstance(reduced, Variable) else backend.spread
    return repeat(reduced, to=tuple(shape))


def _sum(a: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    axes = all_axes(axis, a.ndim)
    return backend.total(a, axes, keepdims) if axes else backend.copy(a)


def _sum_to(a: Array, *, to: tuple[int, ...]) -> Array:
    extra = a.ndim - len(to)
    axes = (*range(extra), *(extra + i for i, size in enumerate(to) if size == 1 and a.shape[extra + i] != 1))
    if not axes:
        return backend.copy(a)
    total = backend.total(a, axes)
    return total if total.shape == to else backend.namespace(a).reshape(total, to)


sum: Op = Op("sum", _sum, a=lambda g, shape, axis, keepdims: _spread(g, shape, axis, keepdims))  # noqa: A001 - torch's name
_summed: Op = Op("sum_to", _sum_to, a=lambda g, shape: broadcast_to(g, to=shape))


def sum_to(a: Any, *, shape: Sequence[int]) -> Any:
    """Summed over what broadcasting from ``shape`` has repeated."""
    return _summed(a, to=tuple(shape))


def mean(a: Any, *, axis: Axes = None, keepdims: bool = False) -> Any:
    """The mean along the axes; NaN of no numbers."""
    count = math.prod(a.shape if axis is None else [a.shape[place] for place in all_axes(axis, len(a.shape))])
    total = sum(_floated(a), axis=axis, keepdims=keepdims)
    return total / count if count else total + math.nan


def var(a: Any, *, axis: Axes = None, keepdims: bool = False, correction: float = 1.0) -> Any:
    """The variance along the axes, with ``correction`` taken off the count; a division by 0 where nothing is left."""
    return _var(_floated(a), axis=all_axes(axis, len(a.shape)), keepdims=keepdims, correction=correction)


def _part(shape: Sequence[int], axes: Sequence[int], correction: float) -> float:
    """One over what the squares' sum is divided by."""
    count = math.prod(shape[place] for place in axes)
    left = max(count - correction, 0.0)
    return 1.0 / left if left else math.inf if count else math.nan


def _variance(xp: Namespace, a: Array, *, axis: tuple[int, ...], keepdims: bool, correction: float) -> Array:
    with backend.quiet():
        apart = a - mean(a, axis=axis, keepdims=True)
        return sum(apart * apart, axis=axis, keepdims=keepdims) * _part(a.shape, axis, correction)


def _variance_rule(
    g: Array, a: Array, shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool, correction: float
) -> Array:
    factor = 2.0 * _part(shape, axis, correction)
    return _spread(g * factor, shape, axis, keepdims) * (a - mean(a, axis=axis, keepdims=True))


_var: Op = Op("var", _variance, a=_variance_rule)


def std(a: Any, *, axis: Axes = None, keepdims: bool = False, correction: float = 1.0) -> Any:
    """The square root of :func:`var`."""
    return root(var(a, axis=axis, keepdims=keepdims, correction=correction))


def norm(a: Any, *, axis: Axes = None, keepdims: bool = False) -> Any:
    """The Euclidean length along the axes; its gradient at length 0 is 0, as in torch."""
    return root(sum(a * a, axis=axis, keepdims=keepdims))


def _extreme_rule(g: Array, out: Array, a: Array, shape: tuple[int, ...], axis: Axes, keepdims: bool) -> Array:
    """Numbers that are equally extreme share the gradient equally."""
    hit = astype(a == _spread(out, shape, axis, keepdims), dtype=g.dtype)
    return _spread(g, shape, axis, keepdims) * hit / sum(hit, axis=axis, keepdims=True)


def _amax(xp: Namespace, a: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    return xp.max(a, axis=all_axes(axis, a.ndim), keepdims=keepdims) if a.ndim else backend.copy(a)


def _amin(xp: Namespace, a: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    return xp.min(a, axis=all_axes(axis, a.ndim), keepdims=keepdims) if a.ndim else backend.copy(a)


amax: Op = Op("amax", _amax, a=_extreme_rule)
amin: Op = Op("amin", _amin, a=_extreme_rule)


def _prod_rule(g: Array, out: Array, a: Array, shape: tuple[int, ...], axis: int, keepdims: bool) -> Array:
    spread = _spread(g, shape, axis, keepdims)
    array = a.data if isinstance(a, Variable) else a
    xp = backend.namespace(array)
    if not bool(xp.any(array == 0)):
        return spread * _spread(out, shape, axis, keepdims) / a
    # With a zero among the factors nothing can be divided out: for each factor, the product of the others.
    axis, size = all_axes(axis, len(shape))[0], shape[all_axes(axis, len(shape))[0]]
    own = xp.reshape(
        xp.eye(size, dtype=xp.bool, device=backend.device(array)), (size, size, *(1 for _ in shape[axis + 1 :]))
    )
    rows = reshape(a, to=(*shape[:axis], 1, size, *shape[axis + 1 :]))
    rows = broadcast_to(rows, to=(*shape[:axis], size, size, *shape[axis + 1 :]))
    return spread * prod(where(own, 1.0, rows), axis=axis + 1)


prod: Op = Op("prod", lambda xp, a, *, axis, keepdims=False: xp.prod(a, axis=axis, keepdims=keepdims), a=_prod_rule)

cumsum: Op = Op(
    "cumsum",
    lambda xp, a, *, axis: xp.cumulative_sum(a, axis=axis),
    a=lambda g, axis: flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis),
)


def _shift(xp: Namespace, a: Array, axis: Axes) -> Array:
    """The maximum along the axes, or 0 where it is infinite: inf - inf would be NaN."""
    if math.prod(a.shape) == 0:
        return xp.zeros(_kept(a.shape, axis), dtype=a.dtype, device=backend.device(a))
    top = xp.max(a, axis=all_axes(axis, a.ndim), keepdims=True) if a.ndim else a
    return xp.where(xp.isinf(top), 0.0, top)


def _logsumexp(xp: Namespace, a: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    a = floating(a)
    top, axes = _shift(xp, a, axis), all_axes(axis, a.ndim)
    total = xp.sum(xp.exp(a - top), axis=axes, keepdims=True) if axes else xp.exp(a - top)
    with backend.quiet():  # the logarithm of no exponentials is -inf, as it should be
        out = xp.log(total) + top
    return out if keepdims else xp.reshape(out, tuple(n for i, n in enumerate(a.shape) if i not in axes))


def _softmax(xp: Namespace, a: Array, *, axis: int) -> Array:
    a = floating(a)
    if a.ndim == 0:
        return xp.exp(a - a)
    axis = one_axis(axis, a.ndim)
    if math.prod(a.shape) == 0:
        return backend.copy(a)
    with backend.quiet():  # a row of nothing but -inf is 0 / 0, as in torch
        raised = xp.exp(a - xp.max(a, axis=axis, keepdims=True))
        return raised / xp.sum(raised, axis=axis, keepdims=True)


def _log_softmax(xp: Namespace, a: Array, *, axis: int) -> Array:
    a = floating(a)
    if a.ndim == 0:
        return a - a
    axis = one_axis(axis, a.ndim)
    if math.prod(a.shape) == 0:
        return backend.copy(a)
    with backend.quiet():
        shifted = a - xp.max(a, axis=axis, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


logsumexp: Op = Op(
    "logsumexp",
    _logsumexp,
    a=lambda g, out, a, shape, axis, keepdims: (
        _spread(g, shape, axis, keepdims) * exp(a - _spread(out, shape, axis, keepdims))
    ),
)
softmax: Op = Op("softmax", _softmax, a=lambda g, out, axis: (g - sum(g * out, axis=axis, keepdims=True)) * out)
log_softmax: Op = Op(
    "log_softmax", _log_softmax, a=lambda g, out, axis: g - exp(out) * sum(g, axis=axis, keepdims=True)
)


def _floated(a: Any) -> Any:
    array = a.data if isinstance(a, Variable) else a
    return a if backend.is_floating(array) else astype(a, dtype=backend.namespace(array).float32)
