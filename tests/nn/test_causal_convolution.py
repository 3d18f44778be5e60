"""Causal convolution: loop = unfolded = torch's conv1d on padded input, in value and gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.nn import CausalConv1d, causal_convolution, causal_convolution_loop, receptive_field

WAYS = [causal_convolution_loop, causal_convolution]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


@settings(max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 6)),
    O=st.integers(1, 3),
    K=st.integers(1, 4),
    dilation=st.integers(1, 5),
    bias=st.booleans(),
)
def test_equals_torch_in_value_and_gradient(
    shape: tuple[int, int, int],
    O: int,  # noqa: E741
    K: int,
    dilation: int,
    bias: bool,
) -> None:
    tensors = [draw(*shape), draw(O, shape[1], K, seed=1), *([draw(O, seed=2)] if bias else [])]
    padded = F.pad(tensors[0], ((K - 1) * dilation, 0))
    theirs = F.conv1d(padded, *tensors[1:], dilation=dilation)
    upstream = draw(*theirs.shape, seed=3).detach()
    expected = torch.autograd.grad(theirs, tensors, upstream)
    for way in WAYS:
        ours = way(*tensors, dilation=dilation)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        gradients = torch.autograd.grad(ours, tensors, upstream, allow_unused=True, materialize_grads=True)
        for a, b in zip(gradients, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_by_hand(way: Callable[..., Tensor]) -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    kernel = torch.tensor([[[10.0, 1.0]]])  # one step back times 10, now times 1
    assert way(x, kernel).flatten().tolist() == [1, 12, 23, 34]
    assert way(x, kernel, torch.tensor([0.5]), dilation=2).flatten().tolist() == [1.5, 2.5, 13.5, 24.5]


@settings(max_examples=10)
@given(K=st.integers(1, 3), dilations=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_last_output_of_a_stack_sees_its_receptive_field_and_no_more(K: int, dilations: list[int]) -> None:
    field = receptive_field(K, dilations)
    assert receptive_field(K, iter(dilations)) == field
    x = draw(1, 1, field + 3)
    out = x
    for dilation in dilations:
        out = causal_convolution(out, torch.ones(1, 1, K, dtype=torch.float64), dilation=dilation)
    seen = torch.autograd.grad(out[0, 0, -1], x)[0].flatten().nonzero().flatten()
    assert seen.max() == field + 2
    assert seen.min() == 3


def test_module_has_the_state_and_the_start_of_torch() -> None:
    states, outs, x = [], [], torch.randn(2, 3, 7)
    for kind in (CausalConv1d, torch.nn.Conv1d):
        torch.manual_seed(0)
        module = kind(3, 4, 2, dilation=2)
        states.append(module.state_dict())
        outs.append(module(x if kind is CausalConv1d else F.pad(x, (2, 0))))
    assert list(states[0]) == list(states[1])
    assert all(torch.allclose(states[0][name], states[1][name]) for name in states[0])
    torch.testing.assert_close(outs[0], outs[1])
    assert list(CausalConv1d(3, 4, 2, bias=False).state_dict()) == ["weight"]


@pytest.mark.parametrize(
    ("x", "weight", "bias", "dilation", "message"),
    [
        ((2, 3), (4, 3, 2), None, 1, "wanted x"),
        ((1, 2, 5), (4, 3, 2), None, 1, "wanted x"),
        ((1, 3, 5), (4, 3, 0), None, 1, "wanted x"),
        ((1, 3, 0), (4, 3, 2), None, 1, "empty"),
        ((1, 3, 5), (4, 3, 2), (3,), 1, "bias"),
        ((1, 3, 5), (4, 3, 2), None, 0, "dilation"),
        ((1, 3, 5), (4, 3, 2), None, 1.5, "dilation"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_refuses_bad_input(way: Any, x: Any, weight: Any, bias: Any, dilation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        way(torch.ones(x), torch.ones(weight), None if bias is None else torch.ones(bias), dilation=dilation)


def test_refuses_other_dtypes_and_sizes() -> None:
    for way in WAYS:
        with pytest.raises(TypeError, match="one floating dtype"):
            way(torch.ones(1, 1, 2), torch.ones(1, 1, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="kernel_size"):
        CausalConv1d(1, 1, 0)
    with pytest.raises(ValueError, match="kernel"):
        receptive_field(0, [1])
    with pytest.raises(ValueError, match="dilations"):
        receptive_field(2, [1, 0])
