"""Picking and writing by slices, integers, arrays, masks and all of them mixed, as torch does it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import Tensor, ops

X = np.arange(60.0).reshape(3, 4, 5)
ARRAY, OTHER = np.array([2, 0, 2, 1]), np.array([[0], [3]])
MASK, PLANE = np.array([True, False, True]), X % 3 == 0
EMPTY = np.zeros(0, np.int64)

INDICES: dict[str, Any] = {
    "integer": 1,
    "negative integer": -1,
    "integers": (1, -2, 0),
    "slice": slice(1, 3),
    "step": (slice(None), slice(None, None, 2)),
    "negative bounds": (slice(-2, None), slice(None, -1), slice(0, -1, 3)),
    "beyond": slice(1, 100),
    "nothing": slice(2, 1),
    "new axes": (None, 1, None, slice(2)),
    "dots": (..., 0),
    "dots between": (0, ..., slice(1, 3)),
    "only dots": ...,
    "empty tuple": (),
    "array": ARRAY,
    "array of one number": np.array(1),
    "array and slice": (ARRAY, slice(1, 3)),
    "slice and array": (slice(None), ARRAY),
    "two arrays": (ARRAY, ARRAY),
    "broadcast arrays": (np.array([0, 2]), OTHER),
    "arrays apart": (ARRAY, slice(None), ARRAY),
    "array and integer": (ARRAY, 1),
    "array, slice, integer": (ARRAY, slice(1, None), 2),
    "array and new axis": (ARRAY, None, slice(1, 3)),
    "dots and array": (..., ARRAY),
    "negative places": np.array([-1, -3]),
    "list": [0, 2, 2],
    "list and slice": ([0, 1], slice(None), [2, 4]),
    "list of truths": [True, False, True],
    "empty list": [],
    "empty array": EMPTY,
    "mask of an axis": MASK,
    "mask of all": PLANE,
    "mask and slice": (MASK, slice(None, None, 2)),
    "mask and integer": (MASK, 1),
    "slice and mask": (slice(None), np.array([True, True, False, False])),
    "mask of nothing": np.zeros(3, bool),
    "true": True,
}


def in_library(index: Any, convert: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(in_library(place, convert) for place in index)
    return convert(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("as_tensor", [False, True], ids=["array", "tensor"])
def test_picking(against_torch: Any, index: Any, as_tensor: bool) -> None:
    def convert(place: np.ndarray) -> Any:
        return Tensor(against_torch.array(place)) if as_tensor else against_torch.array(place)

    ours, theirs = in_library(index, convert), in_library(index, torch.tensor)
    against_torch.same(lambda x: x[ours], lambda x: x[theirs], X)


def places_differ(index: Any) -> bool:
    seen = np.arange(X.size).reshape(X.shape)[index]
    return len(np.unique(seen)) == seen.size


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_writing_with_history_gives_both_gradients(against_torch: Any, index: Any) -> None:
    ours, theirs = in_library(index, against_torch.array), in_library(index, torch.tensor)

    def write(x: Any, values: Any, place: Any) -> Any:
        y = x * 1.0
        y[place] = values
        return y * y

    def write_number(x: Any, place: Any) -> Any:
        y = x * 1.0
        y[place] = 7.0
        return y * y

    against_torch.same(lambda x: write_number(x, ours), lambda x: write_number(x, theirs), X)
    if not places_differ(index):
        return
    shape = X[index].shape
    values = np.random.default_rng(0).normal(size=shape)
    against_torch.same(lambda x, v: write(x, v, ours), lambda x, v: write(x, v, theirs), X, values)
    if shape and 0 not in shape:
        for one in (values[..., :1], values[0], np.asarray(values.ravel()[0]), values[None]):
            if one.ndim <= len(shape) or index is not PLANE:  # NumPy wants no more than one axis there
                against_torch.same(lambda x, v: write(x, v, ours), lambda x, v: write(x, v, theirs), X, np.array(one))


def test_writing_into_a_constant_and_only_the_values_have_a_gradient(against_torch: Any) -> None:
    def write(v: Any, zeros: Any) -> Any:
        zeros[1:] = v
        return zeros * 2.0

    against_torch.same(
        lambda v: write(v, against_torch.tensor(np.zeros(3))),
        lambda v: write(v, torch.zeros(3, dtype=torch.float64)),
        np.array([1.0, 2.0]),
    )


@settings(max_examples=40)
@given(data=st.data())
def test_what_is_picked_twice_gets_two_gradients(against_torch: Any, data: Any) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    x = against_torch.draw(data, shape)
    index = data.draw(npst.integer_array_indices(shape, result_shape=npst.array_shapes(max_dims=2, max_side=5)))
    cut = data.draw(st.integers(1, len(shape)))
    index = tuple(np.asarray(place, np.int64) for place in index[:cut])
    against_torch.same(
        lambda x: x[tuple(map(against_torch.array, index))], lambda x: x[tuple(map(torch.tensor, index))], x
    )


@settings(max_examples=40)
@given(data=st.data())
def test_gather_and_scatter_add(against_torch: Any, data: Any) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = tuple(
        data.draw(st.integers(0, 5 if place == axis % len(shape) else size)) for place, size in enumerate(shape)
    )
    generator = np.random.default_rng(data.draw(st.integers(0, 100)))
    places = generator.integers(0, shape[axis], sizes)
    x, src = against_torch.draw(data, shape), against_torch.draw(data, sizes)
    against_torch.same(lambda x, i: x.gather(axis, i), lambda x, i: x.gather(axis, i), x, places)
    if all(a == b for i, (a, b) in enumerate(zip(sizes, shape, strict=True)) if i != axis % len(shape)):
        against_torch.same(
            lambda x, i, s: x.scatter_add(axis, i, s), lambda x, i, s: x.scatter_add(axis, i, s), x, places, src
        )


def test_an_embedding_is_an_index(against_torch: Any) -> None:
    W, tokens = np.random.default_rng(0).normal(size=(7, 3)), np.array([[0, 6, 6], [2, 0, 6]])
    against_torch.same(lambda W, i: W[i], lambda W, i: torch.nn.functional.embedding(i, W), W, tokens)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8])
def test_integers_of_any_size_are_places(against_torch: Any, kind: Any) -> None:
    places = against_torch.array(np.array([0, 2, 1], kind))
    if kind is np.uint8 and against_torch.library == "torch":
        return  # which torch takes for truths
    x = against_torch.tensor(X, requires_grad=True)
    x[places].sum().backward()
    assert x.grad.numpy().tolist() == np.ones((3, 4, 5)).tolist()


@pytest.mark.parametrize("index", [1.5, "a", [0.5], np.array([1.0]), object], ids=repr)
def test_what_is_no_place_is_a_type_error(against_torch: Any, index: Any) -> None:
    x = against_torch.tensor(X)
    with pytest.raises(TypeError, match="index"):
        x[in_library(index, against_torch.array)]
    with pytest.raises(TypeError, match="index"):
        x[in_library(index, against_torch.array)] = 1.0


@pytest.mark.parametrize("index", [3, -4, (0, 4), (0, 0, 0, 0), np.array([3]), np.array([[True]])], ids=repr)
def test_a_place_that_there_is_not_is_an_index_error(against_torch: Any, index: Any) -> None:
    x = against_torch.tensor(X)
    with pytest.raises(IndexError):
        x[in_library(index, against_torch.array)]


def test_places_of_another_library_are_refused() -> None:
    with pytest.raises(TypeError, match="numpy and torch"):
        Tensor(X)[torch.tensor([0, 1])]
    with pytest.raises(TypeError, match="numpy and torch"):
        Tensor(torch.tensor(X))[np.array([0, 1])]
    assert Tensor(torch.tensor(X))[np.int64(1)].shape == (4, 5)


def test_gather_and_scatter_add_refuse_what_does_not_fit(against_torch: Any) -> None:
    x = against_torch.tensor(X)
    places = against_torch.array(np.zeros((3, 4, 5), np.int64))
    for axis, index in ((3, places), (0, places[0]), (0, against_torch.array(np.zeros((3, 5, 5), np.int64)))):
        with pytest.raises(ValueError, match="axis"):
            x.gather(axis, index)
    with pytest.raises(ValueError, match="must be of one shape"):
        x.scatter_add(0, places, x[:1])
    with pytest.raises(IndexError):
        x.gather(0, places + 3)


def test_lists_as_arrays(against_torch: Any) -> None:
    assert against_torch.tensor(X)[[]].shape == (0, 4, 5)
    assert against_torch.tensor(X)[[[0, 1], [2, 2]]].shape == (2, 2, 4, 5), "a nested list is an array, as in NumPy"
    assert ops.getitem(against_torch.array(X), (..., None)).shape == (3, 4, 5, 1)
