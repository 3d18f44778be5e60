"""Three methods with few parameters: (IA)³, which rescales; bottleneck adapters, which add a small network; BitFit.

Unusual: all are put into a model by the names of its linear layers, as LoRA is. (IA)³ can be merged, the network of a
bottleneck cannot: it is not linear, and stays as extra depth. The papers on bottlenecks and BitFit also train a task's
output layer, and that on bottlenecks the layer norms; here neither is trained.

Sources: Liu et al. 2022, Few-Shot Parameter-Efficient Fine-Tuning (IA)³, section 3.3; Houlsby et al. 2019,
Parameter-Efficient Transfer Learning, section 2.1; Ben Zaken et al. 2022, BitFit.
Shapes: I inputs, O outputs, S inner width of a bottleneck; ``...`` any leading axes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import is_integer, require_count
from kb.finetuning.targets import freeze, matching, replace, require_linear


class Ia3Linear(nn.Module):
    """A frozen linear layer whose outputs, or inputs, are multiplied with a learned vector that starts at 1.

    Args:
        base: The layer.
        on_input: Whether the inputs are: so in the feed-forward network, whose inner activations these are.
    """

    def __init__(self, base: nn.Linear, *, on_input: bool) -> None:
        super().__init__()
        self.base, self.on_input = base.requires_grad_(False), on_input
        size = base.in_features if on_input else base.out_features
        self.ia3 = nn.Parameter(torch.ones(size, dtype=base.weight.dtype, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        out: Tensor = self.base(x * self.ia3) if self.on_input else self.base(x) * self.ia3
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that gives the same."""
        inputs, outputs = self.base.in_features, self.base.out_features
        weight_OI = self.base.weight * (self.ia3 if self.on_input else self.ia3[:, None])
        made = nn.Linear(inputs, outputs, bias=self.base.bias is not None, device=weight_OI.device)
        made = made.to(weight_OI.dtype)
        made.weight.copy_(weight_OI)
        if self.base.bias is not None:
            made.bias.copy_(self.base.bias if self.on_input else self.base.bias * self.ia3)
        return made


class Bottleneck(nn.Module):
    """A frozen linear layer, and behind it h + up(gelu(down(h))), which starts as h: ``up`` begins with zeros.

    Unusual: in the paper all matrices begin near zero, so that the start is h but nearly.

    Args:
        base: The layer; its outputs are the network's inputs.
        size: S.
        generator: Of ``down``: normal numbers of deviation ``1 / sqrt(O)``.
    """

    def __init__(self, base: nn.Linear, size: int, generator: torch.Generator) -> None:
        super().__init__()
        width = base.out_features
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(width, size).to(base.weight)
        self.up = nn.Linear(size, width).to(base.weight)
        with torch.no_grad():
            self.down.weight.copy_(torch.randn(size, width, generator=generator) / width**0.5)
            for start in (self.down.bias, self.up.weight, self.up.bias):
                start.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        h: Tensor = self.base(x)
        out: Tensor = h + self.up(F.gelu(self.down(h)))
        return out


def inject_ia3(
    model: nn.Module,
    *,
    outputs: Sequence[str] = ("k_proj", "v_proj"),
    inputs: Sequence[str] = ("down_proj",),
) -> list[str]:
    """Rescale keys, values and the inner activations of the feed-forward network, in place; the rest is frozen.

    Raises:
        ValueError: a name is the end of no path, or is given twice.
        TypeError: a target is no linear layer.
    """
    if both := sorted(set(outputs) & set(inputs)):
        raise ValueError(f"outputs and inputs both name {both[0]!r}")
    by_input = matching(model, inputs)
    found = matching(model, outputs) | by_input
    for path, module in found.items():
        require_linear(path, module)
    freeze(model)
    replace(model, found, lambda path, module: Ia3Linear(require_linear(path, module), on_input=path in by_input))
    return list(found)


def merge_ia3(model: nn.Module) -> None:
    """Put plain layers in the place of all that rescale.

    Raises:
        ValueError: there are none.
    """
    found = {path: m for path, m in model.named_modules(remove_duplicate=False) if isinstance(m, Ia3Linear)}
    if not found:
        raise ValueError("model has no layer that rescales; inject_ia3 puts them there")
    replace(model, dict(found), lambda path, module: module.merged())  # type: ignore[operator]


def inject_bottleneck(
    model: nn.Module, size: int, *, targets: Sequence[str] = ("o_proj", "down_proj"), seed: int = 0
) -> list[str]:
    """Put a network behind the last matrix of attention and of the feed-forward network, in place; freeze the rest.

    Raises:
        ValueError: the size is no positive integer, or a target is the end of no path.
        TypeError: a target is no linear layer.
    """
    require_count("size", size)
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    found = matching(model, targets)
    for path, module in found.items():
        require_linear(path, module)
    freeze(model)
    generator = torch.Generator().manual_seed(seed)
    replace(model, found, lambda path, module: Bottleneck(require_linear(path, module), size, generator))
    return list(found)


def train_biases(model: nn.Module) -> list[str]:
    """BitFit: freeze everything but the biases; their names.

    Raises:
        ValueError: there are none, as in Llama, whose linear layers and norms have no bias.
    """
    names = [name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    if not names:
        raise ValueError("model has no bias, so that BitFit has nothing to train")
    freeze(model)
    for name in names:
        model.get_parameter(name).requires_grad_(True)
    return names
