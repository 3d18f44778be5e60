"""Bytes of training: the well-known sixteen, and counts against what the optimizers of torch really keep."""

import pytest
import pytorch_optimizer
import torch

from kb.training.memory import FULL, KEPT, MIXED, Precision, training_bytes

SHAPES = [(6, 4), (4,), (2, 3, 5)]
REAL = {
    "SGD": lambda p: torch.optim.SGD(p),
    "SGD, momentum": lambda p: torch.optim.SGD(p, momentum=0.9),
    "Adagrad": torch.optim.Adagrad,
    "RMSprop": torch.optim.RMSprop,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "LAMB": pytorch_optimizer.Lamb,
    "Lion": pytorch_optimizer.Lion,
    "Adafactor": torch.optim.Adafactor,
}


def test_mixed_precision_adam_is_sixteen_bytes() -> None:
    found = training_bytes([(1000, 1000)], KEPT["AdamW"])
    assert (found.weights, found.gradients, found.master, found.states) == (2_000_000, 2_000_000, 4_000_000, 8_000_000)
    assert found.per_parameter == 16
    assert training_bytes([(10, 10)], KEPT["AdamW"], FULL).per_parameter == 16
    assert training_bytes([(10, 10)], KEPT["SGD"], FULL).per_parameter == 8
    assert training_bytes([(10, 10)], KEPT["Adam"], Precision(state=2)).per_parameter == 12
    assert training_bytes([(1000, 500)], KEPT["Adafactor"]).states == 4 * 1500


@pytest.mark.parametrize("name", [*REAL, "Muon"])
def test_counts_are_what_the_optimizers_keep(name: str) -> None:
    shapes = [(6, 4)] if name == "Muon" else SHAPES
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = torch.optim.Muon(parameters) if name == "Muon" else REAL[name](parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = [value for state in optimizer.state.values() for key, value in state.items() if torch.is_tensor(value)]
    numbers = sum(value.numel() for value in kept if value.numel() > 1 or value.ndim)  # steps and ratios are no buffers
    assert training_bytes(shapes, KEPT[name], MIXED).states == 4 * numbers
    assert set(KEPT) == {*REAL, "Muon"}


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        Precision(weight=0)
    with pytest.raises(ValueError, match="master"):
        Precision(master=-4)
    with pytest.raises(ValueError, match="shapes"):
        training_bytes([], KEPT["Adam"])
    with pytest.raises(ValueError, match=r"size in shapes.*-2"):
        training_bytes([(-2, 3), (4, 4)], KEPT["Adam"])
