"""``Module``: what holds parameters and says how an output comes from an input; the interface of ``torch.nn.Module``.

Parameters, buffers and modules are plain attributes, found by their type when they are asked for; nothing is entered
into lists on the side, so nothing can get out of step. Unusual: :meth:`Module.to` also moves to another array library.
The tree of modules is walked by recursion, whose depth is that of the tree, not of the data.

Source: torch's documentation of ``torch.nn.Module``, for names and meaning.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from kb.autograd import backend
from kb.autograd.nn.hooks import Hooked, call_with_hooks
from kb.autograd.nn.loading import Incompatible, load_arrays
from kb.autograd.tensor import Parameter, Tensor


class Module(Hooked):
    """Base of everything with parameters: assign parameters and modules to attributes, and define ``forward``.

    Attributes:
        training: Whether dropout, batch norm and the like behave as in training.
    """

    training: bool = True

    def __init__(self) -> None:
        self.training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output; what calling the module does."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What :meth:`forward` gives, with what hooks make of it."""
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return call_with_hooks(self, self._hooks, args, kwargs)

    # What it holds.

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        if isinstance(old, Parameter) and not isinstance(value, Parameter) and value is not None:
            raise TypeError(f"{name} is a parameter: assign a Parameter or None, got {type(value).__name__}")
        if name in self._buffer_names() and not (value is None or isinstance(value, Tensor)):
            raise TypeError(f"{name} is a buffer: assign a Tensor or None, got {type(value).__name__}")
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Hold a tensor that is no parameter but belongs to the state, such as a running mean.

        Args:
            name: Of the attribute.
            tensor: A tensor, an array, or None for one that is not there.
            persistent: Whether it is part of :meth:`state_dict`.

        Raises:
            TypeError: it is no tensor.
            ValueError: the name is taken, empty, or has a dot in it.
        """
        self._require_free(name)
        if tensor is not None and not isinstance(tensor, Tensor):
            backend.require_array("tensor", tensor)
            tensor = Tensor(tensor)
        super().__setattr__("_buffers", {**self._buffer_names(), name: persistent})
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Hold a parameter under a name, or None for one that is not there; errors as of :meth:`register_buffer`."""
        self._require_free(name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"param must be a Parameter or None, got {type(param).__name__}")
        setattr(self, name, param)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Hold a module under a name, or None for one that is not there; errors as of :meth:`register_buffer`."""
        self._require_free(name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"module must be a Module or None, got {type(module).__name__}")
        setattr(self, name, module)

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules right below, each once, with their names."""
        seen: set[int] = set()
        for name, value in list(vars(self).items()):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator["Module"]:
        """The modules right below, each once."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, "Module"]]:
        """This module and all below, with their paths; each once, or once for each path."""
        seen: set[int] = set()
        for path, module in self._walk(prefix):
            if not (remove_duplicate and id(module) in seen):
                seen.add(id(module))
                yield path, module

    def modules(self) -> Iterator["Module"]:
        """This module and all below, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their paths, in the order of assignment; a shared one once, under its first path."""
        return self._held(prefix, recurse, remove_duplicate, lambda module: module._own_parameters())

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their paths; a shared one once, under its first path."""
        return self._held(prefix, recurse, remove_duplicate, lambda module: module._own_buffers())

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    # What is done to all of it.

    def apply(self, fn: Callable[["Module"], Any]) -> Self:
        """Call a function with every module below and then with this one; returns itself."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Behave as in training, or not; returns itself.

        Raises:
            ValueError: ``mode`` is not True or False.
        """
        if not isinstance(mode, bool):
            raise ValueError(f"mode must be True or False, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as in use; returns itself."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask that gradients of all parameters are remembered, or not; returns itself."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = parameter.grad.detach().zero_()

    def to(self, library: str | None = None, *, device: Any = None, dtype: Any = None) -> Self:
        """Bring all parameters, their gradients and the buffers to another library, device or dtype; returns itself.

        The parameters stay the same objects, with new memory, so make an optimizer afterwards.

        Args:
            library: "numpy", "torch" or "cupy"; stays if not given.
            device: As the library names it; stays if not given.
            dtype: Floating, as the library has it, for what is floating; stays if not given.

        Raises:
            ValueError: the library is none of these, or the dtype is none of its floating ones. Then nothing has moved.
        """
        held: list[Tensor] = [*self.parameters(), *self.buffers()]
        held += [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        moved = [_moved(tensor.data, library, device, dtype) for tensor in held]
        for tensor, array in zip(held, moved, strict=True):
            if array is not tensor.data:
                tensor.data = array
                tensor.bump()
        return self

    def float(self) -> Self:
        """Bring all that is floating to float32; returns itself."""
        return self._cast("float32")

    def double(self) -> Self:
        """Bring all that is floating to float64; returns itself."""
        return self._cast("float64")

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and persistent buffers by their paths, shared ones under each of them.

        Returns:
            Tensors that share the module's memory, without its gradients; names and shapes are torch's.
        """
        return {path: tensor.detach() for path, tensor in self._state(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Incompatible:
        """Take over the numbers of a state dict, ours or torch's, into the memory that is there.

        Args:
            state_dict: Tensors of this package or of torch, or arrays, by path; converted to the library, device and
                dtype of what they are for.
            strict: Whether every path must be there and no other.

        Returns:
            ``missing_keys`` and ``unexpected_keys``.

        Raises:
            TypeError: it is no mapping, or a value is no tensor.
            ValueError: a shape differs, or with ``strict`` a path is missing or unexpected; all of these are named, and
                nothing was loaded.
        """
        return load_arrays(dict(self._state("")), state_dict, strict, type(self).__name__)

    def extra_repr(self) -> str:
        """What stands within the parentheses."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._named_modules_below()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}(", *([extra] if extra else []), *lines]) + "\n)"

    def _buffer_names(self) -> dict[str, bool]:
        return vars(self).get("_buffers", {})

    def _own_parameters(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Parameter)]

    def _own_buffers(self) -> list[tuple[str, Any]]:
        return [(name, vars(self)[name]) for name in self._buffer_names() if vars(self).get(name) is not None]

    def _named_modules_below(self) -> list[tuple[str, "Module"]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Module)]

    def _walk(self, prefix: str) -> Iterator[tuple[str, "Module"]]:
        yield prefix, self
        for name, child in self._named_modules_below():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _held(
        self, prefix: str, recurse: bool, remove_duplicate: bool, own: Callable[["Module"], list[tuple[str, Any]]]
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self._walk(prefix) if recurse else [(prefix, self)]:
            for name, value in own(module):
                if not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def _state(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._walk(""):
            start = f"{prefix}{path}." if path else prefix
            for name, value in module._own_parameters():
                yield f"{start}{name}", value
            for name, value in module._own_buffers():
                if module._buffer_names()[name]:
                    yield f"{start}{name}", value

    def _cast(self, name: str) -> Self:
        held = [*self.parameters(), *self.buffers()]
        return self.to(dtype=getattr(backend.namespace(held[0].data), name)) if held else self

    def _require_free(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"a name must be text without dots, got {name!r}")
        if hasattr(self, name) and name not in self._buffer_names():
            raise ValueError(f"{type(self).__name__} has something called {name!r} already")


def _moved(array: Any, library: str | None, device: Any, dtype: Any) -> Any:
    if library is not None or device is not None:
        array = backend.convert(array, library or backend.library(array), device)
    if dtype is None or not backend.is_floating(array):
        return array
    xp = backend.namespace(array)
    try:
        fits = bool(xp.isdtype(dtype if backend.library(array) == "torch" else xp.dtype(dtype), "real floating"))
    except (TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise ValueError(f"dtype must be a floating one of {backend.library(array)}, got {dtype!r}")
    return xp.astype(array, dtype, copy=False)
