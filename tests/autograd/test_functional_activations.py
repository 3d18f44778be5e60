"""Functions of each number equal torch's, values and gradients of two orders, in place or not, far out and at kinks."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor
from kb.autograd import functional as F

CALLS: dict[str, dict[str, Any]] = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 1.5},
    "silu": {},
    "gelu": {},
    "softplus": {"beta": 2.0, "threshold": 3.5},
    "logsigmoid": {},
    "sigmoid": {},
    "tanh": {},
    "softmax": {"dim": -1},
    "log_softmax": {"dim": 0},
}


@settings(max_examples=15)
@given(data=st.data())
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_equal_torchs(against_torch: Any, name: str, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    values = against_torch.draw(data, shape)
    against_torch.same(
        lambda x: getattr(F, name)(x, **CALLS[name]), lambda x: getattr(TF, name)(x, **CALLS[name]), values
    )


def test_the_approximate_gelu_equals_torchs(against_torch: Any) -> None:
    values = np.linspace(-4, 4, 33)
    against_torch.same(lambda x: F.gelu(x, "tanh"), lambda x: TF.gelu(x, approximate="tanh"), values)


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("softmax", "log_softmax")])
def test_far_out_and_at_the_kinks_as_torch(against_torch: Any, name: str) -> None:
    values = np.array([-1e3, -50.0, -0.0, 0.0, 1.5, 50.0, 1e3])
    against_torch.same(
        lambda x: getattr(F, name)(x, **CALLS[name]),
        lambda x: getattr(TF, name)(x, **CALLS[name]),
        values,
        second=name not in ("logsigmoid", "elu"),  # torch's is NaN far out, and of the other side's slope at 0
    )


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "silu"])
def test_in_place_as_torch(against_torch: Any, name: str) -> None:
    def ours(x: Any) -> Any:
        y = x * 2.0
        z = getattr(F, name)(y, inplace=True)
        assert z is y
        return z

    def theirs(x: Any) -> Any:
        return getattr(TF, name)(x * 2.0, inplace=True)

    against_torch.same(ours, theirs, np.linspace(-2.1, 2, 6), second=False)
    array = np.array([-1.0, 1.0])
    assert getattr(F, name)(array, inplace=True) is array
    assert array[0] != -1.0


def test_arrays_give_arrays() -> None:
    out = F.silu(np.array([0.0, 1.0]))
    assert isinstance(out, np.ndarray)
    np.testing.assert_allclose(out, TF.silu(torch.tensor([0.0, 1.0], dtype=torch.float64)).numpy(), rtol=1e-15)


def test_softmax_of_a_single_number_is_one() -> None:
    assert F.softmax(Tensor(np.array(3.0)), 0).item() == 1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.gelu(x, "fast"), ValueError, "approximate"),
        (lambda x: F.softplus(x, beta=0), ValueError, "beta"),
        (lambda x: F.softplus(x, threshold=float("nan")), ValueError, "threshold"),
        (lambda x: F.leaky_relu(x, "steep"), ValueError, "negative_slope"),
        (lambda x: F.softmax(x, 2), ValueError, "axis"),
        (lambda x: F.softmax(x, None), ValueError, "axis"),
        (lambda x: F.relu([1.0]), TypeError, "input"),
        (lambda x: F.silu(Tensor(np.array([1]))), TypeError, "input must be floating"),
        (lambda x: F.tanh("x"), TypeError, "input"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(Tensor(np.ones((2, 2))))
