"""Layers and losses as modules: with the same state torch's outputs, gradients and running statistics, both ways."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as theirs

from kb.autograd import Tensor
from kb.autograd import nn as ours

D = "float64"


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*shape: int) -> np.ndarray:
    return generator(5).normal(size=shape)


def as_torch(state: dict[str, Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value.numpy())) for name, value in state.items()}


# One layer each: how it is made of either framework, and the shape of an input.
LAYERS: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...]]] = {
    "Linear": (lambda nn, d: nn.Linear(3, 4, dtype=d), (2, 5, 3)),
    "Linear without bias": (lambda nn, d: nn.Linear(3, 4, bias=False, dtype=d), (2, 3)),
    "Conv2d": (lambda nn, d: nn.Conv2d(4, 6, (3, 2), 2, (1, 2), 1, 2, dtype=d), (2, 4, 7, 6)),
    "Conv2d same": (lambda nn, d: nn.Conv2d(2, 3, 3, padding="same", dilation=2, bias=False, dtype=d), (2, 2, 6, 6)),
    "LayerNorm": (lambda nn, d: nn.LayerNorm((3, 4), eps=1e-3, dtype=d), (2, 3, 4)),
    "LayerNorm without bias": (lambda nn, d: nn.LayerNorm(4, bias=False, dtype=d), (2, 4)),
    "LayerNorm plain": (lambda nn, d: nn.LayerNorm(4, elementwise_affine=False, dtype=d), (2, 4)),
    "RMSNorm": (lambda nn, d: nn.RMSNorm(4, dtype=d), (2, 4)),
    "BatchNorm1d": (lambda nn, d: nn.BatchNorm1d(3, dtype=d), (5, 3)),
    "BatchNorm1d of sequences": (lambda nn, d: nn.BatchNorm1d(3, momentum=None, dtype=d), (2, 3, 4)),
    "BatchNorm2d": (lambda nn, d: nn.BatchNorm2d(3, eps=1e-3, momentum=0.3, dtype=d), (2, 3, 4, 2)),
    "BatchNorm2d untracked": (lambda nn, d: nn.BatchNorm2d(3, track_running_stats=False, dtype=d), (2, 3, 4, 2)),
    "BatchNorm2d plain": (lambda nn, d: nn.BatchNorm2d(3, affine=False, dtype=d), (2, 3, 4, 2)),
    "MaxPool2d": (lambda nn, d: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 3, 6, 6)),
    "AvgPool2d": (lambda nn, d: nn.AvgPool2d((2, 3), padding=1, count_include_pad=False), (2, 3, 6, 6)),
    "Flatten": (lambda nn, d: nn.Flatten(), (2, 3, 4)),
    "Flatten middle": (lambda nn, d: nn.Flatten(1, 2), (2, 3, 4, 2)),
    "Identity": (lambda nn, d: nn.Identity(3, word="ignored"), (2,)),
    "ReLU": (lambda nn, d: nn.ReLU(), (2, 3)),
    "LeakyReLU": (lambda nn, d: nn.LeakyReLU(0.2), (2, 3)),
    "ELU": (lambda nn, d: nn.ELU(1.5), (2, 3)),
    "SiLU": (lambda nn, d: nn.SiLU(), (2, 3)),
    "GELU": (lambda nn, d: nn.GELU(), (2, 3)),
    "GELU tanh": (lambda nn, d: nn.GELU("tanh"), (2, 3)),
    "Softplus": (lambda nn, d: nn.Softplus(2.0, 1.0), (2, 3)),
    "LogSigmoid": (lambda nn, d: nn.LogSigmoid(), (2, 3)),
    "Sigmoid": (lambda nn, d: nn.Sigmoid(), (2, 3)),
    "Tanh": (lambda nn, d: nn.Tanh(), (2, 3)),
    "Softmax": (lambda nn, d: nn.Softmax(dim=1), (2, 3)),
    "LogSoftmax": (lambda nn, d: nn.LogSoftmax(0), (2, 3)),
    "Dropout": (lambda nn, d: nn.Dropout(0.0), (2, 3)),
    "Embedding": (lambda nn, d: nn.Embedding(5, 3, padding_idx=-1, dtype=d), (2, 4)),
}


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_with_torchs_state_gives_torchs_outputs_and_gradients(name: str, library: str) -> None:
    make, shape = LAYERS[name]
    reference, layer = make(theirs, torch.float64), make(ours, D).to(library=library)
    assert repr(layer) == repr(reference)
    assert layer.load_state_dict(reference.state_dict()) == ([], [])
    x = generator(1).integers(0, 5, shape) if name == "Embedding" else numbers(*shape)
    for training in (True, True, False):
        layer.train(training)
        reference.train(training)
        leaf = Tensor(x.copy() if library == "numpy" else torch.from_numpy(x.copy()), requires_grad=x.dtype.kind == "f")
        their_leaf = torch.tensor(x, requires_grad=x.dtype.kind == "f")
        out, expected = layer(leaf), reference(their_leaf)
        np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), 1e-10, 1e-10)
        if expected.requires_grad:
            cotangent = generator(2).normal(size=expected.shape)
            out.backward(cotangent if library == "numpy" else torch.from_numpy(cotangent))
            expected.backward(torch.tensor(cotangent))
            for mine, yours in zip([leaf, *layer.parameters()], [their_leaf, *reference.parameters()], strict=True):
                if yours.grad is not None:
                    np.testing.assert_allclose(mine.grad.numpy(), yours.grad.numpy(), 1e-9, 1e-10)
    state, wanted = layer.state_dict(), reference.state_dict()
    assert list(state) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(state[key].numpy(), value.numpy(), 1e-10, 1e-10)
        assert str(state[key].dtype).removeprefix("torch.") == str(value.dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", LAYERS)
def test_our_state_loads_in_torch(name: str) -> None:
    make, shape = LAYERS[name]
    layer, reference = make(ours, D), make(theirs, torch.float64)
    reference.load_state_dict(as_torch(layer.state_dict()))
    x = generator(1).integers(0, 5, shape) if name == "Embedding" else numbers(*shape)
    np.testing.assert_allclose(
        layer(Tensor(x)).detach().numpy(), reference(torch.tensor(x)).detach().numpy(), 1e-10, 1e-10
    )


LOSSES: dict[str, Callable[[Any, Callable[[list[float]], Any]], Any]] = {
    "cross entropy": lambda nn, t: nn.CrossEntropyLoss(t([1.0, 2.0, 0.5]), ignore_index=1, label_smoothing=0.1),
    "nll": lambda nn, t: nn.NLLLoss(t([1.0, 2.0, 0.5]), reduction="sum"),
    "mse": lambda nn, t: nn.MSELoss(),
    "l1": lambda nn, t: nn.L1Loss(reduction="sum"),
    "huber": lambda nn, t: nn.HuberLoss(delta=0.5),
    "smooth": lambda nn, t: nn.SmoothL1Loss(beta=0.5),
    "bce": lambda nn, t: nn.BCEWithLogitsLoss(t([1.0, 2.0, 0.5]), pos_weight=t([2.0, 1.0, 3.0])),
    "kl": lambda nn, t: nn.KLDivLoss(reduction="batchmean", log_target=True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_as_modules(name: str) -> None:
    loss = LOSSES[name](ours, lambda values: Tensor(np.array(values)))
    reference = LOSSES[name](theirs, lambda values: torch.tensor(values, dtype=torch.float64))
    assert repr(loss) == repr(reference)
    assert list(loss.state_dict()) == list(reference.state_dict())
    x, target = (
        numbers(4, 3),
        np.array([0, 1, 2, 2]) if name in ("cross entropy", "nll") else numbers(4, 3)[::-1].copy(),
    )
    found, wanted = loss(Tensor(x), Tensor(target)), reference(torch.tensor(x), torch.tensor(target))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
