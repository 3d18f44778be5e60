"""What an operation costs beside its arithmetic: small tensors forward and backward, ``kb.autograd`` and torch eager.

With a handful of numbers the arithmetic is nothing, and what is timed is the tape: checks, nodes, the walk back. One
run takes each expression of a list, on a single number and on four; both libraries work in double precision, on one
thread. The record has the ratio for each expression besides that of all together.
"""

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from benchmarks.contest import Contest
from benchmarks.threads import limited
from kb import timing
from kb.autograd import Tensor, tensor

DEVICES = ("cpu",)
SHAPES: tuple[tuple[int, ...], ...] = ((), (4,))
REPEATS = 100  # of the list in one run
# Each with the nodes that it leaves, the sum at the end of those that do not end in a single number included.
EXPRESSIONS: Mapping[str, tuple[Callable[[Any], Any], int]] = {
    "products and sums": (lambda x: ((x * x + x) * x + x) * x * x + x, 8),
    "square, relu, sum": (lambda x: (x * x + x).relu().sum(), 4),
    "square, sum": (lambda x: (x * x).sum(), 2),
    "mean": (lambda x: x.mean(), 1),
    "exp": (lambda x: x.exp().exp().exp(), 4),
    "log": (lambda x: (x + 2.0).log(), 3),
    "quotient": (lambda x: -(x / x) - x, 4),
    "tanh, sigmoid": (lambda x: x.tanh().sigmoid(), 3),
    "reshape": (lambda x: x.reshape(-1).reshape(1, -1).sum(), 3),
    "index": (lambda x: x.reshape(-1)[0] + x.reshape(-1)[-1], 5),
    "matrix product": (lambda x: (x.reshape(-1, 1) @ x.reshape(1, -1)).sum(), 4),
}


def contest(device: torch.device) -> Contest:
    """Assert equal gradients for each expression, and time each by itself for the record."""
    stack = ExitStack()
    stack.enter_context(limited(1))
    mine = [tensor(np.full(shape, 0.3), requires_grad=True) for shape in SHAPES]
    yours = [torch.full(shape, 0.3, dtype=torch.float64, requires_grad=True) for shape in SHAPES]
    ratios = {}
    for name, (function, _) in EXPRESSIONS.items():
        for ours, theirs in zip(_gradients(function, mine), _gradients(function, yours), strict=True):
            assert np.allclose(ours, theirs, rtol=1e-12), f"the gradients of {name!r} are {ours} and {theirs}"
        race = timing.race(_runner([function], mine), _runner([function], yours), rounds=7)
        ratios[name] = round(statistics.median(race.ratios), 2)
    everything = [function for function, _ in EXPRESSIONS.values()]
    return Contest(
        title="Small operations, forward and backward, float64, one thread",
        ours="kb.autograd, NumPy arrays",
        theirs="torch eager",
        unit="node",
        units=REPEATS * len(SHAPES) * sum(nodes for _, nodes in EXPRESSIONS.values()),
        agreement="gradients of each expression equal to 1e-12",
        run_ours=_runner(everything, mine),
        run_theirs=_runner(everything, yours),
        details={"ratio by expression": ratios},
        close=stack.close,
    )


def _gradients(function: Callable[[Any], Any], leaves: list[Any]) -> list[np.ndarray]:
    found = []
    for leaf in leaves:
        _backward(function, leaf)
        found.append(np.array(leaf.grad.numpy()))
        leaf.grad = None
    return found


def _runner(functions: list[Callable[[Any], Any]], leaves: list[Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATS):
            for leaf in leaves:
                for function in functions:
                    _backward(function, leaf)
                    leaf.grad = None

    return run


def _backward(function: Callable[[Any], Any], leaf: Tensor | torch.Tensor) -> None:
    out = function(leaf)
    (out.sum() if out.ndim else out).backward()
