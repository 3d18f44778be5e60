"""Parameters of every library for the tests of the optimizers, and what gives them gradients and reads them."""

from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np
import torch

from kb.autograd import Parameter, Tensor
from kb.autograd import optim as ours
from kb.autograd.optim.parameters import array_of

SHAPES = ((3, 2), (), (0,), (4,))


class Holder:
    """The least that an optimizer takes: an array and its gradient."""

    def __init__(self, data: Any) -> None:
        self.data, self.grad = data, None


# By name of the library: a parameter of a NumPy array, and what its ``grad`` is set to.
KINDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "numpy": (Holder, np.asarray),
    "strict": (lambda array: Holder(strict.asarray(array)), strict.asarray),
    "torch": (lambda array: torch.nn.Parameter(torch.from_numpy(array)), torch.from_numpy),
    "kb": (Parameter, Tensor),
    "kb on torch": (lambda array: Parameter(torch.from_numpy(array)), lambda array: Tensor(torch.from_numpy(array))),
}


def read(holder: Any) -> np.ndarray:
    """A copy of the numbers of a parameter or of its gradient, as NumPy has them."""
    array = array_of(holder)
    return array.numpy().copy() if isinstance(array, torch.Tensor) else np.array(array)


def of(name: str, kind: str, arrays: list[np.ndarray], **options: Any) -> tuple[Any, list[Any]]:
    parameters = [KINDS[kind][0](array.copy()) for array in arrays]
    return getattr(ours, name)(parameters, **options), parameters


def give(kind: str, parameters: list[Any], grads: list[np.ndarray | None]) -> None:
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = None if grad is None else KINDS[kind][1](grad.copy())


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(generator.normal(size=shape))
