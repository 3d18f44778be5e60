"""Writing in place, as methods of a tensor.

What is written over may be what a gradient needs, so each write is counted, and backward refuses where a count has
moved on. Unusual: writing through a view is allowed only while nobody asks for gradients; write to the whole by an
index instead, ``x[0] = y``, which the tape understands.
"""

from typing import Any, Self

from kb.autograd import backend, ops, places
from kb.autograd.recording import is_grad_enabled
from kb.autograd.tape import Variable


class WritingMethods(Variable):
    """Methods that end in ``_``, the operators that assign, and assignment to an index."""

    __slots__ = ()

    def __setitem__(self, index: Any, value: Any) -> None:
        index = ops.plain_index(self, index)
        if self._is_remembered(value):
            self._become(ops.put(self, value, index=index))
        else:
            given = value.data if isinstance(value, Variable) else value
            if backend.is_array(given):
                backend.namespace(self.data, given)  # refuses a mixture
            elif isinstance(given, list | tuple) and any(isinstance(one, Variable) for one in given):
                raise TypeError("a list of tensors has no gradient of its own: stack() them first")
            places.put_at(self.data, index, given)
            self.bump()

    def copy_(self, value: Any) -> Self:
        """Write the numbers of another tensor, broadcast to this shape."""
        self[...] = value
        return self

    def add_(self, other: Any) -> Self:
        """Add in place."""
        return self._become(ops.add(self, other))

    def sub_(self, other: Any) -> Self:
        """Subtract in place."""
        return self._become(ops.subtract(self, other))

    def mul_(self, other: Any) -> Self:
        """Multiply in place."""
        return self._become(ops.multiply(self._as_it_was(other), other))

    def div_(self, other: Any) -> Self:
        """Divide in place."""
        return self._become(ops.divide(self._as_it_was(other), other))

    def zero_(self) -> Self:
        """Write zeros."""
        return self.fill_(0.0)

    def fill_(self, value: float) -> Self:
        """Write one number everywhere."""
        self[...] = value
        return self

    def __iadd__(self, other: Any) -> Self:
        return self.add_(other)

    def __isub__(self, other: Any) -> Self:
        return self.sub_(other)

    def __imul__(self, other: Any) -> Self:
        return self.mul_(other)

    def __itruediv__(self, other: Any) -> Self:
        return self.div_(other)

    def _as_it_was(self, other: Any) -> Any:
        """A copy of this if the gradient of ``other`` needs its numbers, which are about to be written over."""
        wanted = isinstance(other, Variable) and other.requires_grad and is_grad_enabled()
        return ops.clone(self) if wanted else self

    def _become(self, new: Any) -> Self:
        """Take over the numbers of ``new``, and where they came from.

        Raises:
            RuntimeError: this is a leaf that requires a gradient, a view of what is remembered, or would have to change
                its dtype.
            ValueError: this would have to change its shape.
        """
        remembered = self._is_remembered(new)
        if remembered and self.requires_grad and self.node is None:
            raise RuntimeError("a leaf that requires a gradient cannot be written in place, but within no_grad()")
        if remembered and self.seen is not None:
            raise RuntimeError("a view of remembered memory cannot be written in place: write to the whole by an index")
        if tuple(new.data.shape) != tuple(self.data.shape):
            raise ValueError(f"written in place, {tuple(self.data.shape)} cannot become {tuple(new.data.shape)}")
        if backend.is_floating(new.data) and not backend.is_floating(self.data):
            raise RuntimeError(f"written in place, {self.data.dtype} cannot become {new.data.dtype}")
        self.data[...] = new.data
        self.bump()
        if remembered:
            assert self.counter is not None  # bump made it
            self.counter[1] = self.counter[0]
            if self.node is not None and self.node.keeper is not None:  # of what this is now, not of what it was
                new.node.keeper, self.node.keeper = self.node.keeper, None
            self.node, self.requires_grad = new.node, new.requires_grad
        return self

    def _is_remembered(self, other: Any) -> bool:
        wanted = self.requires_grad or (isinstance(other, Variable) and other.requires_grad)
        return wanted and is_grad_enabled()
