"""The three models: of this package and of torch they have the same parameters and give the same; bad input."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import functional as F
from kb.autograd import models, nn


def assert_same(make: Callable[[ModuleType, Any, Any], Any], inputs: np.ndarray) -> None:
    """Names, shapes and order of the parameters, the output, and every gradient of a sum of squares."""
    torch.manual_seed(0)
    theirs = make(torch.nn, TF, torch.float64)
    ours = make(nn, F, np.float64)
    shapes = [(name, tuple(p.shape)) for name, p in theirs.named_parameters()]
    assert [(name, p.shape) for name, p in ours.named_parameters()] == shapes
    ours.load_state_dict(theirs.state_dict())
    out, reference = ours(inputs), theirs(torch.from_numpy(inputs))
    np.testing.assert_allclose(out.detach().numpy(), reference.detach().numpy(), rtol=1e-10, atol=1e-10)
    (out * out).sum().backward()
    (reference * reference).sum().backward()
    for one, (name, other) in zip(ours.parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-10, atol=1e-10, err_msg=name)


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5), B=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_mlp_is_the_same_in_both(sizes: list[int], B: int, seed: int) -> None:
    inputs = np.random.default_rng(seed).standard_normal((B, sizes[0]))
    assert_same(lambda nn, F, dtype: models.mlp(nn, tuple(sizes), dtype=dtype), inputs)


@settings(max_examples=5)
@given(classes=st.integers(1, 12), B=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_cnn_is_the_same_in_both(classes: int, B: int, seed: int) -> None:
    inputs = np.random.default_rng(seed).standard_normal((B, 1, 8, 8))
    assert_same(lambda nn, F, dtype: models.cnn(nn, classes, dtype=dtype), inputs)


@settings(max_examples=8)
@given(
    heads=st.integers(1, 3), head=st.integers(1, 4), depth=st.integers(1, 3), T=st.integers(1, 5), B=st.integers(1, 3)
)
def test_the_gpt_is_the_same_in_both(heads: int, head: int, depth: int, T: int, B: int) -> None:
    ids = np.random.default_rng(0).integers(0, 7, (B, T))
    sizes = {"context": 5, "width": heads * head, "heads": heads, "depth": depth}
    assert_same(lambda nn, F, dtype: models.gpt(nn, F, 7, dtype=dtype, **sizes), ids)


def test_the_gpt_looks_at_no_token_that_comes_later() -> None:
    model = models.gpt(nn, F, 7, context=6, width=8, heads=2, dtype=np.float64)
    ids = np.random.default_rng(0).integers(0, 7, (1, 6))
    before = model(ids).detach().numpy()
    ids[0, 4] = (ids[0, 4] + 1) % 7
    after = model(ids).detach().numpy()
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).all(axis=-1).all()


def test_an_mlp_ends_without_a_relu_and_a_shorter_sequence_will_do() -> None:
    assert [type(layer).__name__ for layer in models.mlp(nn, (3, 4, 2))] == ["Linear", "ReLU", "Linear"]
    assert models.gpt(nn, F, 7, context=6, width=8)(np.zeros((2, 3), np.int64)).shape == (2, 3, 7)


def test_the_options_reach_every_layer() -> None:
    for model in (
        models.mlp(nn, (3, 4, 2), dtype=np.float64),
        models.cnn(nn, dtype=np.float64),
        models.gpt(nn, F, 7, context=6, width=8, dtype=np.float64),
    ):
        assert {parameter.dtype for parameter in model.parameters()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (3, -1, 2), (3, 2.0), (True, 2)])
def test_sizes_of_an_mlp_are_two_counts_at_least(sizes: Any) -> None:
    with pytest.raises(ValueError, match="sizes"):
        models.mlp(nn, sizes)


@pytest.mark.parametrize("classes", [0, -1, 2.0, "10", None])
def test_classes_of_a_cnn_are_a_count(classes: Any) -> None:
    with pytest.raises(ValueError, match=r"classes.*got"):
        models.cnn(nn, classes)


@pytest.mark.parametrize("name", ["vocab", "context", "width", "heads", "depth"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_sizes_of_a_gpt_are_counts(name: str, value: Any) -> None:
    sizes: dict[str, Any] = {"vocab": 7, "context": 6, name: value}
    with pytest.raises(ValueError, match=rf"{name}.*got {value}"):
        models.gpt(nn, F, **sizes)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of heads, got 10 and 4"):
        models.gpt(nn, F, 7, context=6, width=10, heads=4)


@pytest.mark.parametrize("framework", ["ours", "torch"])
def test_a_sequence_beyond_the_context_is_refused(framework: str) -> None:
    parts = (nn, F) if framework == "ours" else (torch.nn, TF)
    model = models.gpt(*parts, 7, context=6, width=8)
    ids = np.zeros((1, 7), np.int64)
    with pytest.raises(ValueError, match="6 tokens, got 7"):
        model(ids if framework == "ours" else torch.from_numpy(ids))
