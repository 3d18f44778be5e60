"""Optimizers refuse options out of range, what cannot be optimized, and gradients that do not fit."""

from typing import Any

import numpy as np
import pytest
import torch

from kb.autograd import Parameter
from kb.autograd import optim as ours
from tests.autograd.optimizing import Holder


@pytest.mark.parametrize(
    ("name", "options", "wrong"),
    [
        ("SGD", {"lr": -1.0}, "lr"),
        ("SGD", {"lr": float("nan")}, "lr"),
        ("SGD", {"lr": "fast"}, "lr"),
        ("SGD", {"momentum": -0.1}, "momentum"),
        ("SGD", {"dampening": None}, "dampening"),
        ("SGD", {"nesterov": True}, "nesterov"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
        ("SGD", {"maximize": 1}, "maximize"),
        ("Adagrad", {"lr_decay": -1}, "lr_decay"),
        ("Adagrad", {"initial_accumulator_value": -1}, "initial_accumulator_value"),
        ("RMSprop", {"alpha": -0.1}, "alpha"),
        ("RMSprop", {"centered": "yes"}, "centered"),
        ("Adam", {"betas": (1.0, 0.999)}, r"betas\[0\]"),
        ("Adam", {"betas": (0.9, -0.1)}, r"betas\[1\]"),
        ("Adam", {"betas": 0.9}, "betas"),
        ("Adam", {"eps": -1e-8}, "eps"),
        ("Adam", {"amsgrad": None}, "amsgrad"),
        ("AdamW", {"weight_decay": -1}, "weight_decay"),
        ("Lion", {"lr": -1}, "lr"),
        ("Lion", {"betas": (0.9, 1.0)}, r"betas\[1\]"),
        ("Lion", {"weight_decay": "much"}, "weight_decay"),
        ("LAMB", {"eps": float("inf")}, "eps"),
        ("LAMB", {"betas": (0.9,)}, "betas"),
        ("LAMB", {"maximize": 0}, "maximize"),
        ("Adafactor", {"beta2_decay": 0.5}, "beta2_decay"),
        ("Adafactor", {"d": 0.5}, "d"),
        ("Adafactor", {"eps": 1e-3}, "eps"),
        ("Adafactor", {"eps": (None, None)}, r"eps\[1\]"),
        ("Adafactor", {"eps": (-1.0, 1e-3)}, r"eps\[0\]"),
        ("Muon", {"ns_steps": 100}, "ns_steps"),
        ("Muon", {"ns_steps": 2.5}, "ns_steps"),
        ("Muon", {"ns_coefficients": (1, 2)}, "ns_coefficients"),
        ("Muon", {"adjust_lr_fn": "guess"}, "adjust_lr_fn"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}"):
        getattr(ours, name)([Holder(np.ones((2, 2)))], **options)
    optimizer = getattr(ours, name)([Holder(np.ones((2, 2)))])
    with pytest.raises(ValueError, match=f"^{wrong}"):
        optimizer.add_param_group({"params": [Holder(np.ones((2, 2)))], **options})
    assert len(optimizer.param_groups) == 1


TWICE = Holder(np.ones(2))


class Equal(Holder):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ([], ValueError, "at least one"),
        (Holder(np.ones(2)), TypeError, "list"),
        (torch.ones(2), TypeError, "list"),
        (None, TypeError, "list"),
        ({TWICE}, TypeError, "order"),
        ([TWICE, TWICE], ValueError, "twice"),
        ([{"params": [TWICE]}, {"params": [TWICE]}], ValueError, "twice"),
        ([{"params": [TWICE]}, Holder(np.ones(3))], TypeError, "group"),
        ({"params": [TWICE]}, TypeError, "list"),
        ([{"params": 3}], TypeError, "list"),
        ([{"lr": 1.0}], ValueError, "params"),
        ([np.ones(2)], TypeError, "grad"),
        ([3.0], TypeError, "data"),
        ([Holder([1.0])], TypeError, "in place"),
        ([Holder(np.float64(1.0))], TypeError, "in place"),
        ([Holder(np.arange(3))], TypeError, "floating"),
        ([Holder(np.ones(2) + 1j)], TypeError, "floating"),
        ([torch.arange(3)], TypeError, "floating"),
        ([Equal(np.ones(2))], TypeError, "identity"),
        ([Parameter(np.ones(2)) * 2], ValueError, "leaves"),
        ([torch.nn.Parameter(torch.ones(2)) * 2], ValueError, "leaves"),
    ],
)
def test_what_cannot_be_optimized_is_refused(params: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ours.SGD(params)


def test_a_gradient_of_another_shape_or_library_is_refused_before_any_write() -> None:
    first, second = Holder(np.zeros((2, 3))), Holder(np.zeros((2, 3)))
    optimizer = ours.SGD([first, second])
    first.grad, second.grad = np.ones((2, 3)), np.ones(3)  # it would broadcast
    with pytest.raises(ValueError, match=r"\(3,\)"):
        optimizer.step()
    second.grad = torch.ones(2, 3)
    with pytest.raises(TypeError, match="numpy and torch"):
        optimizer.step()
    assert not first.data.any()
