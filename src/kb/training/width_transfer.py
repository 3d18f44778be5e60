"""How a start and a rate must follow the width, so that one learning rate serves small and wide models alike (µP).

A tensor's role is which of its two sizes grow with the model's width: both (hidden), only the outputs (input: the
embedding, and vectors), only the inputs (output: the head), or neither. With r = inputs / inputs of the base model,

                 standard (SP)             maximal update (µP), for Adam
                 std          rate         std          rate
    input        as base      1            as base      1
    hidden       base / √r    1            base / √r    1 / r
    output       base / √r    1            base / r     1 / r

so that at the base's width both are the same, and the base is where a rate is searched for. Why: a step of Adam changes
every number of a matrix by about the rate, and the changes agree with the input in sign, so that r times as many inputs
move an output r times as far. Unusual: roles are read off by comparing the model with a narrower one of its kind, so no
layer need be of a special class; heads keep their width (attention's 1/√d would else become 1/d), and the embedding is
not tied to the head.

Source: Yang et al. 2022, Tensor Programs V, table 3 (the column of Adam) and appendix B; coordinate check: appendix D.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kb.arguments import is_integer
from kb.training.loop import Loss, TrainConfig, train


@dataclass(frozen=True)
class TensorScale:
    """How one tensor starts and how fast it is trained.

    Attributes:
        role: "input", "hidden", "output" or "fixed".
        std: Standard deviation of its start; 0 for a vector, which starts as :func:`initialize_scaled` says.
        rate: What the learning rate is multiplied by.
    """

    role: str
    std: float
    rate: float


def standard_scales(model: nn.Module, base: nn.Module) -> dict[str, TensorScale]:
    """The usual start, variance 1 / inputs, and one rate for all; an embedding starts with variance 1.

    Args:
        model: Linear layers, embeddings and vectors, no parameter shared.
        base: The same model at the width where rates are searched for; itself, or a narrower one.

    Raises:
        ValueError: the two have other parameters than each other, one has more than two axes, or one is shared, as a
            head tied to the embedding is: it would need two roles.
    """
    return {name: TensorScale(role, std, 1.0) for name, (role, std, _) in _roles(model, base).items()}


def mup_scales(model: nn.Module, base: nn.Module) -> dict[str, TensorScale]:
    """Start and rate by which a rate found at the base's width is right at the model's, for Adam and AdamW.

    Args:
        model: As of :func:`standard_scales`.
        base: As there.

    Raises:
        ValueError: as there.
    """
    scales = {}
    for name, (role, std, ratio) in _roles(model, base).items():
        if role == "output":
            std /= ratio**0.5
        scales[name] = TensorScale(role, std, 1 / ratio if role in ("hidden", "output") else 1.0)
    return scales


@torch.no_grad()
def initialize_scaled(model: nn.Module, scales: Mapping[str, TensorScale], *, seed: int) -> None:
    """Set every matrix to normal numbers of its scale, every bias to 0 and every other vector, a norm's gain, to 1.

    Raises:
        ValueError: the scales are of other parameters, or the seed is no integer.
    """
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    named = dict(model.named_parameters())
    _require_same(set(named), set(scales), "scales")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(named.items()):
        if parameter.ndim < 2:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scales[name].std)


def coordinate_check(
    model: nn.Module, scales: Mapping[str, TensorScale], batches: Iterable[Any], loss: Loss, config: TrainConfig
) -> dict[str, float]:
    """How far training moves what each linear layer and embedding puts out: the root mean square of the change.

    Args:
        model: Trained in place; of its first batch all is measured.
        scales: Whose rates are used.
        batches: As many as steps.
        loss: As of :func:`kb.training.train`.
        config: As there.

    Returns:
        By name of the module. Where the scales are right it does not grow with the width, and does not vanish.

    Raises:
        ValueError: there is no batch; and as :func:`kb.training.train`.
    """
    batches = list(batches)
    if not batches:
        raise ValueError("batches must hold at least one batch, got none")
    before = _outputs(model, loss, batches[0])
    train(model, batches, loss, config, rates={name: scale.rate for name, scale in scales.items()})
    after = _outputs(model, loss, batches[0])
    return {name: float((after[name] - before[name]).square().mean().sqrt()) for name in before}


@torch.no_grad()
def _outputs(model: nn.Module, loss: Loss, batch: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, out.detach().clone()))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    ]
    try:
        loss(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _roles(model: nn.Module, base: nn.Module) -> dict[str, tuple[str, float, float]]:
    """Of each parameter its role, its standard start, and how many times as many inputs it has as the base's."""
    named, narrow = dict(model.named_parameters()), dict(base.named_parameters())
    _require_same(set(named), set(narrow), "model and base")
    shared = [name for name, _ in model.named_parameters(remove_duplicate=False) if name not in named]
    if shared:
        raise ValueError(f"model must share no parameter, as each has one role; {', '.join(shared)} is another's too")
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    found = {}
    for name, parameter in named.items():
        wide, own = tuple(parameter.shape), tuple(narrow[name].shape)
        if len(wide) != len(own):
            raise ValueError(f"{name} has shape {wide} in the model and {own} in base")
        if len(wide) > 2:
            raise ValueError(f"{name} has shape {wide}; vectors and matrices, of at most two axes, are wanted")
        if len(wide) < 2:
            found[name] = ("input" if wide != own else "fixed", 0.0, 1.0)
        elif name in embeddings:
            found[name] = ("input" if wide[1] != own[1] else "fixed", 1.0, 1.0)
        else:
            (outputs, inputs), (base_outputs, base_inputs) = wide, own
            role = {(True, True): "hidden", (True, False): "input", (False, True): "output", (False, False): "fixed"}[
                (outputs != base_outputs, inputs != base_inputs)
            ]
            found[name] = (role, inputs**-0.5, inputs / base_inputs)
    return found


def _require_same(left: set[str], right: set[str], what: str) -> None:
    if left != right:
        raise ValueError(f"{what} must be of the same parameters; not of both are {', '.join(sorted(left ^ right))}")
