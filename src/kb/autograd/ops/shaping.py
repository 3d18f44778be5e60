"""Operations that move numbers and change none: shapes, orders, dtypes, joining and padding; with their gradient rules.

The gradient of each is the movement undone, and where a number was copied, the sum over its copies.
"""

import math
from collections.abc import Sequence
from typing import Any

from kb.autograd import backend
from kb.autograd.backend import Array, Namespace
from kb.autograd.ops.elementwise import where
from kb.autograd.tape import Op, Variable


def _undo(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=lambda place: order[place]))


def _flip(xp: Namespace, a: Array, *, axis: Any) -> Array:
    out = xp.flip(a, axis=axis)
    return backend.copy(out) if backend.is_view(out) else out  # a view in NumPy, a copy in torch: here always a copy


reshape: Op = Op(
    "reshape",
    lambda a, *, to: backend.reshape(a, to),
    view=True,
    a=lambda g, shape: reshape(g, to=shape),
)
permute: Op = Op(
    "permute",
    lambda a, *, order: backend.permute(a, order),
    view=True,
    a=lambda g, order: permute(g, order=_undo(order)),
)
broadcast_to: Op = Op(
    "expand",
    lambda xp, a, *, to: xp.broadcast_to(a, to),
    view=True,
    a=lambda g: g,  # the engine sums what was broadcast
)
flip: Op = Op(
    "flip",
    _flip,
    a=lambda g, axis: flip(g, axis=axis),
)


def _astype(xp: Namespace, a: Array, *, dtype: Any) -> Array:
    return xp.astype(a, dtype)


# The engine gives the gradient the dtype of the input.
astype: Op = Op("to", _astype, a=lambda g: g)
clone: Op = Op("clone", lambda a: backend.copy(a), a=lambda g: g)

# To another library or device, and the gradient back to where the numbers came from.
move: Op = Op(
    "move",
    lambda a, *, library, device, origin: backend.convert(a, library, device),
    a=lambda g, library, device, origin: move(g, library=origin[0], device=origin[1], origin=(library, device)),
)


def transposed(a: Any, first: int, second: int) -> Any:
    """The same with two axes swapped."""
    order = list(range(len(a.shape)))
    order[first], order[second] = order[second], order[first]
    return permute(a, order=tuple(order))


def _narrow(xp: Namespace, a: Array, *, axis: int, start: int, stop: int) -> Array:
    return a[(slice(None),) * axis + (slice(start, stop),)]


def _widen(xp: Namespace, a: Array, *, axis: int, start: int, stop: int, size: int) -> Array:
    shape = [*a.shape[:axis], size, *a.shape[axis + 1 :]]
    out = xp.zeros(tuple(shape), dtype=a.dtype, device=backend.device(a))
    out[(slice(None),) * axis + (slice(start, stop),)] = a
    return out


narrow: Op = Op(
    "narrow",
    _narrow,
    view=True,
    a=lambda g, shape, axis, start, stop: widen(g, axis=axis, start=start, stop=stop, size=shape[axis]),
)
widen: Op = Op(
    "widen",
    _widen,
    a=lambda g, axis, start, stop: narrow(g, axis=axis, start=start, stop=stop),
)

_concat: Op = Op(
    "cat",
    lambda xp, *arrays, axis, bounds: xp.concat(arrays, axis=axis),
    arrays=lambda g, place, axis, bounds: narrow(g, axis=axis, start=bounds[place], stop=bounds[place + 1]),
)


def concat(parts: Sequence[Any], axis: int = 0) -> Any:
    """Joined along an axis that is there.

    Raises:
        ValueError: there is nothing to join, no such axis, or the other axes differ.
    """
    if not parts:
        raise ValueError("cat needs at least one tensor")
    axis = one_axis(axis, len(parts[0].shape))
    rest = {(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts}
    if len(rest) > 1:
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        raise ValueError(f"cat along axis {axis} needs equal sizes in the other axes, got {shapes}")
    bounds = [0]
    for part in parts:
        bounds.append(bounds[-1] + part.shape[axis])
    return _concat(*parts, axis=axis, bounds=tuple(bounds))


def stack(parts: Sequence[Any], axis: int = 0) -> Any:
    """Joined along a new axis.

    Raises:
        ValueError: there is nothing to join, no such axis, or shapes differ.
    """
    if not parts:
        raise ValueError("stack needs at least one tensor")
    return concat([unsqueezed(part, axis) for part in parts], one_axis(axis, len(parts[0].shape) + 1))


def unsqueezed(a: Any, axis: int) -> Any:
    """With a new axis of size 1."""
    shape = tuple(a.shape)
    axis = one_axis(axis, len(shape) + 1)
    return reshape(a, to=(*shape[:axis], 1, *shape[axis:]))


def pad(a: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
    """With ``value`` before and after along each axis.

    Args:
        a: Any shape.
        widths: How many before and after, for each axis.
        value: What is put there.

    Raises:
        ValueError: there is not one pair of non-negative numbers for each axis.
    """
    if len(widths) != len(a.shape) or any(low < 0 or high < 0 for low, high in widths):
        raise ValueError(f"pad needs a pair of sizes of at least 0 for each of {len(a.shape)} axes, got {list(widths)}")
    for axis, (low, high) in enumerate(widths):
        if low or high:
            size = a.shape[axis]
            a = widen(a, axis=axis, start=low, stop=low + size, size=low + size + high)
    return a if value == 0 else _filled_outside(a, widths, value)


def _filled_outside(a: Any, widths: Sequence[tuple[int, int]], value: float) -> Any:
    array = a.data if isinstance(a, Variable) else a
    xp = backend.namespace(array)
    inside = xp.zeros(array.shape, dtype=xp.bool, device=backend.device(array))
    inside[tuple(slice(low, size - high) for (low, high), size in zip(widths, array.shape, strict=True))] = True
    return where(inside, a, value)


def one_axis(axis: int, ndim: int) -> int:
    """An axis counted from the front.

    Raises:
        ValueError: there is no such axis.
    """
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or not -ndim <= axis < ndim:
        raise ValueError(f"axis must be an integer from {-ndim} to {ndim - 1}, got {axis!r}")
    return int(axis) % ndim


def all_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, all of them for None.

    Raises:
        ValueError: there is no such axis, or one comes twice.
    """
    if axis is None:
        return tuple(range(ndim))
    if ndim == 0:
        return ()
    axes = tuple(one_axis(one, ndim) for one in (axis if isinstance(axis, list | tuple) else (axis,)))
    if len(set(axes)) < len(axes):
        raise ValueError(f"an axis comes twice in {axis}")
    return axes


def resolved_shape(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """A shape with its -1 worked out from the number of elements.

    Raises:
        ValueError: there is more than one -1, or the sizes do not multiply to ``size``.
    """
    gaps = shape.count(-1)
    if gaps > 1 or min(shape, default=0) < -1:
        raise ValueError(f"a shape may have one -1 and no other negative size, got {tuple(shape)}")
    known = abs(math.prod(shape))  # of the sizes but -1, which turns the sign alone
    if gaps:
        if known == 0 or size % known:
            raise ValueError(f"{size} numbers do not fit the shape {tuple(shape)}")
        return tuple(size // known if one == -1 else one for one in shape)
    if known != size:
        raise ValueError(f"{size} numbers do not fit the shape {tuple(shape)}")
    return tuple(shape)
