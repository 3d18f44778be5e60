"""Indices with arrays, where libraries part: whose axes come first, and what happens at a place that comes twice.

With ``backend`` this is all of the package that knows which library an array is of.

Source: torch's and NumPy's documentation of indexing.
"""

import math
from collections.abc import Sequence
from typing import Any

import array_api_compat as compat
import numpy as np

from kb.autograd import backend
from kb.autograd.backend import Array


def has_array(index: Any) -> bool:
    """Whether an index picks with an array or a list, so that the result is a copy and places may repeat."""
    places = index if isinstance(index, tuple) else (index,)
    return any(backend.is_array(place) or isinstance(place, list) for place in places)


def integers_first(array: Array, index: Any) -> tuple[Array, Any]:
    """The view that the integers of an index pick, and what is left of the index.

    Beside an array, NumPy takes an integer for one as well, and may move their axes to the front; in torch an integer
    only takes its axis away. Where there are not both of them, nothing is done.
    """
    if not (isinstance(index, tuple) and has_array(index) and any(_is_integer(place) for place in index)):
        return array, index
    first: list[Any] = []
    for place in index:
        if backend.is_array(place):
            first += [slice(None)] * (place.ndim if backend.namespace(place).isdtype(place.dtype, "bool") else 1)
        elif place is not None:
            first.append(place if _is_integer(place) or place is Ellipsis else slice(None))
    return array[tuple(first)], tuple(place for place in index if not _is_integer(place))


def _is_integer(place: Any) -> bool:
    return isinstance(place, int) and not isinstance(place, bool)


def put_at(array: Array, index: Any, values: Any) -> None:
    """``array[index] = values``, with torch's meaning of the index."""
    part, rest = integers_first(array, index)
    part[rest] = values


def add_at(shape: Sequence[int], index: Any, values: Array) -> Array:
    """Zeros of ``shape`` in which each value was added at its place; places that come more than once get the sum.

    Args:
        shape: Of the result.
        index: What ``result[index]`` would take: slices, integers, integer or boolean arrays.
        values: Of the shape of ``result[index]``.
    """
    if type(values) is np.ndarray:
        out = np.zeros(tuple(shape), values.dtype)
        if has_array(index):
            np.add.at(*integers_first(out, index), values)
        else:
            out[index] = values
        return out
    xp = backend.namespace(values)
    out = xp.zeros(tuple(shape), dtype=values.dtype, device=backend.device(values))
    if compat.is_torch_namespace(xp) and has_array(index):
        places = index if isinstance(index, tuple) else (index,)
        if all(backend.is_array(place) for place in places):
            return out.index_put_(places, values, accumulate=True)
        flat = xp.reshape(xp.arange(math.prod(shape), device=backend.device(values)), tuple(shape))[index]
        return out.view(-1).index_add_(0, flat.reshape(-1), values.reshape(-1)).view(tuple(shape))
    if not has_array(index):
        out[index] = values
    else:
        xp.add.at(out, index, values)
    return out
