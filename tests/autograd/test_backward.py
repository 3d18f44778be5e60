"""The classic traps of reverse mode: shared nodes, accumulation, second walks; all as torch has it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor, grad, ops
from kb.autograd.backward import backward


def leaf(values: Any = 1.0) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def test_a_is_one_and_b_is_a_plus_a_and_c_is_b_plus_b() -> None:
    a = leaf(1.0)
    b = a + a
    c = b + b
    c.backward()
    assert (c.item(), a.grad.item()) == (4.0, 4.0)
    assert b.grad is None


def test_a_diamond_and_a_ladder_of_diamonds() -> None:
    x = leaf(3.0)
    y = x * x
    (y * x + y).backward()
    assert x.grad.item() == 3 * 9 + 2 * 3
    x, y = leaf(1.0), None
    y = x
    for _ in range(60):  # 2^60 paths, 120 nodes
        y = (y + y) * 0.5 + y * 0.0
    y.backward()
    assert x.grad.item() == 1.0


def test_a_node_that_is_used_a_thousand_times() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2.0
    total = sum((y * float(i) for i in range(1000)), start=0.0)
    total.sum().backward()
    assert x.grad.tolist() == [999_000.0, 999_000.0]


@settings(max_examples=60)
@given(data=st.data())
def test_drawn_graphs_equal_torch(against_torch: Any, data: Any) -> None:
    count = data.draw(st.integers(1, 12))
    steps = [
        (data.draw(st.sampled_from("+*-st")), data.draw(st.integers(0, i + 1)), data.draw(st.integers(0, i + 1)))
        for i in range(count)
    ]

    def run(*leaves: Any) -> Any:
        values = list(leaves)
        for kind, i, j in steps:
            a, b = values[i], values[j]
            values.append({"+": a + b, "*": a * b, "-": a - b, "s": a.sin(), "t": (a * 0.5 + b).tanh()}[kind])
        return values[-1]

    against_torch.same(run, run, against_torch.draw(data, (2,)), against_torch.draw(data, (3, 1)))


def test_a_second_walk_is_an_error_that_says_what_to_do() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    for again in (y.backward, lambda: grad(y, x), lambda: grad(y, x, allow_unused=True), lambda: (y * 2.0).backward()):
        with pytest.raises(RuntimeError, match="was used up by an earlier backward: pass retain_graph=True"):
            again()
    assert x.grad.tolist() == [2.0, 4.0]


def test_half_of_a_tape_that_was_used_up_is_not_passed_over() -> None:
    x = leaf(2.0)
    h = x * x
    h.backward()
    with pytest.raises(RuntimeError, match="used up"):
        grad(h * x, x)
    with pytest.raises(RuntimeError, match="used up"):
        grad(h * x, [h, x])
    assert grad(h * x, h)[0].item() == 2.0, "what comes after it is still there"


def test_retain_graph_allows_a_second_walk_and_gradients_are_added() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [6.0, 12.0]
    with pytest.raises(RuntimeError, match="used up"):
        y.backward()


def test_create_graph_keeps_the_tape_unless_told_otherwise() -> None:
    x = leaf(3.0)
    y = x * x * x
    (first,) = grad(y, x, create_graph=True)
    (second,) = grad(first, x, create_graph=True)
    (third,) = grad(second, x, create_graph=True)
    assert (first.item(), second.item(), third.item()) == (27.0, 18.0, 6.0)
    assert grad(y, x)[0].item() == 27.0
    y = x * x * x
    grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="used up"):
        y.backward()


def test_backward_with_create_graph_gives_gradients_with_a_history() -> None:
    x = leaf([1.0, 2.0])
    (x * x * x).sum().backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    x.grad = None
    first.sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]
    x.grad = None
    for _ in range(2):
        (x * x * x).sum().backward(create_graph=True)
    assert grad(x.grad.sum(), x)[0].tolist() == [12.0, 24.0]


def test_grad_of_a_gradient_penalty_as_torch(against_torch: Any) -> None:
    def penalty(x: Any, W: Any, take: Callable[..., Any]) -> Any:
        out = (x @ W).tanh().sum()
        (g,) = take(out, x, create_graph=True)
        return (g * g).sum(1) + out

    values = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate([(4, 3), (3, 2)])]
    against_torch.same(
        lambda x, W: penalty(x, W, lambda *a, **k: grad(a[0], a[1], **k)),
        lambda x, W: penalty(x, W, torch.autograd.grad),
        *values,
    )


# Memory of gradients.

SHARING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "reshaped": lambda x, y: x.reshape(4).reshape(2, 2) + y,
    "transposed": lambda x, y: x.T + y,
    "expanded": lambda x, y: (x + y).expand(3, 2, 2),
    "joined": lambda x, y: ops.concat([x, y]),
    "joined with both": lambda x, y: ops.concat([x + y, x]),
    "picked": lambda x, y: x[:] + y[:, :],
    "widened": lambda x, y: ops.pad(x, [(1, 1), (0, 0)]) + ops.pad(y, [(1, 1), (0, 0)]),
    "put": lambda x, y: ops.put(x, y, index=(slice(None),)) + y,
    "scattered": lambda x, y: ops.scatter(x, to=(3, 2), index=slice(2)) + ops.scatter(y, to=(3, 2), index=slice(1, 3)),
    "itself": lambda x, y: x,
    "copied": lambda x, y: x.clone() + y.double(),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_gradients_of_two_leaves_never_share_memory(library: str, name: str, create_graph: bool) -> None:
    x, y = (Tensor(Tensor(np.ones((2, 2))).to(library).data, requires_grad=True) for _ in range(2))
    out = SHARING[name](x, y)
    given_array = np.random.default_rng(0).normal(size=out.shape)
    given = Tensor(given_array.copy()).to(library)
    out.backward(given, create_graph=create_graph)
    arrays = [one for one in (x.grad, y.grad) if one is not None]
    for one in arrays:
        before = [np.array(other.tolist()) for other in (*arrays, given) if other is not one]
        one.data[...] = 7.0  # writable, too
        after = [np.array(other.tolist()) for other in (*arrays, given) if other is not one]
        assert all(map(np.array_equal, before, after))
    np.testing.assert_array_equal(given.tolist(), given_array)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_gradients_of_sums_and_broadcasts_can_be_added_to(library: str) -> None:
    x = Tensor(Tensor(np.ones((2, 3))).to(library).data, requires_grad=True)
    for _ in range(3):
        x.sum().backward()
        x.mean(0).sum().backward()
    assert x.grad.tolist() == [[4.5] * 3] * 2
    x.grad.zero_()
    assert x.grad.tolist() == [[0.0] * 3] * 2


def test_accumulation_writes_into_the_same_memory() -> None:
    x = leaf([1.0])
    (x * 2.0).backward()
    first = x.grad
    (x * 3.0).backward()
    assert first is x.grad
    assert first.tolist() == [5.0]
    assert first.version == 1


# grad() of this and that.


def test_grad_of_what_is_no_leaf_and_of_the_output_itself() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * y
    assert [one.item() for one in grad(z, [y, x, z], retain_graph=True)] == [8.0, 32.0, 1.0]
    assert grad(x, x)[0].item() == 1.0
    assert grad([z, y], [x], retain_graph=True)[0].item() == 36.0
    assert grad([z, y], x, [Tensor(2.0).double(), np.array(10.0)])[0].item() == 104.0
    assert x.grad is None
    assert y.grad is None


def test_grad_walks_only_where_it_must() -> None:
    called = []
    watched = ops.RULES["exp"].__class__("watched", lambda a: a * 1.0, a=lambda g: called.append(1) or g)
    x, y = leaf(), leaf()
    out = watched(x) + y * 2.0
    assert grad(out, y, retain_graph=True)[0].item() == 2.0
    assert called == []
    grad(out, x)
    assert called == [1]


def test_unused_inputs_are_an_error_or_none() -> None:
    x, other = leaf(), leaf()
    with pytest.raises(RuntimeError, match="do not depend on one of the inputs"):
        grad(x * 2.0, [x, other])
    found = grad(x * 2.0, [x, other], allow_unused=True)
    assert found[0].item() == 2.0
    assert found[1] is None
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        grad(x * 2.0, Tensor(1.0))


def test_single_numbers_of_any_shape_need_no_gradient_given() -> None:
    for shape in ((), (1,), (1, 1)):
        x = leaf(np.ones(shape))
        (x * 3.0).backward()
        assert x.grad.shape == shape
        assert x.grad.item() == 3.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: (x * 1.0).backward(), RuntimeError, "only a single number has a gradient of its own"),
        (lambda x: (x * 1.0).backward(np.ones(3)), ValueError, r"gradient has shape \(3,\), wanted .* \(2,\)"),
        (lambda x: (x * 1.0).backward([1.0, 1.0]), TypeError, "gradient must be a tensor or an array, got list"),
        (lambda x: x.detach().backward(np.ones(2)), RuntimeError, "does not require a gradient"),
        (lambda x: Tensor(1.0).backward(), RuntimeError, "does not require a gradient"),
        (lambda x: (x > 0).sum().backward(), RuntimeError, "does not require a gradient"),
        (lambda x: backward([x, x], [np.ones(2)]), ValueError, "must be one for each of 2 outputs, got 1"),
        (lambda x: grad([x, x], x, np.ones(2)), ValueError, "must be one for each of 2 outputs, got 1"),
    ],
)
def test_bad_calls(call: Callable[..., Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(leaf([1.0, 2.0]))


def test_a_gradient_of_another_dtype_takes_that_of_the_output() -> None:
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    (x * 2.0).backward(np.ones(2, np.float64))
    assert x.grad.dtype == np.float32
    y = Tensor(np.ones(2), requires_grad=True)
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


# Hooks.
