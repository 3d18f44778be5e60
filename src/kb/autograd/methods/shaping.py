"""Shapes, indices, dtypes and libraries, as methods of a tensor."""

import math
from collections.abc import Sequence
from typing import Any

from kb.autograd import backend, ops
from kb.autograd.ops.shaping import one_axis, resolved_shape
from kb.autograd.tape import Variable


class ShapingMethods(Variable):
    """What moves numbers and changes none."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        return ops.getitem(self, index)

    @property
    def T(self) -> Any:  # noqa: N802 - torch's name
        """The axes in reverse."""
        return ops.permute(self, order=tuple(reversed(range(len(self.data.shape)))))

    @property
    def mT(self) -> Any:  # noqa: N802 - torch's name
        """The last two axes swapped."""
        return ops.transposed(self, -2, -1)

    def reshape(self, *shape: Any) -> Any:
        """The same numbers in another shape; one size may be -1."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], list | tuple) else shape
        return ops.reshape(self, to=resolved_shape(tuple(sizes), math.prod(self.data.shape)))

    def view(self, *shape: Any) -> Any:
        """As :meth:`reshape`."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Any:
        """The axes from one to another made one."""
        shape = tuple(self.data.shape)
        if not shape:
            return self.reshape(1)
        start, end = one_axis(start_dim, len(shape)), one_axis(end_dim, len(shape))
        if start > end:
            raise ValueError(f"start_dim {start_dim} comes after end_dim {end_dim}")
        return ops.reshape(self, to=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Any:
        """One axis made several; one size may be -1."""
        shape = tuple(self.data.shape)
        dim = one_axis(dim, len(shape))
        return ops.reshape(self, to=(*shape[:dim], *resolved_shape(tuple(sizes), shape[dim]), *shape[dim + 1 :]))

    def squeeze(self, dim: int | None = None) -> Any:
        """Without axes of size 1, or without one of them where it has that size."""
        shape = tuple(self.data.shape)
        axes = range(len(shape)) if dim is None else [one_axis(dim, len(shape))]
        return ops.reshape(self, to=tuple(size for i, size in enumerate(shape) if size != 1 or i not in axes))

    def unsqueeze(self, dim: int) -> Any:
        """With a new axis of size 1."""
        return ops.unsqueezed(self, dim)

    def transpose(self, dim0: int, dim1: int) -> Any:
        """Two axes swapped."""
        ndim = len(self.data.shape)
        return ops.transposed(self, one_axis(dim0, ndim), one_axis(dim1, ndim))

    def permute(self, *dims: Any) -> Any:
        """The axes in another order."""
        order = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
        ndim = len(self.data.shape)
        found = tuple(one_axis(dim, ndim) for dim in order)
        if sorted(found) != list(range(ndim)):
            raise ValueError(f"permute wants each of {ndim} axes once, got {tuple(order)}")
        return ops.permute(self, order=found)

    def expand(self, *sizes: Any) -> Any:
        """Axes of size 1 repeated, without copying; -1 leaves one as it is."""
        wanted = tuple(sizes[0] if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes)
        shape = (1,) * (len(wanted) - len(self.data.shape)) + tuple(self.data.shape)
        if len(shape) != len(wanted):
            raise ValueError(f"expand of shape {tuple(self.data.shape)} to fewer axes, {wanted}")
        to = tuple(have if want == -1 else want for have, want in zip(shape, wanted, strict=True))
        return ops.broadcast_to(self, to=to)

    def flip(self, *dims: Any) -> Any:
        """The order along some axes reversed."""
        axes = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
        return ops.flip(self, axis=tuple(one_axis(dim, len(self.data.shape)) for dim in axes))

    def split(self, size: int, dim: int = 0) -> tuple[Any, ...]:
        """Parts of ``size`` along an axis, the last one maybe smaller."""
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"split needs a size of at least 1, got {size!r}")
        dim = one_axis(dim, len(self.data.shape))
        total = self.data.shape[dim]
        starts = range(0, total, size) if total else [0]
        return tuple(ops.narrow(self, axis=dim, start=i, stop=min(i + size, total)) for i in starts)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Any, ...]:
        """At most ``chunks`` parts of equal size along an axis, the last one maybe smaller."""
        if not isinstance(chunks, int) or chunks < 1:
            raise ValueError(f"chunk needs at least 1 part, got {chunks!r}")
        return self.split(max(1, -(-self.data.shape[one_axis(dim, len(self.data.shape))] // chunks)), dim)

    def gather(self, dim: int, index: Any) -> Any:
        """The numbers at the places along ``dim`` that ``index`` gives, for each of its elements."""
        return ops.gather(self, dim, index)

    def scatter_add(self, dim: int, index: Any, src: Any) -> Any:
        """With each number of ``src`` added at the place along ``dim`` that ``index`` gives."""
        return ops.scatter_add(self, dim, index, src)

    def clone(self) -> Any:
        """A copy with memory of its own; the gradient passes through."""
        return ops.clone(self)

    def to(self, library: str | None = None, *, device: Any = None, dtype: Any = None) -> Any:
        """In another array library, on another device, in another dtype; gradients find their way back.

        Where nothing is to be changed, this is the tensor itself.

        Args:
            library: "numpy", "torch" or "cupy"; stays if not given.
            device: As the library names it; stays if not given.
            dtype: As the library has it; stays if not given.

        Raises:
            ValueError: the library is none of these.
        """
        out: Any = self
        if library is not None or device is not None:
            origin = (backend.library(self.data), backend.device(self.data))
            moved = ops.move(out, library=library or origin[0], device=device, origin=origin)
            out = self if moved.data is self.data else moved
        return out if dtype is None or dtype == out.data.dtype else ops.astype(out, dtype=dtype)

    def float(self) -> Any:
        """In float32."""
        return self.to(dtype=backend.namespace(self.data).float32)

    def double(self) -> Any:
        """In float64."""
        return self.to(dtype=backend.namespace(self.data).float64)

    def long(self) -> Any:
        """In int64, rounded towards 0."""
        return self.to(dtype=backend.namespace(self.data).int64)
