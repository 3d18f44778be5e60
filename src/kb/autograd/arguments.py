"""Checks of arguments that functions, losses and modules share. A tensor is a variable or an array here, as in ops."""

from typing import Any

from kb.arguments import is_number, require_count
from kb.autograd import backend
from kb.autograd.backend import Array
from kb.autograd.tape import Variable


def array_in(name: str, value: Any) -> Array:
    """The array of a tensor, or the array itself.

    Raises:
        TypeError: it is neither; the message names the argument.
    """
    array = value.data if isinstance(value, Variable) else value
    backend.require_array(name, array)
    return array


def require_floating(**tensors: Any) -> None:
    """Refuse tensors that are not floating, or not all of one library and dtype; None counts as not given.

    Raises:
        TypeError: one is not; the message names the arguments.
    """
    arrays = {name: array_in(name, value) for name, value in tensors.items() if value is not None}
    for name, array in arrays.items():
        if not backend.is_floating(array):
            raise TypeError(f"{name} must be floating, got {array.dtype}")
    backend.namespace(*arrays.values())
    if any(array.dtype != next(iter(arrays.values())).dtype for array in arrays.values()):
        kinds = ", ".join(f"{name} {array.dtype}" for name, array in arrays.items())
        raise TypeError(f"tensors of one dtype are wanted, nothing is converted silently; got {kinds}")


def require_integers(name: str, value: Any, like: Any) -> Array:
    """The array of a tensor of integers, of the library of another tensor.

    Raises:
        TypeError: it is not one; the message names the argument.
    """
    array = array_in(name, value)
    xp = backend.namespace(array, like.data if isinstance(like, Variable) else like)
    if not xp.isdtype(array.dtype, "integral"):
        raise TypeError(f"{name} must be integers, got {array.dtype}")
    return array


def require_within(name: str, places: Array, size: int) -> None:
    """Refuse integers that are no places in an axis.

    Raises:
        ValueError: one is below 0, or ``size`` or more.
    """
    xp = backend.namespace(places)
    outside = (places < 0) | (places >= size)
    if bool(xp.any(outside)):
        raise ValueError(f"{name} must be from 0 to {size - 1}, got {int(places[outside][0])}")


def require_real(name: str, value: object, *, least: float = float("-inf"), most: float = float("inf")) -> None:
    """Refuse what is no finite number between two bounds.

    Raises:
        ValueError: it is not; the message names the argument, and what came.
    """
    if not (isinstance(value, int | float) and is_number(value) and least <= value <= most):
        bounds = f" from {least} to {most}" if (least, most) != (float("-inf"), float("inf")) else ""
        raise ValueError(f"{name} must be a finite number{bounds}, got {value!r}")


def pair(name: str, value: Any, *, least: int) -> tuple[int, int]:
    """Two integers, for rows and for columns, from one or two.

    Raises:
        ValueError: it is neither one integer of at least ``least`` nor two of them.
    """
    both = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{name} must be one integer, or two for rows and columns, got {value!r}")
    for one in both:
        require_count(name, one, least=least)
    return both
