"""Which library an array belongs to, and the few things that the array API standard lacks.

The engine and its gradient rules are written once, against the Python array API standard; array-api-compat gives
NumPy, torch and CuPy its names. What is not in the standard (scattered addition, einsum, the error function) is here,
in one place, and nothing else in the package asks which library it works with.

Source: Python array API standard, 2024.12.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import array_api_compat as compat
import numpy as np
from array_api_compat import numpy as compat_numpy

Array = Any  # of NumPy, torch, CuPy or any library with the standard's interface
Namespace = Any  # its module, in the standard's names

_NAMESPACES: dict[type, Namespace] = {np.ndarray: compat_numpy}
_sum: Any = np.add.reduce  # what np.sum comes to, at half the price
_FEW = 256  # numbers; with fewer, what a call costs decides, and not what it does for each of them
_IS_FLOATING: dict[tuple[type, Any], bool] = {}


def namespace(*arrays: Array) -> Namespace:
    """The module that the arrays belong to, with the standard's names; Python numbers belong to any.

    Raises:
        TypeError: there is no array among them, or they are of different libraries.
    """
    found: Namespace = None
    for array in arrays:
        module = _NAMESPACES.get(type(array))
        if module is None:
            if isinstance(array, bool | int | float) and not isinstance(array, np.generic):
                continue
            module = _look_up(array)
        if found is not None and module is not found:
            names = " and ".join(sorted({_name(found), _name(module)}))
            raise TypeError(f"arrays of {names} in one operation: convert one of them, nothing is moved silently")
        found = module
    if found is None:
        raise TypeError(f"no array among {[type(array).__name__ for array in arrays]}")
    return found


def is_array(value: object) -> bool:
    """Whether a value is an array of a library with the standard's interface."""
    return type(value) in _NAMESPACES or compat.is_array_api_obj(value)


def require_array(name: str, value: object) -> None:
    """Refuse what is not an array.

    Raises:
        TypeError: it is not; the message names the argument, and what came.
    """
    if not is_array(value):
        raise TypeError(f"{name} must be a tensor or an array, got {type(value).__name__}")


def plain(array: Array) -> Array:
    """The array itself, without a memory of torch's for gradients; of one of NumPy's scalars an array without axes."""
    if isinstance(array, np.generic):
        return np.asarray(array)
    return array.detach() if compat.is_torch_array(array) and array.requires_grad else array


def is_view(array: Array) -> bool:
    """Whether an array may share its memory with another one."""
    if type(array) is np.ndarray:
        return array.base is not None
    return getattr(array, "_base" if compat.is_torch_array(array) else "base", None) is not None


def is_floating(array: Array) -> bool:
    """Whether the numbers of an array are real and floating."""
    if type(array) is np.ndarray:
        return array.dtype.kind == "f"
    key = (type(array), array.dtype)  # dtypes of two libraries may have the same hash, and refuse to be compared
    known = _IS_FLOATING.get(key)
    if known is None:
        known = _IS_FLOATING[key] = bool(namespace(array).isdtype(array.dtype, "real floating"))
    return known


def floating(array: Array) -> Array:
    """The array itself where it is floating; else as float32, which is what torch makes of integers."""
    return array if is_floating(array) else namespace(array).astype(array, namespace(array).float32)


def device(array: Array) -> Any:
    """Where an array lies."""
    return compat.device(array)


def library(array: Array) -> str:
    """The name of the library that an array belongs to: "numpy", "torch", "cupy" or another one."""
    return _name(namespace(array)).split(".")[-1]


