"""What the inputs of a model's linear layers look like: one pass over a few texts, which all methods then share.

GPTQ asks for the inputs' Gram matrix, AWQ for the mean absolute value of each input and the Gram matrix, Wanda for each
input's norm, SmoothQuant for each input's largest absolute value. Unusual: no input is kept, only these sums, in
float64; the error of a layer's output needs no more, as ‖X D'‖² = tr(D XᵀX D') for any change D of the weights.

Shapes: N tokens of all texts, O outputs, I inputs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class InputStatistics:
    """Sums over the inputs of one layer.

    Args:
        inputs: I.
    """

    inputs: int

    def __post_init__(self) -> None:
        self.count = 0
        self.gram = torch.zeros(self.inputs, self.inputs, dtype=torch.float64)
        self.sum_abs = torch.zeros(self.inputs, dtype=torch.float64)
        self.max_abs = torch.zeros(self.inputs, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Add inputs [..., I].

        Raises:
            ValueError: the last axis is not I.
        """
        if x.dim() == 0 or x.shape[-1] != self.inputs:
            raise ValueError(f"x must be [..., {self.inputs}], got {tuple(x.shape)}")
        rows_NI = x.detach().reshape(-1, self.inputs).to("cpu", torch.float64)
        if not len(rows_NI):
            return
        self.count += len(rows_NI)
        self.gram += rows_NI.T @ rows_NI
        self.sum_abs += rows_NI.abs().sum(0)
        self.max_abs = torch.maximum(self.max_abs, rows_NI.abs().amax(0))

    @property
    def mean_abs(self) -> Tensor:
        """Mean absolute value of each input."""
        return self.sum_abs / max(1, self.count)

    @property
    def norm(self) -> Tensor:
        """Euclidean length of each input over all tokens."""
        return self.gram.diagonal().sqrt()


def output_error(weight_OI: Tensor, approximate_OI: Tensor, gram_II: Tensor) -> float:
    """‖X (W - Ŵ)ᵀ‖² / ‖X Wᵀ‖² over the inputs X of a Gram matrix XᵀX.

    Raises:
        ValueError: the shapes do not fit.
    """
    if weight_OI.shape != approximate_OI.shape or gram_II.shape != (weight_OI.shape[1],) * 2:
        shapes = f"{tuple(weight_OI.shape)}, {tuple(approximate_OI.shape)} and {tuple(gram_II.shape)}"
        raise ValueError(f"weight, approximate and gram must be [O, I], [O, I] and [I, I], got {shapes}")
    gram = gram_II.double()
    weight, change = weight_OI.detach().double(), (weight_OI - approximate_OI).detach().double()
    return float(((change @ gram) * change).sum() / ((weight @ gram) * weight).sum())


def linear_layers(model: nn.Module, *, without: Iterable[str] = ("lm_head",)) -> dict[str, nn.Linear]:
    """The linear layers of a model by name, but for those whose last name is in ``without``."""
    left_out = set(without)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    return {name: layer for name, layer in layers.items() if name.rpartition(".")[2] not in left_out}


@torch.no_grad()
def collect_inputs(run: Callable[[], object], layers: Mapping[str, nn.Linear]) -> dict[str, InputStatistics]:
    """Statistics of the inputs that each layer gets while ``run`` runs the model over calibration texts.

    Raises:
        ValueError: a layer was given no input.
    """
    found = {name: InputStatistics(layer.in_features) for name, layer in layers.items()}

    def watcher(statistics: InputStatistics) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, given: statistics.add(given[0])

    handles = [layer.register_forward_pre_hook(watcher(found[name])) for name, layer in layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    if silent := [name for name, statistics in found.items() if not statistics.count]:
        raise ValueError(f"run gave no input to layer {silent[0]}")
    return found


@contextmanager
def swapped_weights(layers: Mapping[str, nn.Linear], weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the ``with`` block, the named layers have other weights; then their own again.

    Raises:
        ValueError: a name is no layer's, or a weight has another shape; nothing is changed then.
    """
    for name, weight in weights.items():
        if name not in layers:
            raise ValueError(f"weights: {name!r} is none of the layers")
        if weight.shape != layers[name].weight.shape:
            wanted = tuple(layers[name].weight.shape)
            raise ValueError(f"weights: {name} must be {wanted}, got {tuple(weight.shape)}")
    kept = {name: layers[name].weight.detach().clone() for name in weights}
    try:
        with torch.no_grad():
            for name, weight in weights.items():
                layers[name].weight.copy_(weight)
        yield
    finally:
        with torch.no_grad():
            for name, weight in kept.items():
                layers[name].weight.copy_(weight)
