"""Writing in place: what the tape understands, and what it must refuse rather than give a wrong gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kb.autograd import Parameter, Tensor, no_grad, ops


def leaf(values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


SAME_WORDS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: (x * 2.0).add_(y),
    "subtract": lambda x, y: (x * 2.0).sub_(y),
    "multiply": lambda x, y: (x + 0.0).mul_(2.0) * y,
    "multiply a constant": lambda x, y: (x + y).mul_(x.detach()),
    "divide": lambda x, y: (x + y).div_(4.0),
    "zeros": lambda x, y: (x * 2.0).zero_() + y,
    "fill": lambda x, y: (x * 2.0).fill_(3.0) * y,
    "copy": lambda x, y: (x * 2.0).copy_(y) * y,
    "copy, broadcast": lambda x, y: (x * 2.0).copy_(y[0]) * y,
    "multiply with history on both sides": lambda x, y: (x * 2.0).mul_(y).mul_(y * y),
    "divide with history on both sides": lambda x, y: (x * 2.0).div_(y).div_(x),
    "a constant with what has a history": lambda x, y: (x.detach() * 2.0).mul_(y).div_(x),
    "two writes": lambda x, y: (x * 1.0).add_(y).add_(x).mul_(3.0),
}


@pytest.mark.parametrize("name", SAME_WORDS)
def test_methods_with_history_equal_torch(against_torch: Any, name: str) -> None:
    values = [np.random.default_rng(i).uniform(0.5, 2.0, (3, 2)) for i in (0, 1)]
    against_torch.same(SAME_WORDS[name], SAME_WORDS[name], *values)


def assign(x: Any, y: Any, how: str) -> Any:
    z = x * 1.0
    if how == "+=":
        z += y
    elif how == "-=":
        z -= y * y
    elif how == "*=":
        z *= 3.0
    elif how == "/=":
        z /= 2.0
    elif how == "[]":
        z[0] = y[1]
        z[:, 0] = z[:, 0] + y[:, 1]
        z[1, 1] = z[1, 1] * 2.0
    elif how == "own":
        z[0] = z[1]
        z[1:, 1] = z[:-1, 0]
    elif how == "before and after":
        before = z + y
        z += 1.0
        return before * z
    return z * z


@pytest.mark.parametrize("how", ["+=", "-=", "*=", "/=", "[]", "own", "before and after"])
def test_operators_that_assign_equal_torch(against_torch: Any, how: str) -> None:
    values = [np.random.default_rng(i).normal(size=(3, 2)) for i in (0, 1)]
    against_torch.same(lambda x, y: assign(x, y, how), lambda x, y: assign(x, y, how), *values)


def test_the_object_and_the_memory_stay_the_same() -> None:
    x = leaf([1.0, 2.0])
    y = x * 1.0
    same, array = y, y.data
    y += 1.0
    y[0] = 5.0
    assert same is y
    assert y.data is array
    assert array.tolist() == [5.0, 3.0]
    assert y.version == 2


def saved_input(x: Any, change: Callable[[Any], Any]) -> Any:
    y = x * 2.0
    z = y * y
    change(y)
    return z


def saved_result(x: Any, change: Callable[[Any], Any]) -> Any:
    y = x.exp()
    z = y * 1.0
    change(y)
    return z + y


def add_one(y: Any) -> None:
    y += 1.0


def set_one(y: Any) -> None:
    y[0] = 9.0


def within_no_grad(y: Any, context: Any) -> None:
    with context():
        y += 1.0


CHANGES = [add_one, set_one, lambda y: y.zero_(), lambda y: y.mul_(2.0), lambda y: y.copy_(y * 3.0)]


@pytest.mark.parametrize("saved", [saved_input, saved_result])
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_gradient_needs_was_written(against_torch: Any, saved: Any, change: Any) -> None:
    theirs = saved(torch.ones(2, dtype=torch.float64, requires_grad=True), change)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        theirs.sum().backward()
    ours = saved(against_torch.tensor([1.0, 1.0], requires_grad=True), change)
    with pytest.raises(RuntimeError, match=r"gradient of '(mul|exp)' needs was written in place .*versions"):
        ours.sum().backward()


def test_a_tensor_times_itself_in_place_is_refused_as_in_torch(against_torch: Any) -> None:
    for x in (against_torch.tensor([2.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)):
        z = x * 1.0
        z *= z
        with pytest.raises(RuntimeError, match=r"in.?place"):
            z.backward()


def test_within_no_grad_through_a_detached_tensor_and_by_an_optimizer() -> None:
    for change in (
        lambda w: within_no_grad(w, no_grad),
        lambda w: w.detach().add_(1.0),
        lambda w: w.detach()[0].fill_(1.0),
        lambda w: within_no_grad(w[1:], no_grad),
        lambda w: (w.data.__isub__(0.1), w.bump()),
    ):
        w = Parameter(np.ones(2))
        out = (w * w).sum()
        change(w)
        assert w.version == 1
        with pytest.raises(RuntimeError, match="'mul' needs was written in place"):
            out.backward()


def test_what_no_gradient_needs_may_be_written() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2.0
    z = y + 1.0
    y += 5.0
    (z + y).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]
    w = Parameter(np.ones(2))
    out = w.sum()
    with no_grad():
        w -= 0.5
    out.backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_writing_between_two_walks_of_a_kept_tape() -> None:
    w = Parameter(np.ones(2))
    out = (w * w).sum()
    out.backward(retain_graph=True)
    with no_grad():
        w -= 0.5
    with pytest.raises(RuntimeError, match="written in place"):
        out.backward()


@pytest.mark.parametrize("change", CHANGES)
def test_a_leaf_that_requires_a_gradient_cannot_be_written(against_torch: Any, change: Any) -> None:
    with pytest.raises(RuntimeError, match="leaf"):
        change(torch.ones(2, requires_grad=True))
    x = against_torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"leaf .* but within no_grad"):
        change(x)
    assert x.tolist() == [1.0, 2.0]
    with no_grad():
        change(x)
    assert x.requires_grad
    assert x.is_leaf
    assert x.tolist() != [1.0, 2.0]


def test_views_of_what_is_remembered_are_refused_not_wrong() -> None:
    x = leaf(np.ones((2, 2)))
    y = x * 2.0
    row = y[0]
    for change in (add_one, set_one, lambda v: v.copy_(v * 2.0)):
        with pytest.raises(RuntimeError, match="a view of remembered memory cannot be written"):
            change(row)
    with pytest.raises(RuntimeError, match="write to the whole by an index"):
        y[0] += 1.0  # which Python does by way of a view
    y[0] = 7.0
    with pytest.raises(RuntimeError, match="what this is a view of was written in place since; view it anew"):
        row * 2.0
    with pytest.raises(RuntimeError, match="view it anew"):
        row[0]
    y[0].sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_write_through_a_view_within_no_grad_is_seen_by_all() -> None:
    x = leaf(np.ones((2, 2)))
    y = x * 2.0
    z = (y * y).sum()
    with no_grad():
        y.T[0].mul_(3.0)
    assert y.tolist() == [[6.0, 2.0], [6.0, 2.0]]
    with pytest.raises(RuntimeError, match="written in place"):
        z.backward()


def test_views_without_gradients_are_written_freely() -> None:
    x = Tensor(np.zeros((2, 3)))
    row = x[0]
    row += 1.0
    row[1] = 5.0
    x[:, 2].fill_(7.0)
    x.reshape(6)[3] = 9.0
    x[1, 1].fill_(4.0)
    assert x.tolist() == [[1.0, 5.0, 7.0], [9.0, 4.0, 7.0]]
    assert (row * 2.0).tolist() == [2.0, 10.0, 14.0]


WITHIN = ["x[0, 1]", "x[:, 1:]", "x.T", "x.mT", "x.reshape(6)", "x.flatten()", "x.unsqueeze(0)", "x[:1].squeeze(0)"]
APART = ["x[[0, 1]]", "x.flip(0)", "x.clone()", "x[x > -1]", "x * 1.0", "x.T.reshape(6)", "x.clamp(-9.0, 9.0)"]


@pytest.mark.parametrize("text", [*WITHIN, *APART, "x.split(1)[0]", "x.detach()", "x.double()", "x.float()"])
def test_what_shares_memory_in_torch_shares_it_here(against_torch: Any, text: str) -> None:
    ours, theirs = against_torch.tensor(np.ones((2, 3))), torch.ones((2, 3), dtype=torch.float64)
    for x in (ours, theirs):
        eval(text, {"x": x}).fill_(5.0)
    assert ours.tolist() == theirs.tolist()
    assert (ours.sum().item() > 6) == (text not in APART and text != "x.float()")


def test_a_detached_tensor_shares_memory_and_may_learn_by_itself() -> None:
    x = leaf([1.0, 2.0])
    d = x.detach()
    assert d.data is x.data
    with no_grad():
        x += 1.0
    assert d.tolist() == [2.0, 3.0]
    d.requires_grad_()
    (d * d).sum().backward()
    assert d.grad.tolist() == [4.0, 6.0]
    assert x.grad is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x.add_(np.ones((2, 2))), ValueError, r"written in place, \(2,\) cannot become \(2, 2\)"),
        (lambda x: x.__setitem__(0, np.ones(3)), ValueError, "."),
        (lambda x: x.__setitem__(5, 1.0), IndexError, "."),
        (lambda x: x.__setitem__(1.5, 1.0), TypeError, "index"),
        (lambda x: x.add_([1.0, 2.0]), TypeError, "list"),
        (lambda x: x.__setitem__(0, torch.ones(())), TypeError, "numpy and torch"),
        (lambda x: x.copy_(Tensor(torch.ones(2))), TypeError, "numpy and torch"),
    ],
)
@pytest.mark.parametrize("remembered", [False, True])
def test_bad_writes_change_nothing(
    change: Callable[..., Any], error: type[Exception], message: str, remembered: bool
) -> None:
    x = leaf([1.0, 2.0]) * 1.0 if remembered else Tensor(np.array([1.0, 2.0]))
    with pytest.raises(error, match=message):
        change(x)
    assert x.tolist() == [1.0, 2.0]
    assert x.version == 0


def test_integers_are_written_with_integers_only() -> None:
    x = Tensor(np.array([1, 2]))
    x += 1
    x *= 2
    x[0] = 7
    assert x.tolist() == [7, 6]
    assert x.dtype == np.int64
    for change in (lambda: x.div_(2), lambda: x.mul_(0.5), lambda: x.add_(ops.exp(x))):
        with pytest.raises(RuntimeError, match=r"written in place, .*int64 cannot become .*float"):
            change()


def test_a_gradient_that_is_used_as_a_tensor_and_written_later() -> None:
    """An optimizer may clip in place; a second walk adds to what is there."""
    w = Parameter(np.array([1.0, 2.0]))
    (w * w).sum().backward()
    w.grad.mul_(0.5)
    (w * w).sum().backward()
    assert w.grad.tolist() == [3.0, 6.0]
