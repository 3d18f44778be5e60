"""Modules that hold modules: one after another, or in a list.

Source: torch's documentation of ``torch.nn.Sequential`` and ``torch.nn.ModuleList``, for names and meaning.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from kb.autograd.nn.module import Module


class _Numbered(Module):
    """Modules under the names 0, 1 and so on, or names of their own, in order."""

    def __len__(self) -> int:
        return len(self._named_modules_below())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self._named_modules_below()])

    def __getitem__(self, index: Any) -> Any:
        held = self._named_modules_below()
        if isinstance(index, slice):
            part = type(self)()
            for place, (name, module) in enumerate(held[index]):
                part.add_module(name if isinstance(self, Sequential) else str(place), module)
            return part
        return held[self._place(index)][1]

    def __setitem__(self, index: int, module: Module) -> None:
        name = self._named_modules_below()[self._place(index)][0]
        setattr(self, name, _required(module))

    def append(self, module: Module) -> Self:
        """Put a module at the end; returns itself.

        Raises:
            TypeError: it is no module.
        """
        self.add_module(str(len(self)), _required(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Put several modules at the end; returns itself."""
        for module in list(modules):
            self.append(module)
        return self

    def _place(self, index: Any) -> int:
        count = len(self)
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"an index must be an integer or a slice, got {type(index).__name__}")
        if not -count <= index < count:
            raise IndexError(f"index {index} is out of range of {count} modules")
        return index % count


class Sequential(_Numbered):
    """Modules of which each is given what the one before gave.

    Args:
        *modules: In order; or one mapping of names to them.

    Raises:
        TypeError: one of them is no module.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, _required(module))
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:  # noqa: A002 - torch's name
        """The output of the last one."""
        for module in self:
            input = module(input)  # noqa: A001
        return input


class ModuleList(_Numbered):
    """Modules in a list, whose parameters are found; it cannot be called.

    Args:
        modules: In order.

    Raises:
        TypeError: one of them is no module.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)


def _required(module: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"a Module is wanted, got {type(module).__name__}")
    return module