def from_lists(data: Any, dtype: Any = None) -> np.ndarray:
    """A NumPy array of a number or nested lists: float32 where one of them is floating, else bool or int64, as torch.

    Raises:
        TypeError: it is not made of numbers.
        ValueError: an integer is too large for int64.
    """
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise TypeError(f"wanted an array, a number or nested lists of equal lengths: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"wanted an array, a number or nested lists of numbers, got {type(data).__name__}")
    if dtype is not None:
        return array.astype(dtype)
    if array.dtype.kind == "u":
        raise ValueError(f"an integer of at most {2**63 - 1} is wanted, got {int(array.max())}")
    return array.astype({"f": np.float32, "b": np.bool_}.get(array.dtype.kind, np.int64))


def convert(array: Array, to: str, where: Any = None) -> Array:
    """The same numbers as an array of another library, on ``where`` (a device, in its words), in the same dtype.

    Raises:
        ValueError: the library is not NumPy, torch or CuPy.
    """
    if to == library(array) and (where is None or where == device(array)):
        return array
    if to == "torch":
        import torch

        moved = array if to == library(array) else torch.from_numpy(np.array(to_numpy(array)))
        return moved.to(where) if where is not None else moved
    if to == "numpy":
        if where not in (None, "cpu"):
            raise ValueError(f"NumPy's arrays lie on 'cpu', not on {where!r}")
        return np.array(to_numpy(array))
    if to == "cupy":
        import cupy  # type: ignore[import-not-found]

        return cupy.asarray(to_numpy(array))
    raise ValueError(f"library must be 'numpy', 'torch' or 'cupy', got {to!r}")


def copy(array: Array) -> Array:
    """The same numbers in memory of their own."""
    return namespace(array).asarray(array, copy=True)


def to_numpy(array: Array) -> np.ndarray:
    """As a NumPy array in host memory; a view where the array is there already."""
    if isinstance(array, np.ndarray):
        return array
    if compat.is_cupy_array(array):
        return np.asarray(array.get())
    return np.asarray(compat.to_device(array, "cpu"))


def quiet() -> AbstractContextManager[object]:
    """Within it, NumPy does not warn of infinities and of NaN, which the other libraries pass on without a word."""
    return np.errstate(all="ignore")


def keep_where(a: Array, keep: Array) -> Array:
    """The numbers where ``keep`` is true, else 0.

    NumPy's ``where`` takes a branch for each number, which costs many times a product with ones and zeros; but the
    product of 0 and infinity is NaN, so that where one came out, the slow way decides.
    """
    if type(a) is not np.ndarray:
        return namespace(a).where(keep, a, 0.0)
    if a.size > _FEW:
        with quiet():
            product = a * keep
            if not math.isnan(product.sum()):
                return product
    return np.where(keep, a, a.dtype.type(0))


def total(a: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """The sum along some axes; small integers are summed in the default integer, floats stay as they are."""
    if type(a) is np.ndarray:
        return _sum(a, axis=axes, keepdims=keepdims)
    return namespace(a).sum(a, axis=axes, keepdims=keepdims)


def reshape(a: Array, to: tuple[int, ...]) -> Array:
    """The same numbers in another shape, a view where the layout allows it."""
    return a.reshape(to) if type(a) is np.ndarray else namespace(a).reshape(a, to)


def permute(a: Array, order: Sequence[int]) -> Array:
    """The axes in another order, a view."""
    return a.transpose(order) if type(a) is np.ndarray else namespace(a).permute_dims(a, order)


def spread(a: Array, *, to: tuple[int, ...]) -> Array:
    """The numbers repeated to a larger shape, to be read only: a view, or a copy where that is cheaper."""
    if a.shape == to:
        return a
    if type(a) is np.ndarray and math.prod(to) <= _FEW:
        repeated = np.empty(to, a.dtype)
        repeated[...] = a
        return repeated
    return namespace(a).broadcast_to(a, to)


def einsum(equation: str, *arrays: Array) -> Array:
    """The sum of products that an equation in Einstein's notation stands for."""
    xp = namespace(*arrays)
    if compat.is_numpy_namespace(xp):
        return np.einsum(equation, *arrays, optimize=True)
    return xp.einsum(equation, *arrays)


def erf(array: Array) -> Array:
    """The error function, 2/sqrt(pi) times the integral of exp(-t²) from 0 to x."""
    if isinstance(array, np.ndarray | np.generic):
        from scipy import special

        return special.erf(array)
    if compat.is_torch_array(array):
        return array.erf()
    from cupyx.scipy import special as cupy_special  # type: ignore[import-not-found]

    return cupy_special.erf(array)


def _look_up(array: object) -> Namespace:
    try:
        module = compat.array_namespace(array)
    except TypeError as error:
        raise TypeError(f"wanted an array or a number, got {type(array).__name__}") from error
    _NAMESPACES[type(array)] = module
    return module


def _name(module: Namespace) -> str:
    return str(module.__name__).removeprefix("array_api_compat.")
