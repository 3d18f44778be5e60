"""Functions of torch's top level: tensors from nothing, joined, chosen between, multiplied.

Most others are methods of :class:`kb.autograd.Tensor`, or are in ``kb.autograd.functional``. A tensor that is made from
nothing holds a NumPy array, of float32 if nothing else is asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kb.autograd import backend, ops
from kb.autograd.tensor import Tensor, tensor

Sizes = int | Sequence[int]


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Joined along an axis that is there.

    Raises:
        ValueError: there is nothing to join, no such axis, or the other axes differ.
    """
    return ops.concat(tensors, dim)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Joined along a new axis.

    Raises:
        ValueError: there is nothing to join, no such axis, or shapes differ.
    """
    return ops.stack(tensors, dim)


def where(condition: Any, input: Any, other: Any) -> Any:  # noqa: A002 - torch's name
    """``input`` where the condition is true, else ``other``; all three are broadcast."""
    return ops.where(condition, input, other)


def einsum(equation: str, *operands: Any) -> Any:
    """The sum of products of an equation such as ``"bij,bjk->bik"``.

    Raises:
        ValueError: the equation is not one, or does not fit the operands.
    """
    return ops.einsum(equation, *operands)


def matmul(input: Any, other: Any) -> Any:  # noqa: A002
    """The matrix product over the last two axes; axes before them are broadcast, and vectors are rows and columns.

    Raises:
        TypeError: an operand is no array or tensor.
        ValueError: the sizes do not fit.
    """
    return ops.matmul(input, other)


def maximum(input: Any, other: Any) -> Any:  # noqa: A002
    """The greater of each two numbers; where they are equal, each gets half of the gradient."""
    return ops.maximum(input, other)


def minimum(input: Any, other: Any) -> Any:  # noqa: A002
    """The lesser of each two numbers; where they are equal, each gets half of the gradient."""
    return ops.minimum(input, other)


def zeros(*size: Sizes, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape, given as integers or as one sequence of them."""
    return full(_shape(size), 0, dtype=dtype, requires_grad=requires_grad)


def ones(*size: Sizes, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones of a shape, given as integers or as one sequence of them."""
    return full(_shape(size), 1, dtype=dtype, requires_grad=requires_grad)


def full(size: Sequence[int], fill_value: float, *, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """One number everywhere.

    Raises:
        ValueError: a size is no integer of at least 0.
    """
    return tensor(np.full(_shape((size,)), fill_value, dtype), requires_grad=requires_grad)


def zeros_like(input: Any, *, requires_grad: bool = False) -> Tensor:  # noqa: A002
    """Zeros of the shape, the dtype and the library of another tensor."""
    return Tensor(backend.namespace(input.data).zeros_like(input.data), requires_grad)


def ones_like(input: Any, *, requires_grad: bool = False) -> Tensor:  # noqa: A002
    """Ones of the shape, the dtype and the library of another tensor."""
    return Tensor(backend.namespace(input.data).ones_like(input.data), requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None) -> Tensor:
    """The numbers from ``start`` to before ``end``, or from 0 to before the one that is given.

    Integers are int64 and others float32 where no dtype is asked for.

    Raises:
        ValueError: the step is 0.
    """
    start, end = (0, start) if end is None else (start, end)
    if step == 0:
        raise ValueError("step must not be 0")
    kind = np.int64 if all(isinstance(value, int) for value in (start, end, step)) else np.float32
    return tensor(np.arange(start, end, step).astype(dtype or kind))


def eye(n: int, m: int | None = None, *, dtype: Any = np.float32) -> Tensor:
    """Ones on the diagonal of a matrix [n, m], zeros elsewhere."""
    return tensor(np.eye(*_shape((n, n if m is None else m)), dtype=dtype))


def _shape(size: Sequence[Any]) -> tuple[int, ...]:
    sizes = tuple(size[0]) if len(size) == 1 and isinstance(size[0], list | tuple) else tuple(size)
    if any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in sizes):
        raise ValueError(f"sizes must be integers of at least 0, got {sizes}")
    return sizes
