"""Reductions and the softmax family, as methods of a tensor; ``dim`` and ``keepdim`` are torch's words for the axes."""

from collections.abc import Sequence
from typing import Any

from kb.autograd import backend, ops
from kb.autograd.ops.shaping import one_axis
from kb.autograd.tape import Variable

Dims = int | Sequence[int] | None


class ReducingMethods(Variable):
    """Sums, means, extremes and what is made of them."""

    __slots__ = ()

    def sum(self, dim: Dims = None, keepdim: bool = False) -> Any:
        """The sum along some axes, or of everything."""
        return ops.sum(self, axis=dim, keepdims=keepdim)

    def mean(self, dim: Dims = None, keepdim: bool = False) -> Any:
        """The mean along some axes, or of everything."""
        return ops.mean(self, axis=dim, keepdims=keepdim)

    def var(self, dim: Dims = None, correction: float = 1.0, keepdim: bool = False) -> Any:
        """The variance; ``correction`` is taken off the count that the squares are divided by."""
        return ops.var(self, axis=dim, keepdims=keepdim, correction=correction)

    def std(self, dim: Dims = None, correction: float = 1.0, keepdim: bool = False) -> Any:
        """The standard deviation, as :meth:`var`."""
        return ops.std(self, axis=dim, keepdims=keepdim, correction=correction)

    def prod(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The product along one axis, or of everything."""
        if dim is None or not self.data.shape:
            return ops.prod(ops.reshape(self, to=(-1,)), axis=0)
        return ops.prod(self, axis=one_axis(dim, len(self.data.shape)), keepdims=keepdim)

    def amax(self, dim: Dims = None, keepdim: bool = False) -> Any:
        """The greatest number; equal ones share the gradient."""
        return ops.amax(self, axis=dim, keepdims=keepdim)

    def amin(self, dim: Dims = None, keepdim: bool = False) -> Any:
        """The least number; equal ones share the gradient."""
        return ops.amin(self, axis=dim, keepdims=keepdim)

    def max(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The greatest number of all; with ``dim``, the greatest ones and their places, of equal ones the first."""
        return ops.amax(self) if dim is None else self._extreme(dim, keepdim, greatest=True)

    def min(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The least number of all; with ``dim``, the least ones and their places, of equal ones the first."""
        return ops.amin(self) if dim is None else self._extreme(dim, keepdim, greatest=False)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The place of the greatest number, of equal ones the first."""
        return self.result_type(backend.namespace(self.data).argmax(self.data, axis=dim, keepdims=keepdim))

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The place of the least number, of equal ones the first."""
        return self.result_type(backend.namespace(self.data).argmin(self.data, axis=dim, keepdims=keepdim))

    def cumsum(self, dim: int) -> Any:
        """The sums of the numbers up to each place."""
        if not self.data.shape:
            return ops.clone(self)
        return ops.cumsum(self, axis=one_axis(dim, len(self.data.shape)))

    def logsumexp(self, dim: Dims = None, keepdim: bool = False) -> Any:
        """log(sum(exp(x))), without overflow."""
        return ops.logsumexp(self, axis=dim, keepdims=keepdim)

    def softmax(self, dim: int) -> Any:
        """exp(x) / sum(exp(x)) along an axis."""
        return ops.softmax(self, axis=dim)

    def log_softmax(self, dim: int) -> Any:
        """The logarithm of :meth:`softmax`."""
        return ops.log_softmax(self, axis=dim)

    def norm(self, dim: Dims = None, keepdim: bool = False) -> Any:
        """The Euclidean length."""
        return ops.norm(self, axis=dim, keepdims=keepdim)

    def all(self) -> bool:
        """Whether all are true."""
        return bool(backend.namespace(self.data).all(self.data))

    def any(self) -> bool:
        """Whether one is true."""
        return bool(backend.namespace(self.data).any(self.data))

    def _extreme(self, dim: int, keepdim: bool, *, greatest: bool) -> tuple[Any, Any]:
        dim = one_axis(dim, len(self.data.shape))
        xp = backend.namespace(self.data)
        places = (xp.argmax if greatest else xp.argmin)(self.data, axis=dim, keepdims=True)
        values = ops.gather(self, dim, places)
        if keepdim:
            return values, self.result_type(places)
        shape = tuple(size for place, size in enumerate(self.data.shape) if place != dim)
        return ops.reshape(values, to=shape), self.result_type(xp.reshape(places, shape))
