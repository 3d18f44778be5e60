"""Lion and LAMB equal an explicit loop over their papers' algorithms, and pytorch_optimizer where it does the same."""

import math
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import optim as ours
from tests.autograd.optimizing import KINDS, SHAPES, Holder, give, normal, read
from tests.autograd.test_optim import assert_equal

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")

SHARE = st.just(0.0) | st.floats(0.1, 0.999)
COMMON = {"lr": st.floats(1e-4, 0.05), "betas": st.tuples(SHARE, SHARE), "maximize": st.booleans()}
DECAY = st.just(0.0) | st.floats(0.01, 0.5)


def lion_loop(theta: np.ndarray, grads: list[np.ndarray], lr: float, betas: Any, weight_decay: float) -> np.ndarray:
    """Chen et al. 2023, algorithm 2, one number at a time."""
    flat = [float(value) for value in theta.reshape(-1)]
    for place in range(len(flat)):
        m = 0.0
        for g in (grad.reshape(-1)[place] for grad in grads):
            c = betas[0] * m + (1 - betas[0]) * g
            flat[place] -= lr * (np.sign(c) + weight_decay * flat[place])
            m = betas[1] * m + (1 - betas[1]) * g
    return np.array(flat).reshape(theta.shape)


def lamb_loop(theta: np.ndarray, grads: list[np.ndarray], options: dict[str, Any]) -> np.ndarray:
    """You et al. 2020, algorithm 2, one number at a time; the ratio is 1 where a length is 0."""
    x = [float(value) for value in theta.reshape(-1)]
    m, v, (beta1, beta2) = [0.0] * len(x), [0.0] * len(x), options["betas"]
    for t, grad in enumerate(grads, start=1):
        r = []
        for i, g in enumerate(float(value) for value in grad.reshape(-1)):
            m[i], v[i] = beta1 * m[i] + (1 - beta1) * g, beta2 * v[i] + (1 - beta2) * g * g
            adam = m[i] / (1 - beta1**t) / (math.sqrt(v[i] / (1 - beta2**t)) + options["eps"])
            r.append(adam + options["weight_decay"] * x[i])
        length, way = math.sqrt(math.fsum(a * a for a in x)), math.sqrt(math.fsum(a * a for a in r))
        ratio = length / way if length and way else 1.0
        x = [a - options["lr"] * ratio * b for a, b in zip(x, r, strict=True)]
    return np.array(x).reshape(theta.shape)


def run(name: str, kind: str, start: list[np.ndarray], grads: list[list[np.ndarray]], options: Any) -> list[Any]:
    parameters = [KINDS[kind][0](array.copy()) for array in start]
    optimizer = getattr(ours, name)(parameters, **options)
    for step in grads:
        give(kind, parameters, list(step))
        optimizer.step()
    return parameters


@settings(max_examples=30)
@given(data=st.data(), kind=st.sampled_from(list(KINDS)), decay=DECAY, seed=st.integers(0, 99))
def test_equal_their_loops_over_30_steps(data: st.DataObject, kind: str, decay: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    start = [normal(generator, shape) for shape in SHAPES]
    grads = [[normal(generator, shape) for shape in SHAPES] for _ in range(30)]
    options = {**data.draw(st.fixed_dictionaries(COMMON)), "weight_decay": decay}
    sign = -1 if options["maximize"] else 1
    series = [[sign * step[place] for step in grads] for place in range(len(SHAPES))]
    plain = {key: options[key] for key in ("lr", "betas", "weight_decay")}
    lion = [lion_loop(array, own, **plain) for array, own in zip(start, series, strict=True)]
    assert_equal(run("Lion", kind, start, grads, options), [torch.tensor(array) for array in lion])
    lamb = [lamb_loop(array, own, {**plain, "eps": 1e-6}) for array, own in zip(start, series, strict=True)]
    assert_equal(run("LAMB", kind, start, grads, options), [torch.tensor(array) for array in lamb])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lion_equals_pytorch_optimizer(decay: float) -> None:
    generator = np.random.default_rng(0)
    start = normal(generator, (3, 4))
    grads = [[normal(generator, (3, 4))] for _ in range(50)]
    mine = run("Lion", "torch", [start], grads, {"lr": 0.01, "weight_decay": decay})
    theirs = torch.nn.Parameter(torch.tensor(start))
    reference = pytorch_optimizer.Lion([theirs], lr=0.01, weight_decay=decay)
    for (grad,) in grads:
        theirs.grad = torch.tensor(grad)
        reference.step()
    assert_equal(mine, [theirs])


def test_lion_by_hand() -> None:
    parameter = Holder(np.array([1.0, 1.0]))
    optimizer = ours.Lion([parameter], lr=0.1, betas=(0.5, 0.75), weight_decay=0.5)
    # m: (1, -0.25), then direction 0.5 m + 0.5 g: (-0.5, -0.125): the newest gradient outvotes the memory
    for grad, wanted in (([4.0, -1.0], [0.85, 1.05]), ([-2.0, 0.0], [0.9075, 1.0975])):
        parameter.grad = np.array(grad)
        optimizer.step()
        np.testing.assert_allclose(parameter.data, wanted, rtol=1e-14)


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_a_step_of_lion_has_one_size_and_one_of_lamb_a_share_of_the_length(scale: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    start, grad = normal(generator, (4, 3)), scale * normal(generator, (4, 3))
    (lion,) = run("Lion", "numpy", [start], [[grad]], {"lr": 0.01})
    np.testing.assert_allclose(np.abs(lion.data - start), 0.01, rtol=1e-9)
    (lamb,) = run("LAMB", "numpy", [start], [[grad]], {"lr": 0.01})
    assert np.linalg.norm(lamb.data - start) == pytest.approx(0.01 * np.linalg.norm(start), rel=1e-9)


def test_what_is_all_zero_moves_under_lamb_and_stays_under_lion_without_a_gradient() -> None:
    (bias,) = run("LAMB", "numpy", [np.zeros(3)], [[np.ones(3)]], {"lr": 0.01})
    np.testing.assert_allclose(bias.data, -0.01, rtol=1e-5)
    for name in ("LAMB", "Lion"):
        (still,) = run(name, "numpy", [np.zeros(3)], [[np.zeros(3)]], {"lr": 0.01})
        assert not still.data.any()


@pytest.mark.parametrize("name", ["Lion", "LAMB", "Adafactor"])
def test_float32_stays_float32(name: str) -> None:
    for kind in KINDS:
        parameters = [KINDS[kind][0](np.ones((2, 3), np.float32)), KINDS[kind][0](np.ones(3, np.float32))]
        optimizer = getattr(ours, name)(parameters, weight_decay=0.1)
        give(kind, parameters, [np.ones((2, 3), np.float32), np.ones(3, np.float32)])
        optimizer.step()
        for parameter in parameters:
            kept = [value for key, value in optimizer.state[parameter].items() if key != "step"]
            assert {str(one.dtype).split(".")[-1] for one in [parameter.data, *kept]} == {"float32"}
        assert all(np.all(read(parameter) < 1) for parameter in parameters)
