"""Finding modules of a model by the ends of their paths, putting others in their place, and freezing.

What LoRA, (IA)³ and bottleneck adapters have in common. Unusual: a module that stands at two places of a model is
replaced at both by one and the same.
"""

from collections.abc import Callable, Sequence

from torch import nn

from kb.finetuning.config import require_targets


def matching(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Module]:
    """Modules whose path is a target or ends in a dot and a target, by path.

    Raises:
        ValueError: a target is the end of no path.
        TypeError: ``targets`` is no tuple of names.
    """
    require_targets("targets", targets)
    paths = dict(model.named_modules(remove_duplicate=False))
    for target in targets:
        if not any(_ends(path, target) for path in paths):
            kinds = sorted({path.rpartition(".")[2] for path, module in paths.items() if isinstance(module, nn.Linear)})
            raise ValueError(f"targets: no module of the model is called {target!r}; its linear layers are {kinds}")
    return {path: module for path, module in paths.items() if any(_ends(path, target) for target in targets)}


def replace(model: nn.Module, found: dict[str, nn.Module], make: Callable[[str, nn.Module], nn.Module]) -> None:
    """Put ``make(path, module)`` in the place of each module; what ``make`` refuses changes nothing."""
    made: dict[int, nn.Module] = {}
    for path, module in found.items():
        if id(module) not in made:
            made[id(module)] = make(path, module)
    for path, module in found.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, made[id(module)])


def require_linear(path: str, module: nn.Module) -> nn.Linear:
    """The module itself.

    Raises:
        TypeError: it is no ``nn.Linear``.
    """
    if not isinstance(module, nn.Linear):
        raise TypeError(f"targets: {path} is a {type(module).__name__}, wanted nn.Linear")
    return module


def freeze(model: nn.Module) -> None:
    """No parameter of the model requires a gradient any more."""
    model.requires_grad_(False)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _ends(path: str, target: str) -> bool:
    return path == target or path.endswith(f".{target}")
