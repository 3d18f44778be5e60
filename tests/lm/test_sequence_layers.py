"""The cost formulas equal what is counted while the layers run; paths and steps equal those of the autograd graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.counting import count
from kb.lm.sequence_layers import (
    GATES,
    contiguous_dilations,
    convolution_cost,
    convolution_stack_cost,
    equal_length,
    exponential_dilations,
    recurrence_cost,
    self_attention_cost,
)
from kb.nn import GRU, LSTM, RNN, CausalConv1d, MultiHeadAttention, receptive_field

KINDS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(("n", "heads", "kv_heads"), [(2, 1, 1), (5, 2, 2), (9, 4, 2), (9, 4, 1)])
def test_attention_formula_equals_count(n: int, heads: int, kv_heads: int, need_weights: bool) -> None:
    module = MultiHeadAttention(8, heads, num_kv_heads=kv_heads, batch_first=True)
    x = torch.randn(1, n, 8)
    counted = count(lambda: module(x, x, x, need_weights=need_weights))
    assert counted.flops == self_attention_cost(n, 8, kv_width=kv_heads * 8 // heads).flops


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 6])
def test_recurrence_formula_equals_count(kind: str, n: int) -> None:
    module, x = KINDS[kind](8, 8), torch.randn(n, 1, 8)
    assert count(lambda: module(x)).flops == recurrence_cost(n, 8, kind=kind).flops


@settings(max_examples=10)
@given(n=st.integers(1, 20), k=st.integers(2, 4), dilated=st.booleans())
def test_convolution_formulas_equal_count(n: int, k: int, dilated: bool) -> None:
    dilations = (exponential_dilations if dilated else contiguous_dilations)(n, k)
    stack = torch.nn.Sequential(*(CausalConv1d(4, 4, k, dilation) for dilation in dilations))
    x = torch.randn(1, 4, n)
    cost = convolution_stack_cost(n, 4, kernel=k, dilated=dilated)
    assert count(lambda: stack(x)).flops == cost.flops
    assert cost.flops == len(dilations) * convolution_cost(n, 4, kernel=k).flops
    assert cost.layers == cost.longest_path == cost.sequential_steps == len(dilations)


def longest_chain_of_products(out: Tensor) -> int:
    """Most matrix products on one way through the autograd graph, with no recursion."""
    depth: dict[Any, int] = {}
    stack = [(out.grad_fn, False)]
    while stack:
        node, done = stack.pop()
        below = [one for one, _ in node.next_functions if one is not None]
        if done:
            product = node.name().removesuffix("Backward0") in ("Mm", "Bmm", "Addmm", "Linear")
            depth[node] = max((depth[one] for one in below), default=0) + product
        elif node not in depth:
            stack += [(node, True), *((one, False) for one in below if one not in depth)]
    return depth[out.grad_fn]


@pytest.mark.parametrize("n", [2, 4, 9])  # with one key, einsum multiplies without a matrix product
def test_steps_in_sequence_are_the_products_that_wait_in_the_graph(n: int) -> None:
    x = torch.randn(1, n, 8)
    attention = MultiHeadAttention(8, 2, batch_first=True)(x, x, x)[0]
    assert longest_chain_of_products(attention) == self_attention_cost(n, 8).sequential_steps == 4
    for kind, make in KINDS.items():
        out = make(8, 8, batch_first=True)(x)[0]
        assert longest_chain_of_products(out[:, -1].sum()) == recurrence_cost(n, 8, kind=kind).sequential_steps == n
    one = CausalConv1d(8, 8, 3)(x.transpose(1, 2))
    assert longest_chain_of_products(one) == convolution_cost(n, 8, kernel=3).sequential_steps == 1


@settings(max_examples=60)
@given(n=st.integers(1, 300), k=st.integers(2, 9))
def test_stacks_reach_the_first_position_and_no_shallower_stack_does(n: int, k: int) -> None:
    for find in (contiguous_dilations, exponential_dilations):
        dilations = find(n, k)
        assert receptive_field(k, dilations) >= n
        assert not dilations or receptive_field(k, dilations[:-1]) < n
    # ceil(log_k n), in integers: a float's logarithm of 243 to the base 3 is above 5.
    assert k ** len(exponential_dilations(n, k)) >= n
    assert n == 1 or k ** (len(exponential_dilations(n, k)) - 1) < n
    assert len(contiguous_dilations(n, k)) == -(-(n - 1) // (k - 1))


def test_numbers_on_paper() -> None:
    # n = 4, d = 2: scores and values 4 · 16 · 2, four projections 8 · 4 · 4.
    attention = self_attention_cost(4, 2)
    assert (attention.mixing_flops, attention.projection_flops) == (128, 128)
    assert recurrence_cost(4, 2, kind="RNN").flops == 4 * 4 * 4
    assert convolution_cost(4, 2, kernel=3).flops == 2 * 3 * 4 * 4
    assert exponential_dilations(8, 2) == (1, 2, 4)
    assert contiguous_dilations(8, 2) == (1,) * 7
    assert exponential_dilations(1, 2) == ()


@settings(max_examples=30)
@given(width=st.integers(1, 500), kind=st.sampled_from(list(GATES)))
def test_attention_and_recurrence_cost_the_same_at_their_equal_length(width: int, kind: str) -> None:
    length = int(equal_length(width, kind=kind))
    if length:
        assert self_attention_cost(length, width).flops == recurrence_cost(length, width, kind=kind).flops
    longer = length + 1
    assert self_attention_cost(longer, width).flops > recurrence_cost(longer, width, kind=kind).flops


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: self_attention_cost(0, 4), "length"),
        (lambda: self_attention_cost(3, 4, kv_width=0), "kv_width"),
        (lambda: recurrence_cost(3, 1.5), "width"),  # type: ignore[arg-type]
        (lambda: recurrence_cost(3, 4, kind="gru"), "kind 'gru'"),
        (lambda: equal_length(4, kind=""), "kind"),
        (lambda: convolution_cost(3, 4, kernel=0), "kernel"),
        (lambda: convolution_stack_cost(3, 4, kernel=1), "kernel"),
        (lambda: exponential_dilations(True, 2), "length"),
        (lambda: contiguous_dilations(3, 1), "kernel"),
    ],
)
def test_refuses_impossible_sizes(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
