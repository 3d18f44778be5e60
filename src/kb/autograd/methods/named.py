"""Operators under their names, and what is made of other methods: ``add`` for ``+``, ``repeat`` of ``expand``.

None of it is an operation of its own; each is another one's name or a few of them.
"""

import math
from collections.abc import Sequence
from typing import Any

from kb.autograd import backend, ops
from kb.autograd.ops.indexing import require_places
from kb.autograd.ops.shaping import one_axis
from kb.autograd.tape import Variable


class NamedMethods(Variable):
    """Torch's further names."""

    __slots__ = ()

    def add(self, other: Any, *, alpha: float = 1.0) -> Any:
        """Self + alpha other."""
        return ops.add(self, other if alpha == 1 else ops.multiply(other, alpha))

    def sub(self, other: Any, *, alpha: float = 1.0) -> Any:
        """Self - alpha other."""
        return ops.subtract(self, other if alpha == 1 else ops.multiply(other, alpha))

    def mul(self, other: Any) -> Any:
        """Self * other."""
        return ops.multiply(self, other)

    def div(self, other: Any) -> Any:
        """Self / other."""
        return ops.divide(self, other)

    def matmul(self, other: Any) -> Any:
        """Self @ other."""
        return ops.matmul(self, other)

    def mm(self, mat2: Any) -> Any:
        """The product of two matrices."""
        return ops.matmul(*_with_axes(2, self=self, mat2=mat2))

    def bmm(self, mat2: Any) -> Any:
        """The products of two equally long rows of matrices."""
        left, right = _with_axes(3, self=self, mat2=mat2)
        if left.shape[0] != right.shape[0]:
            raise ValueError(f"bmm of {left.shape[0]} and {right.shape[0]} matrices: wanted equally many")
        return ops.matmul(left, right)

    def mv(self, vec: Any) -> Any:
        """The product of a matrix and a vector."""
        return ops.matmul(_with_axes(2, self=self)[0], _with_axes(1, vec=vec)[0])

    def dot(self, other: Any) -> Any:
        """The product of two vectors, one number."""
        return ops.matmul(*_with_axes(1, self=self, other=other))

    def outer(self, vec2: Any) -> Any:
        """Each number of a vector times each of another one."""
        left, right = _with_axes(1, self=self, vec2=vec2)
        return ops.multiply(ops.unsqueezed(left, 1), right)

    def maximum(self, other: Any) -> Any:
        """The greater of each two numbers; where they are equal, each gets half of the gradient."""
        return ops.maximum(self, other)

    def minimum(self, other: Any) -> Any:
        """The lesser of each two numbers; where they are equal, each gets half of the gradient."""
        return ops.minimum(self, other)

    def where(self, condition: Any, other: Any) -> Any:
        """The number where the condition is true, else the other one."""
        return ops.where(condition, self, other)

    def reciprocal(self) -> Any:
        """1 / x."""
        return ops.divide(1.0, self)

    def tan(self) -> Any:
        """The tangent of each number."""
        return ops.tan(self)

    def ceil(self) -> Any:
        """The next integer upwards."""
        return ops.ceil(self)

    def log2(self) -> Any:
        """The logarithm to the base of 2."""
        return ops.multiply(ops.log(self), 1 / math.log(2))

    def log10(self) -> Any:
        """The logarithm to the base of 10."""
        return ops.multiply(ops.log(self), 1 / math.log(10))

    def isnan(self) -> Any:
        """Where it is not a number."""
        return ops.isnan(self)

    def isfinite(self) -> Any:
        """Where it is neither infinite nor NaN."""
        return ops.isfinite(self)

    def contiguous(self) -> Any:
        """The tensor itself: an array library lays out what it is given."""
        return self

    def t(self) -> Any:
        """Of a matrix, the transposed one; of fewer axes, the same."""
        if len(self.data.shape) > 2:
            raise ValueError(f"t wants at most 2 axes, got {len(self.data.shape)}")
        return ops.transposed(self, 0, 1) if len(self.data.shape) == 2 else self

    def narrow(self, dim: int, start: int, length: int) -> Any:
        """``length`` places along an axis from ``start`` on, a view."""
        dim = one_axis(dim, len(self.data.shape))
        size = self.data.shape[dim]
        start = start + size if start < 0 else start
        if length < 0 or not 0 <= start <= size - length:
            raise ValueError(f"narrow from {start} by {length} of an axis of {size}")
        return ops.narrow(self, axis=dim, start=start, stop=start + length)

    def select(self, dim: int, index: int) -> Any:
        """One place of an axis, without the axis; a view."""
        dim = one_axis(dim, len(self.data.shape))
        return ops.getitem(self, (slice(None),) * dim + (index,))

    def unbind(self, dim: int = 0) -> tuple[Any, ...]:
        """All places of an axis, each without it."""
        return tuple(self.select(dim, place) for place in range(self.data.shape[one_axis(dim, len(self.data.shape))]))

    def index_select(self, dim: int, index: Any) -> Any:
        """The places of an axis that a vector of integers names."""
        dim = one_axis(dim, len(self.data.shape))
        index = _with_axes(1, index=index)[0]
        require_places(index.data if isinstance(index, Variable) else index, self.data.shape[dim])
        return ops.getitem(self, (slice(None),) * dim + (index,))

    def expand_as(self, other: Any) -> Any:
        """Repeated to the shape of another one, without copying."""
        return ops.broadcast_to(self, to=tuple(other.shape))

    def view_as(self, other: Any) -> Any:
        """In the shape of another one."""
        return ops.reshape(self, to=tuple(other.shape))

    def repeat(self, *repeats: Any) -> Any:
        """The whole, repeated along each axis; more counts than axes make new ones in front."""
        counts = tuple(repeats[0] if len(repeats) == 1 and isinstance(repeats[0], list | tuple) else repeats)
        shape = (1,) * (len(counts) - len(self.data.shape)) + tuple(self.data.shape)
        if len(shape) != len(counts) or any(not isinstance(count, int) or count < 0 for count in counts):
            raise ValueError(f"repeat of shape {tuple(self.data.shape)} wants a count for each axis, got {counts}")
        apart = [size for pair in zip((1,) * len(shape), shape, strict=True) for size in pair]
        wide = [size for pair in zip(counts, shape, strict=True) for size in pair]
        repeated = ops.broadcast_to(ops.reshape(self, to=tuple(apart)), to=tuple(wide))
        return ops.reshape(repeated, to=tuple(count * size for count, size in zip(counts, shape, strict=True)))

    def tril(self, diagonal: int = 0) -> Any:
        """Of each matrix the part on and below a diagonal; 0 elsewhere."""
        return self._triangle(lower=True, diagonal=diagonal)

    def triu(self, diagonal: int = 0) -> Any:
        """Of each matrix the part on and above a diagonal; 0 elsewhere."""
        return self._triangle(lower=False, diagonal=diagonal)

    def sort(self, dim: int = -1, descending: bool = False) -> tuple[Any, Any]:
        """In order along an axis, equal ones in the order in which they came; and the places that they came from."""
        dim = one_axis(dim, len(self.data.shape))
        xp = backend.namespace(self.data)
        places = xp.argsort(self.data, axis=dim, descending=descending, stable=True)
        return ops.gather(self, dim, places), self.result_type(places)

    def topk(self, k: int, dim: int = -1, largest: bool = True) -> tuple[Any, Any]:
        """The ``k`` greatest along an axis, or the least, in order; and their places."""
        values, places = self.sort(dim, descending=largest)
        return values.narrow(dim, 0, k), places.narrow(dim, 0, k)

    def _triangle(self, *, lower: bool, diagonal: int) -> Any:
        xp = backend.namespace(self.data)
        if len(self.data.shape) < 2:
            raise ValueError(f"a triangle wants at least 2 axes, got {len(self.data.shape)}")
        everything = xp.ones(tuple(self.data.shape[-2:]), dtype=xp.int8, device=backend.device(self.data))
        inside = (xp.tril if lower else xp.triu)(everything, k=diagonal) > 0
        return ops.where(inside, self, 0.0 if backend.is_floating(self.data) else 0)


def _with_axes(count: int, **tensors: Any) -> Sequence[Any]:
    for name, value in tensors.items():
        if not hasattr(value, "shape") or len(value.shape) != count:
            shape = tuple(value.shape) if hasattr(value, "shape") else type(value).__name__
            raise ValueError(f"{name} must have {count} axes, got {shape}")
    return list(tensors.values())
