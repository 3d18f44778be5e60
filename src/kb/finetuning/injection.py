"""LoRA in a whole model: put adapters on the layers of given names, choose among them, merge them, take them out.

Works on any ``nn.Module``, models of transformers included, as it goes by names alone. Unusual: the numbers of A come
from a generator of their own in the order of the paths, so that a seed gives the same adapter whatever else is random.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from kb.arguments import is_integer
from kb.finetuning.config import LoraConfig
from kb.finetuning.lora import LoraLinear, require_directions
from kb.finetuning.targets import freeze, matching, replace, require_linear

MakeBase = Callable[[nn.Linear], nn.Module]


def inject(
    model: nn.Module, config: LoraConfig, *, name: str = "default", seed: int = 0, make_base: MakeBase | None = None
) -> list[str]:
    """Put an adapter on every target, in place, and freeze all but it.

    Args:
        model: Any; layers that have adapters get one more.
        config: The adapter's.
        name: By which it is chosen, saved and loaded.
        seed: Of A.
        make_base: Makes of each ``nn.Linear`` the frozen layer that stands in for it, such as one in 4 bits.

    Returns:
        The paths of the layers that have it now.

    Raises:
        ValueError: a target is not in the model, the name is taken, adapters are merged, or a DoRA would be on a row of
            zeros; the model is then as it was.
        TypeError: a target is no linear layer.
    """
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    found = matching(model, config.targets)
    taken = [path for path, layer in lora_layers(model).items() if name in layer.adapters]
    if taken:
        raise ValueError(f"name: {name!r} is an adapter of {taken[0]} already")

    for path, module in found.items():
        if isinstance(module, LoraLinear) and module.merged:
            raise ValueError(f"adapters {list(module.merged)} are merged; unmerge them before one is added")
        layer = module.base if isinstance(module, LoraLinear) else require_linear(path, module)
        require_directions(layer.weight, config)  # type: ignore[arg-type]

    def wrapped(path: str, module: nn.Module) -> nn.Module:
        if isinstance(module, LoraLinear):
            return module
        linear = require_linear(path, module)
        return LoraLinear(linear if make_base is None else make_base(linear))

    replace(model, found, wrapped)
    freeze(model)
    generator = torch.Generator().manual_seed(seed)
    for layer in dict.fromkeys(model.get_submodule(path) for path in found):
        assert isinstance(layer, LoraLinear)
        layer.add(name, config, generator)
    return list(found)


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The layers with adapters, by path; one that stands at two places is listed once."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LoraLinear)}


def activate(model: nn.Module, *names: str) -> None:
    """Use these adapters and no other, wherever they are; they alone require gradients. None: the base alone.

    Raises:
        ValueError: an adapter is on no layer, adapters are merged, or a DoRA is not alone.
    """
    layers = _required(model)
    unknown = sorted(set(names) - set(chain.from_iterable(layer.adapters for layer in layers.values())))
    if unknown:
        raise ValueError(f"names: no layer has an adapter {unknown[0]!r}")
    for layer in layers.values():
        layer.activate([name for name in names if name in layer.adapters])
        for name, adapter in layer.adapters.items():
            adapter.requires_grad_(name in names)


@contextmanager
def base_alone(model: nn.Module) -> Iterator[None]:
    """The model without its adapters within the ``with`` block: the reference of DPO and RLHF costs no second copy.

    Raises:
        ValueError: no layer has adapters, or they are merged.
    """
    layers = _required(model)
    before = {path: layer.active for path, layer in layers.items()}
    for layer in layers.values():
        layer.activate([])
    try:
        yield
    finally:
        for path, layer in layers.items():
            layer.activate(before[path])


def merge(model: nn.Module) -> None:
    """Add the active adapters to the weights, all or none.

    Raises:
        ValueError: no layer has adapters, they are merged already, or a weight is tied to that of another module,
            which would change too.
        TypeError: a base is kept in no floating-point parameter.
    """
    layers = _required(model)
    uses: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            uses.setdefault(id(parameter), set()).add(id(module))
    for path, layer in layers.items():
        layer._mergeable()
        if layer.merged:
            raise ValueError(f"adapters {list(layer.merged)} of {path} are merged already")
        if layer.active and len(uses[id(layer.base.weight)]) > 1:
            raise ValueError(f"the weight of {path} is tied to another module's, which merging would change")
    for layer in layers.values():
        layer.merge()


def unmerge(model: nn.Module) -> None:
    """Take merged adapters off the weights again, within rounding (see ``kb.finetuning.lora``).

    Raises:
        ValueError: no layer has adapters, or a merged DoRA has a magnitude of 0.
    """
    for layer in _required(model).values():
        layer.unmerge()


def unload(model: nn.Module) -> None:
    """Put the bases back in their places, with what is merged into them and without any adapter.

    Raises:
        ValueError: no layer has adapters.
    """
    layers = _required(model)
    every = dict(model.named_modules(remove_duplicate=False))
    found = {path: module for path, module in every.items() if module in set(layers.values())}
    replace(model, found, lambda path, module: layers[path].base)


def _required(model: nn.Module) -> dict[str, LoraLinear]:
    layers = lora_layers(model)
    if not layers:
        raise ValueError("model has no layer with adapters; inject puts them there")
    return layers
