"""What an optimizer takes for a parameter, and how it gets at the arrays inside.

A parameter is anything with ``data`` and ``grad`` that can be told apart by identity: a tensor of this package, a
tensor of torch, or an object of one's own around an array of the array API. Unusual: an update is written into the
parameter's own memory, so a tensor of torch is taken out of its graph first, and one of this package told afterwards.

Source: Python array API standard, 2024.12, which allows ``array[...] = value`` and in-place operators.
"""

from typing import Any

from kb.autograd.backend import Array, is_array, is_floating, namespace


def array_of(holder: Any) -> Array:
    """The array in a tensor or a parameter, or the array itself; the memory is shared, the graph is not."""
    if is_array(holder):
        return holder.detach() if hasattr(holder, "detach") else holder
    return holder.data


def note_write(holder: Any) -> None:
    """Tell a tensor that counts the writes to its memory that there was one."""
    if hasattr(holder, "bump"):
        holder.bump()


def arrays_of(parameter: Any) -> tuple[Array, Array]:
    """The numbers of a parameter and their gradient.

    Raises:
        TypeError: they are arrays of different libraries.
        ValueError: they are of different shapes.
    """
    array, grad = array_of(parameter), array_of(parameter.grad)
    namespace(array, grad)
    if tuple(array.shape) != tuple(grad.shape):
        raise ValueError(f"a parameter of shape {tuple(array.shape)} has a gradient of shape {tuple(grad.shape)}")
    return array, grad


def require_parameter(parameter: Any) -> None:
    """Refuse what cannot be optimized.

    Raises:
        TypeError: it has no ``data`` and ``grad``, cannot be looked up in a dict, or holds no floating array that can
            be written in place.
        ValueError: it is a tensor that an operation made, whose numbers would be made anew.
    """
    kind = type(parameter).__name__
    if not getattr(parameter, "is_leaf", True):
        raise ValueError("params must be leaves, this one was made by an operation")
    if not (hasattr(parameter, "data") and hasattr(parameter, "grad")):
        raise TypeError(f"params must be tensors, or objects with data and grad, got {kind}")
    if type(parameter).__hash__ is None:
        raise TypeError(
            f"params must be told apart by identity, but {kind} compares by value (of a dataclass: eq=False)"
        )
    array = array_of(parameter)
    if not (is_array(array) and hasattr(array, "__setitem__")):
        raise TypeError(f"params must hold arrays that can be written in place, got {type(array).__name__} in {kind}")
    if not is_floating(array):
        raise TypeError(f"params must be real floating numbers, got {array.dtype}")
