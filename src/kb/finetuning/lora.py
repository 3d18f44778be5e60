"""LoRA: a frozen linear layer, and beside it B A of low rank that learns; merged into the layer where it is to be free.

A starts with Kaiming's uniform numbers and B with zeros, so that the first output is the base's own. Unusual: the base
may be any module that has ``in_features``, ``out_features`` and gives its matrix as ``weight``, [O, I]; one that keeps
it in 4 bits makes this QLoRA. Several adapters may sit on one layer; those that are active add up. With a magnitude,
the adapter is a DoRA: W' = m (W + s B A) / ‖W + s B A‖, the norm of each row taken as a constant in the gradient.

Merging rounds once per number: unmerging gives the weights back within one unit in the last place of the larger of W
and W + s B A (float32: a relative 2⁻²³), for DoRA within a few.

Sources: Hu et al. 2021, LoRA, equation 3 and section 4.1; Dettmers et al. 2023, QLoRA, section 3; Liu et al. 2024,
DoRA, equation 5 and section 4.3. DoRA's paper writes W as [inputs, outputs] and norms its columns; in torch's [O, I]
these are rows.
Shapes: I inputs, O outputs, R rank; ``...`` any leading axes.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.finetuning.config import LoraConfig


def lora_loop(x_I: Tensor, weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor, scaling: float) -> Tensor:
    """Reference: W x + scaling · B A x of one input, number by number, [O].

    Raises:
        ValueError: the shapes are not [I], [O, I], [R, I] and [O, R].
    """
    (outputs, inputs), rank = weight_OI.shape, a_RI.shape[0]
    if x_I.shape != (inputs,) or a_RI.shape != (rank, inputs) or b_OR.shape != (outputs, rank):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x_I, weight_OI, a_RI, b_OR))
        raise ValueError(f"wanted x [I], weight [O, I], a [R, I] and b [O, R], got {shapes}")
    low = [sum(a_RI[r, i] * x_I[i] for i in range(inputs)) for r in range(rank)]
    out = []
    for o in range(outputs):
        straight = sum(weight_OI[o, i] * x_I[i] for i in range(inputs))
        out.append(straight + scaling * sum(b_OR[o, r] * low[r] for r in range(rank)))
    return torch.stack([torch.as_tensor(value) for value in out])


def dora_loop(
    x_I: Tensor, weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor, magnitude_O: Tensor, scaling: float
) -> Tensor:
    """Reference: one output at a time, [O]; the length of its row is a constant in the gradient."""
    rows = []
    for o in range(len(weight_OI)):
        row_I = weight_OI[o] + scaling * sum(b_OR[o, r] * a_RI[r] for r in range(len(a_RI)))
        length = math.sqrt(sum(float(value) ** 2 for value in row_I))
        rows.append(magnitude_O[o] * (row_I @ x_I) / length)
    return torch.stack(rows)


def require_directions(weight_OI: Tensor, config: LoraConfig) -> None:
    """Refuse a DoRA on a matrix with a row of zeros: W / ‖W‖ would be 0 / 0.

    Raises:
        ValueError: so it is.
    """
    if config.dora and bool((weight_OI == 0).all(dim=1).any()):
        row = int((weight_OI == 0).all(dim=1).nonzero()[0])
        raise ValueError(f"dora: row {row} of the weight is zero and has no direction; give this layer a LoRA")


class LowRank(nn.Module):
    """A and B of one adapter on one layer, and the magnitude of a DoRA.

    Args:
        weight_OI: The frozen matrix; its dtype and device are taken over, and a DoRA starts with its rows' norms.
        config: The adapter's.
        generator: Of A's numbers: uniform within 1 / sqrt(I), what ``nn.Linear`` starts with.

    Raises:
        ValueError: a DoRA is asked for and a row of the matrix is zero, which has no direction.
    """

    def __init__(self, weight_OI: Tensor, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        require_directions(weight_OI, config)
        outputs, inputs = weight_OI.shape
        bound = 1 / math.sqrt(inputs)
        a_RI = torch.empty(config.rank, inputs).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(a_RI.to(weight_OI))
        self.lora_B = nn.Parameter(weight_OI.new_zeros(outputs, config.rank))
        self.config, self.scaling = config, config.scaling
        self.dropout = nn.Dropout(config.dropout)
        norms_O = torch.linalg.vector_norm(weight_OI.detach(), dim=1) if config.dora else None
        self.lora_magnitude_vector = nn.Parameter(norms_O) if norms_O is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """S B A x, [..., I] to [..., O]."""
        return self.scaling * F.linear(F.linear(self.dropout(x), self.lora_A), self.lora_B)

    def delta(self) -> Tensor:
        """S B A, [O, I]."""
        return self.scaling * (self.lora_B @ self.lora_A)

    def stretch(self, weight_OI: Tensor) -> Tensor:
        """What a DoRA multiplies the rows of W + s B A with, m / ‖W + s B A‖, [O]; 1 for a LoRA."""
        if self.lora_magnitude_vector is None:
            return weight_OI.new_ones(len(weight_OI))
        with torch.no_grad():  # section 4.3: a constant in the gradient, which saves memory
            norms_O = torch.linalg.vector_norm(weight_OI + self.delta(), dim=1)
        return self.lora_magnitude_vector / norms_O


class LoraLinear(nn.Module):
    """A frozen linear layer with adapters.

    Args:
        base: ``nn.Linear``, or what has its ``in_features``, ``out_features``, ``weight`` and, if any, ``bias``.

    Raises:
        TypeError: the base lacks one of these.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        lacking = [name for name in ("in_features", "out_features", "weight") if not hasattr(base, name)]
        if lacking or isinstance(base, LoraLinear):
            raise TypeError(f"base must be a linear layer, got {type(base).__name__} without {', '.join(lacking)}")
        self.base = base.requires_grad_(False)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.adapters = nn.ModuleDict()
        self.active: tuple[str, ...] = ()
        self.merged: tuple[str, ...] = ()
        self._stretches: dict[str, Tensor] = {}  # of merged DoRAs, which cannot be read off the merged weight

    def add(self, name: str, config: LoraConfig, generator: torch.Generator) -> None:
        """Add an adapter and make it the active one.

        Raises:
            ValueError: there is one of this name, the name is empty or has a dot, or others are merged.
        """
        if name in self.adapters or not name or "." in name:
            raise ValueError(f"name must be a new one without a dot, got {name!r} beside {list(self.adapters)}")
        if self.merged:
            raise ValueError(f"adapters {list(self.merged)} are merged; unmerge them before one is added")
        self.adapters[name] = LowRank(self.base.weight, config, generator)  # type: ignore[arg-type]
        self.activate([name])

    def activate(self, names: Sequence[str]) -> None:
        """Use these adapters and no other, their updates added; none for the base alone.

        Raises:
            ValueError: one is unknown, adapters are merged, or a DoRA is not alone: its norm is that of its own sum.
        """
        unknown = sorted(set(names) - set(self.adapters))
        if unknown or len(set(names)) < len(names):
            raise ValueError(f"names must be different adapters among {list(self.adapters)}, got {list(names)}")
        if self.merged:
            raise ValueError(f"adapters {list(self.merged)} are merged; unmerge them before others are used")
        if len(names) > 1 and any(self._adapter(name).config.dora for name in names):
            raise ValueError(f"a DoRA can only be active alone, got {list(names)}")
        self.active = tuple(names)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        out: Tensor = self.base(x)
        if self.merged:
            return out
        for name in self.active:
            adapter = self._adapter(name)
            if adapter.lora_magnitude_vector is None:  # the weight is not asked for: in 4 bits that is work
                out = out + adapter(x)
            else:
                stretch_O = adapter.stretch(self.base.weight)  # type: ignore[arg-type]
                bias_O = getattr(self.base, "bias", None)
                straight = out if bias_O is None else out - bias_O
                out = stretch_O * (straight + adapter(x))
                out = out if bias_O is None else out + bias_O
        return out

    @torch.no_grad()
    def merge(self) -> None:
        """Add the active adapters to the base's weights; the layer then costs what the base alone does.

        Raises:
            TypeError: the base's weight is no floating-point parameter, as where it is kept in 4 bits.
            ValueError: adapters are merged already.
        """
        weight_OI = self._mergeable()
        if self.merged:
            raise ValueError(f"adapters {list(self.merged)} are merged already")
        for name in self.active:
            adapter = self._adapter(name)
            stretch_O = adapter.stretch(weight_OI)
            weight_OI.add_(adapter.delta())
            if adapter.config.dora:
                self._stretches[name] = stretch_O.clone()
                weight_OI.mul_(stretch_O[:, None])
        self.merged = self.active

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the merged adapters off again; nothing happens where none is merged.

        Raises:
            ValueError: the magnitude of a merged DoRA is 0, so that its row is gone.
        """
        if not self.merged:
            return
        weight_OI = self._mergeable()
        if any(bool((stretch_O == 0).any()) for stretch_O in self._stretches.values()):
            raise ValueError("a magnitude of 0 has wiped out a row of the merged weight, which cannot be unmerged")
        for name in reversed(self.merged):
            if name in self._stretches:
                weight_OI.div_(self._stretches.pop(name)[:, None])
            weight_OI.sub_(self._adapter(name).delta())
        self.merged = ()

    def _adapter(self, name: str) -> LowRank:
        adapter = self.adapters[name]
        assert isinstance(adapter, LowRank)
        return adapter

    def _mergeable(self) -> Tensor:
        weight = self.base.weight
        if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
            raise TypeError(
                f"the weight of {type(self.base).__name__} is no floating-point parameter: dequantise the base, merge "
                "into that, and quantise again if need be, which rounds the update too"
            )
        return weight.data
