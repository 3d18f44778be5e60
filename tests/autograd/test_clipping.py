"""Clipping equals torch's on the arrays of every library; the norm holds; bad input."""

import math
from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import utils

from kb.autograd import Parameter, Tensor
from kb.autograd.clipping import clip_grad_norm_, clip_grad_value_, get_total_norm
from kb.autograd.optim.parameters import array_of

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")

SHAPES = ((3, 2), (), (0,), (4,))


class Holder:
    def __init__(self, grad: Any) -> None:
        self.data, self.grad = None, grad


def on_tape(grad: np.ndarray) -> Any:
    parameter = Parameter(np.zeros(grad.shape))
    parameter.grad = Tensor(grad)
    return parameter


def in_torch(grad: np.ndarray) -> Any:
    parameter = torch.nn.Parameter(torch.zeros(grad.shape, dtype=torch.float64))
    parameter.grad = torch.from_numpy(grad)
    return parameter


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": Holder,
    "strict": lambda grad: Holder(strict.asarray(grad)),
    "torch": in_torch,
    "kb": on_tape,
}


def draw_grads(seed: int, scale: float) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.asarray(scale * generator.normal(size=shape)) for shape in SHAPES]


def make(kind: str, grads: list[np.ndarray]) -> list[Any]:
    return [KINDS[kind](grad.copy()) for grad in grads] + [Holder(None)]


def read(parameter: Any) -> np.ndarray:
    array = array_of(parameter.grad)
    return array.numpy().copy() if isinstance(array, torch.Tensor) else np.array(array)


@settings(max_examples=100)
@given(
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.0, 1e-5, 1.0, 1e5]),
    max_norm=st.just(0.0) | st.floats(1e-6, 1e6) | st.just(math.inf),
    order=st.sampled_from([1.0, 1.5, 2, 3.0, math.inf]),
)
def test_the_norm_and_the_clipped_gradients_equal_torchs(
    kind: str, seed: int, scale: float, max_norm: float, order: float
) -> None:
    grads = draw_grads(seed, scale)
    mine, theirs = make(kind, grads), [in_torch(grad.copy()) for grad in grads if grad.size]
    wanted = float(utils.clip_grad_norm_(theirs, max_norm, order))
    total = clip_grad_norm_(mine, max_norm, order)
    assert tuple(total.shape) == ()
    assert float(total) == pytest.approx(wanted, rel=1e-13)
    clipped = [read(one) for one in mine[:-1] if read(one).size]
    for found, reference in zip(clipped, theirs, strict=True):
        np.testing.assert_allclose(found, reference.grad.numpy(), rtol=1e-12)
    together = np.concatenate([one.ravel() for one in clipped])
    assert float(np.linalg.norm(together, order)) <= min(max_norm, wanted) * (1 + 1e-12)


@settings(max_examples=50)
@given(kind=st.sampled_from(list(KINDS)), seed=st.integers(0, 999), most=st.just(0.0) | st.floats(1e-3, 3.0))
def test_clipped_values_equal_torchs(kind: str, seed: int, most: float) -> None:
    grads = draw_grads(seed, 1.0)
    grads[0][0, 0] = np.nan
    mine, theirs = make(kind, grads), [in_torch(grad.copy()) for grad in grads]
    clip_grad_value_(mine, most)
    utils.clip_grad_value_(theirs, most)
    for found, reference in zip(mine[:-1], theirs, strict=True):
        assert np.array_equal(read(found), reference.grad.numpy(), equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_clipped_in_their_own_memory(kind: str) -> None:
    (parameter, _) = make(kind, [np.array([3.0, 4.0])])
    memory = array_of(parameter.grad)
    assert float(clip_grad_norm_(parameter, 1.0)) == 5.0
    assert float(get_total_norm(memory)) == pytest.approx(1.0, rel=1e-6)
    clip_grad_value_(parameter, 0.7)
    assert float(memory[1]) == 0.7


class Counting:
    """A gradient that counts the writes it is told of."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.writes = data, 0

    def bump(self) -> None:
        self.writes += 1


def test_a_gradient_is_told_that_it_was_written() -> None:
    grad = Counting(np.array([3.0, 4.0]))
    clip_grad_norm_(Holder(grad), 1.0)
    clip_grad_value_(Holder(grad), 0.5)
    get_total_norm(grad)
    assert grad.writes == 2


def test_a_norm_of_tensors_arrays_a_generator_or_nothing() -> None:
    pair = [np.array([3.0]), np.array([[4.0]])]
    assert float(get_total_norm(pair)) == 5.0
    assert float(get_total_norm(one for one in pair)) == 5.0
    assert float(get_total_norm([Tensor(one) for one in pair])) == 5.0
    assert float(get_total_norm(torch.tensor([3.0, -4.0]), math.inf)) == 4.0
    assert float(get_total_norm([np.zeros((0, 2))], math.inf)) == 0.0
    assert get_total_norm([]) == 0.0
    assert clip_grad_norm_([Holder(None)], 1.0) == 0.0


@pytest.mark.parametrize("make_array", [np.asarray, torch.from_numpy, strict.asarray])
def test_gradients_of_two_precisions_are_clipped_together(make_array: Any) -> None:
    parameters = [Holder(make_array(np.array([3.0], np.float32))), Holder(make_array(np.array([4.0])))]
    total = clip_grad_norm_(parameters, 2.5)
    assert total.dtype == parameters[0].grad.dtype
    assert [float(one.grad[0]) for one in parameters] == pytest.approx([1.5, 2.0], rel=1e-6)
    assert parameters[0].grad.dtype != parameters[1].grad.dtype


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_is_passed_on_or_refused_as_torch_does(kind: str, value: float) -> None:
    grads = [np.array([1.0, value]), np.array([2.0])]
    mine, theirs = make(kind, grads), [in_torch(grad.copy()) for grad in grads]
    with pytest.raises(RuntimeError, match="cannot be clipped"):
        clip_grad_norm_(mine, 1.0, error_if_nonfinite=True)
    assert np.array_equal(read(mine[0]), grads[0], equal_nan=True)
    total, wanted = clip_grad_norm_(mine, 1.0), utils.clip_grad_norm_(theirs, 1.0)
    assert np.array_equal(float(total), float(wanted), equal_nan=True)
    for found, reference in zip(mine[:-1], theirs, strict=True):
        assert np.array_equal(read(found), reference.grad.numpy(), equal_nan=True)


def test_bad_input_is_refused() -> None:
    parameter = Holder(np.array([3.0, 4.0]))
    for wrong in (-1.0, float("nan"), "1", None, True):
        with pytest.raises(ValueError, match="max_norm"):
            clip_grad_norm_([parameter], wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="clip_value"):
            clip_grad_value_([parameter], wrong)  # type: ignore[arg-type]
    for wrong in (0.0, -2.0, "inf"):
        with pytest.raises(ValueError, match="norm_type"):
            clip_grad_norm_([parameter], 1.0, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="numpy and torch"):
        clip_grad_norm_([parameter, Holder(torch.ones(2))], 1.0)
    assert np.array_equal(parameter.grad, [3.0, 4.0])
