"""Operations that pick numbers by their place and put them there, with their gradient rules.

Picking and adding at a place are each other's gradient: what was picked twice gets two gradients, added.
"""

from typing import Any

import numpy as np

from kb.autograd import backend, places
from kb.autograd.backend import Array, Namespace
from kb.autograd.ops.shaping import one_axis, reshape
from kb.autograd.tape import Op, Variable


def _see(a: Array, *, index: Any) -> Array:
    out = a[index]
    if isinstance(out, np.generic):  # a copy of one number, where a view of it is wanted
        out = a[(*index, ...) if isinstance(index, tuple) else (index, ...)]
    return out


_view: Op = Op("getitem", _see, view=True, a=lambda g, shape, index: scatter(g, to=shape, index=index))


def _copy_of(a: Array, *, index: Any) -> Array:
    part, rest = places.integers_first(a, index)
    return part[rest]


_pick: Op = Op("getitem", _copy_of, a=lambda g, shape, index: scatter(g, to=shape, index=index))

# Zeros, with the values added where ``index`` says.
scatter: Op = Op(
    "scatter",
    lambda values, *, to, index: places.add_at(to, index, values),
    values=lambda g, index: getitem(g, index),
)


def _put(a: Array, values: Array, *, index: Any) -> Array:
    out = backend.copy(a)
    places.put_at(out, index, values)
    return out


put: Op = Op(
    "setitem",
    _put,
    a=lambda g, index: put(g, 0.0, index=index),
    values=lambda g, shape, index: _in_shape(getitem(g, index), shape),
)


def _in_shape(g: Any, shape: tuple[int, ...]) -> Any:
    """With the axes of size 1 in front that values may have more than their place."""
    extra = len(shape) - len(g.shape)
    return reshape(g, to=(*(1,) * extra, *g.shape)) if extra > 0 else g


def getitem(a: Any, index: Any) -> Any:
    """``a[index]``: a view for slices and integers, a copy for integer and boolean arrays and lists."""
    index = plain_index(a, index)
    return (_pick if places.has_array(index) else _view)(a, index=index)


def plain_index(a: Any, index: Any) -> Any:
    """The index with arrays in the place of variables and lists.

    Raises:
        TypeError: an index that is no integer, slice, None, ``...``, or array or list of integers or booleans.
    """
    if type(index) is int or type(index) is slice:
        return index
    if isinstance(index, tuple):
        return tuple(plain_index(a, place) for place in index)
    if isinstance(index, Variable):
        index = index.data
    if isinstance(index, list):
        xp = backend.namespace(a.data if isinstance(a, Variable) else a)
        index = xp.asarray(index) if index else xp.zeros((0,), dtype=xp.int64)
    if backend.is_array(index):
        xp = backend.namespace(index)
        if index.ndim:
            backend.namespace(index, a.data if isinstance(a, Variable) else a)  # refuses a mixture
        if not xp.isdtype(index.dtype, ("integral", "bool")):
            raise TypeError(f"an index must be of integers or booleans, got {index.dtype}")
        return int(index) if index.ndim == 0 and not xp.isdtype(index.dtype, "bool") else index
    if isinstance(index, int | slice) or index is None or index is Ellipsis:
        return index
    raise TypeError(f"an index must be an integer, a slice, None, ..., or an array of integers, got {index!r}")


def require_places(places: Array, size: int) -> None:
    """Refuse what does not name places of an axis; a negative one counts from nowhere here, as in torch.

    Raises:
        TypeError: they are no integers.
        IndexError: one is outside of the axis.
    """
    xp = backend.namespace(places)
    if not xp.isdtype(places.dtype, "integral"):
        raise TypeError(f"places must be integers, got {places.dtype}")
    outside = (places < 0) | (places >= size)
    if bool(xp.any(outside)):
        raise IndexError(f"places must be from 0 to {size - 1}, got {int(places[outside][0])}")


def _along(xp: Namespace, places: Array, axis: int) -> tuple[Array, ...]:
    """The index that picks, at each place of ``places``, the number at that coordinate of ``axis``."""
    grid = []
    for i, size in enumerate(places.shape):
        steps = xp.arange(size, device=backend.device(places))
        grid.append(
            places if i == axis else xp.reshape(steps, tuple(size if j == i else 1 for j in range(places.ndim)))
        )
    return tuple(xp.broadcast_arrays(*grid))


def gather(a: Any, axis: int, places: Any) -> Any:
    """out[i][j][k] = a[i][places[i][j][k]][k] for axis 1, and so on; torch's ``gather``.

    Args:
        a: Any shape.
        axis: Which coordinate ``places`` gives.
        places: Integers, as many axes as ``a``, in no other axis longer than it.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: a place is outside of the axis.
    """
    places = places.data if isinstance(places, Variable) else places
    axis = one_axis(axis, len(a.shape))
    require_places(places, a.shape[axis] if len(a.shape) else 1)
    longer = [i for i, (n, m) in enumerate(zip(places.shape, a.shape, strict=False)) if i != axis and n > m]
    if places.ndim != len(a.shape) or longer:
        raise ValueError(f"places {tuple(places.shape)} do not fit {tuple(a.shape)} along axis {axis}")
    return getitem(a, _along(backend.namespace(places), places, axis))


def scatter_add(a: Any, axis: int, places: Any, values: Any) -> Any:
    """``a`` with each value added at the place along the axis that ``places`` gives; torch's ``scatter_add``.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: a place is outside of the axis.
    """
    places = places.data if isinstance(places, Variable) else places
    axis = one_axis(axis, len(a.shape))
    require_places(places, a.shape[axis] if len(a.shape) else 1)
    if tuple(places.shape) != tuple(values.shape) or places.ndim != len(a.shape):
        raise ValueError(
            f"places {tuple(places.shape)} and values {tuple(values.shape)} must be of one shape, as {a.shape}"
        )
    index = _along(backend.namespace(places, values.data if isinstance(values, Variable) else values), places, axis)
    return a + scatter(values, to=tuple(a.shape), index=index)
