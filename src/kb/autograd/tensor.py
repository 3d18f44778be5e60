"""``Tensor``: an array that remembers where it came from, with the interface of ``torch.Tensor``.

The methods only say which operation is meant. The operations and their gradients are in
``kb.autograd.ops``, the methods, sorted by kind, in ``kb.autograd.methods``. Unusual: the array inside may be of NumPy,
torch or CuPy, and stays what it is; nothing is moved from one to another unless :meth:`Tensor.to` is asked.

Source: torch's documentation of ``torch.Tensor``, for names and meaning.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

from kb.autograd import backend
from kb.autograd.backward import backward
from kb.autograd.methods.arithmetic import ArithmeticMethods
from kb.autograd.methods.named import NamedMethods
from kb.autograd.methods.reducing import ReducingMethods
from kb.autograd.methods.shaping import ShapingMethods
from kb.autograd.methods.writing import WritingMethods
from kb.autograd.tape import Variable


class Tensor(ArithmeticMethods, ReducingMethods, ShapingMethods, NamedMethods, WritingMethods):
    """An array with a gradient.

    Args:
        data: An array or a tensor, whose memory is then shared, or a number or nested lists of numbers, which become a
            NumPy array: float32 where there is a floating one among them, as in torch.
        requires_grad: Whether operations on it are to be remembered.

    Raises:
        TypeError: the data is neither.
        RuntimeError: a gradient is wanted of numbers that are not floating.
    """

    __slots__ = ()
    __array_ufunc__ = None  # so that NumPy leaves ``array + tensor`` to the tensor
    __array_priority__ = 1000

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        data = data.data if isinstance(data, Variable) else data
        super().__init__(backend.plain(data) if backend.is_array(data) else backend.from_lists(data))
        if requires_grad:
            self.requires_grad_()

    # What it is.

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.data.shape)

    @property
    def dtype(self) -> Any:
        """The array library's own."""
        return self.data.dtype

    @property
    def device(self) -> Any:
        """Where the array lies."""
        return backend.device(self.data)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by nothing that is remembered."""
        return self.node is None

    @property
    def grad_fn(self) -> Any:
        """The node that made it; None for a leaf."""
        return self.node

    def size(self, dim: int | None = None) -> Any:
        """Sizes of all axes, or of one."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """How many axes there are."""
        return self.ndim

    def numel(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)

    def item(self) -> Any:
        """The only number, as Python's.

        Raises:
            ValueError: there are more of them, or none.
        """
        if self.numel() != 1:
            raise ValueError(f"item() wants a tensor of one number, got shape {self.shape}")
        return backend.to_numpy(self.data).reshape(()).item()

    def tolist(self) -> Any:
        """Nested lists of Python's numbers."""
        return backend.to_numpy(self.data).tolist()

    def numpy(self) -> Any:
        """The numbers as a NumPy array.

        Raises:
            RuntimeError: it requires a gradient, which NumPy would lose: detach it first.
        """
        if self.requires_grad:
            raise RuntimeError("a tensor that requires a gradient cannot become a NumPy array: detach() it first")
        return backend.to_numpy(self.data)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        made = f", grad_fn=<{self.node.name}>" if self.node else ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({backend.to_numpy(self.data)!r}{made})"

    __hash__ = object.__hash__

    # Gradients.

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add d(this)/d(leaf) to ``grad`` of every leaf; see :func:`kb.autograd.backward.backward`."""
        given = None if gradient is None else (gradient,)
        backward((self,), given, retain_graph=retain_graph, create_graph=create_graph)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask that operations on it are remembered; returns itself.

        Raises:
            RuntimeError: its numbers are not floating, or it is no leaf and cannot stop requiring a gradient.
        """
        if requires_grad and not backend.is_floating(self.data):
            raise RuntimeError(f"only a tensor of floating numbers can require a gradient, this one has {self.dtype}")
        if self.node is not None and not requires_grad:
            raise RuntimeError("only a leaf can stop requiring a gradient: detach() gives one")
        self.requires_grad = requires_grad
        return self

    def detach(self) -> "Tensor":
        """The same memory, remembered by nothing."""
        out = Tensor(self.data).share_memory_of(self)
        out.seen = None  # no gradient comes back this way, so what it is a view of need not be as it was
        return out

    def retain_grad(self) -> None:
        """Want the gradient in ``grad`` though this is no leaf.

        Raises:
            RuntimeError: it does not require a gradient.
        """
        if not self.requires_grad:
            raise RuntimeError("a tensor that does not require a gradient has none to keep")
        if self.node is not None:
            self.node.keeper = weakref.ref(self)

    def register_hook(self, hook: Callable[[Any], Any]) -> "Handle":
        """Have ``hook`` called with the gradient of this tensor whenever one is computed; it may return another one.

        Raises:
            RuntimeError: it does not require a gradient.
            TypeError: the hook cannot be called.
        """
        if not self.requires_grad:
            raise RuntimeError("a tensor that does not require a gradient takes no hook")
        if not callable(hook):
            raise TypeError(f"hook must be callable, got {type(hook).__name__}")
        place = self.node or self
        place.hooks = place.hooks or []
        place.hooks.append(hook)
        return Handle(place.hooks, hook)


Variable.result_type = Tensor


class Parameter(Tensor):
    """A tensor that a module learns: it requires a gradient from the start.

    Args:
        data: As of :class:`Tensor`; floating.
        requires_grad: False for one that stays as it is.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)


class Handle:
    """A hook's place; :meth:`remove` takes the hook away again."""

    def __init__(self, hooks: list[Callable[[Any], Any]], hook: Callable[[Any], Any]) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with memory of its own, as ``torch.tensor``; arguments and errors as of :class:`Tensor`."""
    if isinstance(data, Tensor) or backend.is_array(data):
        array = backend.copy(backend.plain(data.data if isinstance(data, Tensor) else data))
    else:
        array = backend.from_lists(data, dtype)
    if dtype is not None:
        array = backend.namespace(array).astype(array, dtype)
    return Tensor(array, requires_grad)
