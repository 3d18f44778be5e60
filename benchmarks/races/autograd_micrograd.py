"""micrograd's own demo, one step of training on two half-moons: ``kb.autograd`` on arrays against micrograd's scalars.

A network of widths 2, 16, 16, 1 on 100 points at once, hinge loss and a small penalty, as in micrograd's demo.ipynb.
Both work in double precision; micrograd makes a Python object of every number, kb one of every array.
"""

from collections.abc import Callable

import numpy as np
import torch
from micrograd.nn import MLP
from sklearn.datasets import make_moons

from benchmarks.contest import Contest
from kb.autograd import Tensor, models, nn, optim, tensor

DEVICES = ("cpu",)
STEPS = 5  # that one run takes
PENALTY = 1e-4
RATE = 0.1


def contest(device: torch.device) -> Contest:
    """Give both the same weights, and assert that their losses agree, step by step."""
    points, labels = make_moons(n_samples=100, noise=0.1, random_state=1)
    signs = 2.0 * labels - 1.0
    model = models.mlp(nn, (2, 16, 16, 1), dtype=np.float64)
    scalars = MLP(2, [16, 16, 1])
    generator = np.random.default_rng(0)
    for weight, bias, layer in zip(*(list(model.parameters())[k::2] for k in (0, 1)), scalars.layers, strict=True):
        weight.data[...] = generator.uniform(-1, 1, weight.shape)
        bias.data[...] = 0
        for neuron, row in zip(layer.neurons, weight.data.tolist(), strict=True):
            for value, number in zip(neuron.w, row, strict=True):
                value.data = number
    run_ours = _arrays(model, tensor(points), tensor(signs))
    run_theirs = _scalars(scalars, points.tolist(), signs.tolist())
    ours, theirs = run_ours(), run_theirs()
    assert np.allclose(ours, theirs, rtol=1e-9, atol=0), f"the contenders' losses are {ours} and {theirs}"
    return Contest(
        title="micrograd's demo, a step of training on two half-moons, float64",
        ours="kb.autograd, NumPy arrays",
        theirs="micrograd 0.1.0",
        unit="step",
        units=STEPS,
        agreement=f"losses of {STEPS} steps equal to nine digits",
        run_ours=run_ours,
        run_theirs=run_theirs,
        rounds=5,
    )


def _arrays(model: nn.Module, points: Tensor, signs: Tensor) -> Callable[[], list[float]]:
    sgd = optim.SGD(model.parameters(), lr=RATE)

    def step() -> float:
        sgd.zero_grad()
        hinge = (1.0 - model(points).reshape(-1) * signs).relu().mean()
        loss = hinge + PENALTY * sum((p * p).sum() for p in model.parameters())
        loss.backward()
        sgd.step()
        return float(loss.item())

    return lambda: [step() for _ in range(STEPS)]


def _scalars(model: MLP, points: list[list[float]], signs: list[float]) -> Callable[[], list[float]]:
    def step() -> float:
        model.zero_grad()
        hinges = [(1 + -sign * model(point)).relu() for point, sign in zip(points, signs, strict=True)]
        loss = sum(hinges) * (1.0 / len(hinges)) + PENALTY * sum(p * p for p in model.parameters())
        loss.backward()
        for p in model.parameters():
            p.data -= RATE * p.grad
        return float(loss.data)

    return lambda: [step() for _ in range(STEPS)]
