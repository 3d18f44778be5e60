"""Hooks on gradients, and gradients of the middle that are kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kb.autograd import Tensor, grad


def leaf(values: Any = 1.0) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def hooked(x: Any, tensor: Callable[..., Any]) -> list[Any]:
    """What hooks see and do, in the same words for ours and for torch."""
    seen: list[Any] = []
    y = x * 2.0
    y.retain_grad()
    y.register_hook(lambda g: seen.append(("y", g.tolist())))
    y.register_hook(lambda g: g * 10.0)
    removed = y.register_hook(lambda g: seen.append("never"))
    y.register_hook(lambda g: seen.append(("y again", g.tolist())))
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    x.register_hook(lambda g: g + 1.0)
    removed.remove()
    removed.remove()
    z = y * y + y
    z.register_hook(lambda g: seen.append(("z", g.tolist())))
    z.sum().backward(retain_graph=True)
    seen.append(("grads", x.grad.tolist(), y.grad.tolist()))
    z.backward(tensor([1.0, 2.0]))
    seen.append(("grads", x.grad.tolist(), y.grad.tolist()))
    return seen


def test_hooks_see_and_replace_what_torchs_do() -> None:
    ours = hooked(leaf([1.0, 3.0]), lambda values: Tensor(np.array(values)))
    x = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert ours == hooked(x, lambda values: torch.tensor(values, dtype=torch.float64))


def test_hooks_are_called_within_grad_too() -> None:
    x = leaf([1.0])
    y = x * 2.0
    x.register_hook(lambda g: g * 3.0)
    y.register_hook(lambda g: g * 5.0)
    assert grad(y, x, retain_graph=True)[0].tolist() == [30.0]
    assert [one.tolist() for one in grad(y, [x, y])] == [[30.0], [5.0]]


def test_a_hook_within_a_walk_that_is_remembered() -> None:
    x = leaf([2.0])
    y = x * x
    y.register_hook(lambda g: g * x)
    (first,) = grad(y, x, create_graph=True)  # 2x * x
    assert grad(first, x)[0].tolist() == [8.0]


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (np.ones(2), TypeError, "a hook must give a tensor or None, got ndarray"),
        (Tensor(np.ones(3)), ValueError, "a hook must give the shape that it got"),
    ],
)
def test_a_hook_that_gives_something_else(result: Any, error: type[Exception], message: str) -> None:
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: result)
    with pytest.raises(error, match=message):
        x.sum().backward()


def test_what_takes_no_hook_and_keeps_no_gradient() -> None:
    with pytest.raises(RuntimeError, match="takes no hook"):
        Tensor(1.0).register_hook(lambda g: g)
    with pytest.raises(RuntimeError, match="has none to keep"):
        Tensor(1.0).retain_grad()
    x = leaf(1.0)
    x.retain_grad()  # a leaf does anyway
    (x * 2.0).backward()
    assert x.grad.item() == 2.0


def test_a_kept_gradient_is_its_own_and_follows_what_is_written_in_place() -> None:
    x = leaf([1.0])
    y = x * 2.0
    z = y.reshape(1, 1)
    y.retain_grad()
    z.retain_grad()
    z.sum().backward()
    y.grad.data[...] = 9.0
    assert (x.grad.tolist(), z.grad.tolist()) == ([2.0], [[1.0]])
    y = x * 2.0
    y.retain_grad()
    y *= 3.0
    (y * 5.0).sum().backward()
    assert y.grad.tolist() == [5.0]
