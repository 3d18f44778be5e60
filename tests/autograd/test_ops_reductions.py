"""Ties, zeros, infinities, NaN and nothing at all in reductions and in the softmax family, as torch has them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import Tensor, ops

INF, NAN = math.inf, math.nan


@settings(max_examples=40)
@given(data=st.data())
def test_extremes_share_ties(against_torch: Any, data: Any) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    keep = data.draw(st.booleans())
    x = np.asarray(np.round(against_torch.draw(data, shape, -1.5, 1.5)))
    against_torch.same(lambda x: x.amax(axis, keep), lambda x: x.amax(axis, keep), x)
    against_torch.same(lambda x: x.amin(axis, keep), lambda x: x.amin(axis, keep), x)
    against_torch.same(lambda x: x.max(), lambda x: x.max(), x)
    against_torch.same(lambda x: x.min(), lambda x: x.min(), x)
    for name in ("max", "min"):  # of equal ones torch's place may be another, so without ties
        distinct = x + np.arange(x.size).reshape(shape) / 1000
        for part in (0, 1):
            against_torch.same(
                lambda x, name=name, part=part: getattr(x, name)(axis, keep)[part],
                lambda x, name=name, part=part: getattr(x, name)(axis, keep)[part],
                distinct,
            )
        against_torch.same(
            lambda x, name=name: getattr(x, "arg" + name)(axis, keep),
            lambda x, name=name: getattr(x, "arg" + name)(axis, keep),
            distinct,
        )
    assert x.reshape(-1)[ops.amax(Tensor(x.reshape(-1))).data == x.reshape(-1)].size >= 1


def test_of_equal_greatest_ones_the_first_is_named(against_torch: Any) -> None:
    x = against_torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], requires_grad=True)
    values, places = x.max(1)
    values.sum().backward()
    assert places.tolist() == [1, 0]
    assert x.grad.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert x.argmax(1).tolist() == [1, 0]
    assert x.argmin().item() == 0


@pytest.mark.parametrize("row", [[1.0, NAN, 2.0], [INF, 1.0, INF], [-INF, -INF, 1.0], [-INF, -INF, -INF]])
@pytest.mark.parametrize("name", ["amax", "amin", "sum", "mean", "var", "std", "prod", "cumsum", "norm"])
def test_special_values(against_torch: Any, name: str, row: list[float]) -> None:
    along = {} if name == "norm" else {"dim": 0}
    against_torch.same(
        lambda x: getattr(x, name)(**along), lambda x: getattr(x, name)(**along), np.array(row), second=False
    )


ROWS = [
    [-INF, -INF, -INF],
    [-INF, 1.0, 2.0],
    [INF, 1.0, 2.0],
    [INF, INF, 1.0],
    [INF, -INF, 1.0],
    [NAN, 1.0, 2.0],
    [1e300, -1e300, 1e300],
    [1000.0, 1000.0, -1000.0],
    [-1e5, -1e5, -1e5],
    [5.0, 5.0, 5.0],
]


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_rows_of_the_softmax_family(against_torch: Any, name: str, row: list[float]) -> None:
    finite = all(map(math.isfinite, row))
    values = np.array([row, [0.5, -0.5, 1.5]])  # a bad row leaves the other one alone
    against_torch.same(lambda x: getattr(x, name)(1), lambda x: getattr(x, name)(1), values, second=finite)


@pytest.mark.parametrize("zeros", [[], [1], [1, 3], [0, 1, 2, 3]])
def test_products_with_zeros_to_the_second_order(against_torch: Any, zeros: list[int]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4))
    x[0, zeros] = 0.0
    against_torch.same(lambda x: x.prod(1), lambda x: x.prod(1), x)
    against_torch.same(lambda x: x.prod(1, keepdim=True), lambda x: x.prod(1, keepdim=True), x)
    against_torch.same(lambda x: x.prod(), lambda x: x.prod(), x)
    against_torch.same(lambda x: x.T.prod(0), lambda x: x.T.prod(0), x)


@settings(max_examples=30)
@given(data=st.data())
def test_mean_variance_deviation_and_length(against_torch: Any, data: Any) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    x = against_torch.draw(data, shape)
    axes = data.draw(st.none() | st.sets(st.integers(0, len(shape) - 1), min_size=1).map(tuple))
    keep = data.draw(st.booleans())
    count = math.prod(shape if axes is None else (shape[axis] for axis in axes))
    correction = data.draw(st.integers(0, count - 1))
    against_torch.same(lambda x: x.mean(axes, keep), lambda x: x.mean(axes, keep), x)
    options = {"correction": correction, "keepdim": keep}
    against_torch.same(lambda x: x.var(axes, **options), lambda x: x.var(axes, **options), x)
    apart = count > 1
    against_torch.same(lambda x: x.std(axes, **options), lambda x: x.std(axes, **options), x, second=apart, close=1e-9)
    against_torch.same(lambda x: x.norm(axes, keep), lambda x: torch.linalg.vector_norm(x, dim=axes, keepdim=keep), x)


def test_where_there_is_no_spread_and_no_length_the_gradient_is_zero(against_torch: Any) -> None:
    x = np.array([[2.0, 2.0], [0.0, 0.0], [1.0, 3.0]])
    against_torch.same(lambda x: x.std(1), lambda x: x.std(1), x, second=False)
    against_torch.same(lambda x: x.norm(1), lambda x: x.norm(dim=1), x, second=False)
    assert np.isfinite(ops.root(against_torch.tensor(x[1])).numpy()).all()


@pytest.mark.filterwarnings("ignore:var.*degrees of freedom", "ignore:std.*degrees of freedom")
def test_where_nothing_is_left_to_divide_by(against_torch: Any) -> None:
    with np.errstate(all="ignore"):
        for values in ([3.0], [1.0, 3.0], []):
            for correction in (len(values), len(values) + 1):
                ours = against_torch.tensor(np.array(values)).var(correction=correction)
                against_torch.close(ours, torch.tensor(values, dtype=torch.float64).var(correction=correction), "var")


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "logsumexp"])
@pytest.mark.parametrize(("shape", "axis"), [((0,), 0), ((0, 3), 0), ((0, 3), 1), ((3, 0), 1)])
def test_reductions_of_nothing(against_torch: Any, name: str, shape: tuple[int, ...], axis: int) -> None:
    x = np.zeros(shape)
    against_torch.same(lambda x: getattr(x, name)(axis), lambda x: getattr(x, name)(axis), x)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cumsum"])
def test_nothing_to_spread_over(against_torch: Any, name: str) -> None:
    for shape in ((0,), (0, 3), (3, 0)):
        against_torch.same(lambda x: getattr(x, name)(0), lambda x: getattr(x, name)(0), np.zeros(shape))


def test_extremes_of_nothing_are_an_error(against_torch: Any) -> None:
    for function in (ops.amax, ops.amin):
        with pytest.raises((ValueError, RuntimeError, IndexError)):
            function(against_torch.tensor(np.zeros((0, 3))), axis=0)
        assert function(against_torch.tensor(np.zeros((0, 3))), axis=1).shape == (0,)


@pytest.mark.parametrize(
    "name", ["sum", "mean", "amax", "amin", "prod", "logsumexp", "cumsum", "softmax", "log_softmax"]
)
def test_a_single_number_has_the_axis_zero(against_torch: Any, name: str) -> None:
    against_torch.same(lambda x: getattr(x, name)(0), lambda x: getattr(x, name)(0), np.array(1.5))


@pytest.mark.parametrize("call", ["sum(2)", "mean(-3)", "amax((0, 0))", "softmax(2)", "cumsum(5)", "prod(True)"])
def test_a_wrong_axis_is_an_error(against_torch: Any, call: str) -> None:
    with pytest.raises(ValueError, match="axis"):
        eval(f"x.{call}", {"x": against_torch.tensor(np.ones((2, 3)))})


def test_sums_of_truths_and_all_and_any(against_torch: Any) -> None:
    x = against_torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    assert (x > 1.5).sum().item() == 2
    assert not (x > 0).all()
    assert (x > 2).any()
    assert not (x > 5).any()


def test_an_infinite_extreme_passes_its_gradient_on_as_in_torch(against_torch: Any) -> None:
    x = np.array([[-0.6, 0.6], [np.inf, 0.4], [-np.inf, -np.inf]])
    for name in ("amax", "amin"):
        against_torch.same(
            lambda x, name=name: getattr(x, name)(1).exp(), lambda x, name=name: getattr(x, name)(1).exp(), x
        )
