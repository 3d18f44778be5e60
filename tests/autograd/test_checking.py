"""The check of gradients passes what is right, and finds rules that are wrong in the first order or in the second."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor, ops
from kb.autograd.checking import check_grads
from kb.autograd.tape import Op, Variable


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape)


def plain(a: Any) -> Any:
    """What a rule must not do: lose the history of what it was given."""
    return a.data if isinstance(a, Variable) else a


wrong_factor: Op = Op("cube", lambda a: a * a * a, a=lambda g, a: g * a * a * 2.0)
wrong_in_one_place: Op = Op("twice", lambda a: a * 2.0, a=lambda g: ops.put(g * 2.0, 2.0001, index=(0, 0)))
forgets_the_input: Op = Op("cube", lambda a: a * a * a, a=lambda g, a: g * (plain(a) * plain(a) * 3.0))
forgets_the_gradient: Op = Op("cube", lambda a: a * a * a, a=lambda g, a: a * a * 3.0 * plain(g))
right: Op = Op("cube", lambda a: a * a * a, a=lambda g, a: g * a * a * 3.0)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_right_rules_pass_to_the_third_order_and_inputs_stay(library: str) -> None:
    x = Tensor(numbers(3, 4)).to(library)
    w = Tensor(numbers(4, 2, seed=1)).to(library)
    before = x.tolist(), w.tolist()
    check_grads(lambda x, w: (ops.tanh(right(x) @ w), ops.sum(ops.exp(-w))), [x, w], order=3)
    assert (x.tolist(), w.tolist()) == before
    assert x.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize("op", [wrong_factor, wrong_in_one_place])
@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_rule_is_found_in_the_first_order(op: Op, seed: int) -> None:
    with pytest.raises(AssertionError, match=r"order 1, input 1 of 2: the gradient .* is -?\d.*difference .* -?\d"):
        check_grads(lambda a, b: a * op(b), [numbers(2, 3), numbers(2, 3, seed=1)], seed=seed)


@pytest.mark.parametrize("op", [forgets_the_input, forgets_the_gradient])
@pytest.mark.parametrize("seed", range(3))
def test_a_right_rule_that_is_wrong_to_differentiate_is_found_in_the_second_order(op: Op, seed: int) -> None:
    check_grads(op, numbers(2, 3), order=1, seed=seed)
    with pytest.raises(AssertionError, match=r"order 2, input [01] of 2"):
        check_grads(op, numbers(2, 3), order=2, seed=seed)


@settings(max_examples=15)
@given(scale=st.floats(0.01, 1.0) | st.floats(-1.0, -0.01), seed=st.integers(0, 1000))
def test_one_wrong_number_in_a_large_gradient_is_found(scale: float, seed: int) -> None:
    planted: Op = Op("twice", lambda a: a * 2.0, a=lambda g: ops.put(g * 2.0, g[3] * (2.0 + scale), index=3))
    with pytest.raises(AssertionError, match="order 1"):
        check_grads(planted, numbers(50), seed=seed)


def test_what_does_not_depend_on_an_input_has_gradient_zero_there() -> None:
    check_grads(lambda a, b: a.sum(), [numbers(3), numbers(2)])
    check_grads(lambda a: Tensor(np.ones(2)), numbers(3))
    check_grads(lambda a: a * 0.0 + 1.0, numbers(0, 3))
    hidden: Op = Op("sum", lambda a: np.sum(a))
    with pytest.raises(AssertionError, match="order 1, input 0 of 1: the gradient along a random direction is 0,"):
        check_grads(hidden, numbers(3))


def test_nan_is_an_error() -> None:
    with pytest.raises(AssertionError, match="nan"):
        check_grads(lambda a: a * float("nan"), numbers(3))


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        (np.ones(3, np.float32), {}, ValueError, "input 0 must be float64"),
        ([np.ones(3), np.ones(3, np.int64)], {}, ValueError, "input 1 must be float64"),
        ([[1.0, 2.0]], {}, TypeError, "input 0 must be a tensor or an array, got list"),
        (np.ones(3), {"order": 0}, ValueError, "order must be an integer of at least 1"),
        (np.ones(3), {"eps": 0.0}, ValueError, "eps must be positive"),
        (np.ones(3), {"rtol": -1.0}, ValueError, "rtol must be at least 0"),
        (np.ones(3), {"atol": float("nan")}, ValueError, "atol must be at least 0"),
    ],
)
def test_bad_input(inputs: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_grads(lambda *x: x[0] * 1.0, inputs, **options)


def test_bad_results() -> None:
    with pytest.raises(TypeError, match="result 0 is a ndarray"):
        check_grads(lambda x: x.data, np.ones(3))
    with pytest.raises(ValueError, match="result 1 must be float64"):
        check_grads(lambda x: (x, x.float()), np.ones(3))
