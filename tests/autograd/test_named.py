"""Torch's further names, as methods and at the top level: values and gradients are torch's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import kb.autograd as ours
from kb.autograd import Tensor, tensor

GENERATOR = np.random.default_rng(0)
M, SQUARE, V, STACKED = (GENERATOR.standard_normal(shape) for shape in ((3, 4), (4, 4), (4,), (2, 3, 4)))
POSITIVE = np.abs(M) + 0.1

METHODS: list[tuple[str, Callable[..., Any], tuple[np.ndarray, ...]]] = [
    ("add", lambda x, y: x.add(y, alpha=3.0), (M, V)),
    ("sub", lambda x, y: x.sub(y, alpha=0.5), (M, V)),
    ("add 1", lambda x, y: x.add(y).sub(y), (M, V)),
    ("mul", lambda x, y: x.mul(y), (M, V)),
    ("div", lambda x, y: x.div(y), (M, V)),
    ("matmul", lambda x, y: x.matmul(y), (STACKED, SQUARE)),
    ("mm", lambda x, y: x.mm(y), (M, SQUARE)),
    ("bmm", lambda x, y: x.bmm(y.transpose(1, 2)), (STACKED, STACKED + 1)),
    ("mv", lambda x, y: x.mv(y), (M, V)),
    ("dot", lambda x, y: x.dot(y), (V, V + 1)),
    ("outer", lambda x, y: x.outer(y), (V, V + 1)),
    ("maximum", lambda x, y: x.maximum(y), (M, V)),
    ("minimum of equals", lambda x, y: x.minimum(y), (M, M.copy())),
    ("where", lambda x, y: x.where(x > 0, y), (M, V)),
    ("reciprocal", lambda x: x.reciprocal(), (POSITIVE,)),
    ("tan", lambda x: x.tan(), (M,)),
    ("ceil", lambda x: x.ceil() * x, (M,)),
    ("log2", lambda x: x.log2(), (POSITIVE,)),
    ("log10", lambda x: x.log10(), (POSITIVE,)),
    ("contiguous", lambda x: x.transpose(0, 1).contiguous(), (M,)),
    ("t", lambda x: x.t(), (M,)),
    ("t of a vector", lambda x: x.t(), (V,)),
    ("narrow", lambda x: x.narrow(1, 1, 2), (M,)),
    ("narrow from the end", lambda x: x.narrow(-1, -3, 3), (M,)),
    ("select", lambda x: x.select(1, -1), (M,)),
    ("unbind", lambda x: x.unbind(1)[2] * x.unbind(1)[0], (M,)),
    ("expand_as", lambda x, y: x.expand_as(y) * y, (V, M)),
    ("view_as", lambda x, y: x.view_as(y) * y, (M.reshape(4, 3), M)),
    ("repeat", lambda x: x.repeat(2, 1, 3), (M,)),
    ("repeat of nothing", lambda x: x.repeat((0, 2)), (M,)),
    ("tril", lambda x: x.tril(), (STACKED,)),
    ("triu", lambda x: x.triu(1), (M,)),
    ("tril below", lambda x: x.tril(diagonal=-1), (SQUARE,)),
    ("sort", lambda x: x.sort()[0], (M,)),
    ("sort backward", lambda x: x.sort(0, descending=True)[0], (M,)),
    ("topk", lambda x: x.topk(2)[0], (M,)),
    ("topk of the least", lambda x: x.topk(3, dim=0, largest=False)[0], (SQUARE,)),
]


@pytest.mark.parametrize(("function", "inputs"), [case[1:] for case in METHODS], ids=[case[0] for case in METHODS])
def test_a_method_is_torchs(against_torch: Any, function: Callable[..., Any], inputs: tuple[np.ndarray, ...]) -> None:
    against_torch.same(function, function, *inputs)


TOP: list[tuple[str, Callable[..., Any], tuple[np.ndarray, ...]]] = [
    ("cat", lambda lib, x, y: lib.cat([x, y, x], dim=1), (M, M + 1)),
    ("stack", lambda lib, x, y: lib.stack((x, y), dim=-1), (M, M + 1)),
    ("where", lambda lib, x, y: lib.where(x > 0, x, y), (M, V)),
    ("einsum", lambda lib, x, y: lib.einsum("bij,kj->bik", x, y), (STACKED, SQUARE)),
    ("matmul", lambda lib, x, y: lib.matmul(x, y), (STACKED, V)),
    ("maximum", lambda lib, x, y: lib.maximum(x, y), (M, V)),
    ("minimum", lambda lib, x, y: lib.minimum(x, y), (M, V)),
]


@pytest.mark.parametrize(("function", "inputs"), [case[1:] for case in TOP], ids=[case[0] for case in TOP])
def test_a_function_is_torchs(against_torch: Any, function: Callable[..., Any], inputs: tuple[np.ndarray, ...]) -> None:
    against_torch.same(lambda *x: function(ours, *x), lambda *x: function(torch, *x), *inputs)


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: lib.zeros(2, 3),
        lambda lib: lib.zeros((0, 3)),
        lambda lib: lib.zeros(()),
        lambda lib: lib.ones([2]),
        lambda lib: lib.full((2, 2), 0.5),
        lambda lib: lib.arange(5),
        lambda lib: lib.arange(2, 9, 3),
        lambda lib: lib.arange(0.0, 1.0, 0.25),
        lambda lib: lib.eye(3),
        lambda lib: lib.eye(2, 4),
        lambda lib: lib.zeros_like(lib.ones(2, 2)),
        lambda lib: lib.ones_like(lib.arange(3)),
    ],
)
def test_what_is_made_from_nothing_is_torchs(make: Callable[[Any], Any]) -> None:
    mine, yours = make(ours).numpy(), make(torch).numpy()
    np.testing.assert_array_equal(mine, yours)
    assert (mine.dtype, mine.shape) == (yours.dtype, yours.shape)


def test_places_and_truths_are_torchs() -> None:
    values = np.array([[3.0, 1.0, 3.0, np.nan], [np.inf, -1.0, 0.0, -1.0]])
    mine, yours = tensor(values), torch.from_numpy(values)
    finite = values[:, :3]
    for descending in (False, True):
        found = tensor(finite).sort(descending=descending)[1].numpy()
        np.testing.assert_array_equal(found, torch.from_numpy(finite).sort(stable=True, descending=descending)[1])
    np.testing.assert_array_equal(mine.isnan().numpy(), yours.isnan())
    np.testing.assert_array_equal(mine.isfinite().numpy(), yours.isfinite())
    picked = mine.index_select(1, tensor(np.array([2, 0, 2])))
    np.testing.assert_array_equal(picked.numpy(), yours.index_select(1, torch.tensor([2, 0, 2])))
    leaf = tensor(finite, requires_grad=True)
    leaf.index_select(1, np.array([2, 0, 2])).sum().backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), [[1, 0, 2], [1, 0, 2]])
    whole = tensor(np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(whole.tril().numpy(), torch.arange(6).reshape(2, 3).tril())
    assert whole.tril().dtype == np.int64


def test_a_leaf_can_be_made_from_nothing() -> None:
    leaf = ours.ones(3, dtype=np.float64, requires_grad=True)
    (leaf * 2.0).sum().backward()
    assert leaf.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Tensor(V).mm(Tensor(M)), "self must have 2 axes"),
        (lambda: Tensor(M).mv(Tensor(M)), "vec must have 1 axes"),
        (lambda: Tensor(V).dot(2.0), "other must have 1 axes"),
        (lambda: Tensor(STACKED).bmm(Tensor(STACKED[:1])), "2 and 1 matrices"),
        (lambda: Tensor(STACKED).t(), "at most 2 axes"),
        (lambda: Tensor(M).narrow(1, 3, 2), "narrow"),
        (lambda: Tensor(M).narrow(0, 0, -1), "narrow"),
        (lambda: Tensor(M).topk(5), "narrow"),
        (lambda: Tensor(M).repeat(2), "repeat"),
        (lambda: Tensor(M).repeat(2, -1), "repeat"),
        (lambda: Tensor(V).tril(), "at least 2 axes"),
        (lambda: ours.zeros(2, -1), "sizes"),
        (lambda: ours.full((2.0,), 1.0), "sizes"),
        (lambda: ours.eye(-1), "sizes"),
        (lambda: ours.arange(0, 3, 0), "step"),
        (lambda: ours.cat([]), "at least one"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
