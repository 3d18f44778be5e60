"""Batches that hypothesis draws, and what the tests of losses share."""

from collections.abc import Callable

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

few = settings(max_examples=20)


def rows(count: int, width: int, seed: int, *, scale: float = 1.0) -> Tensor:
    """Normal numbers, float64, that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(count, width, generator=generator, dtype=torch.float64)).requires_grad_()


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two to eight rows of one to five numbers, of up to three classes, of which any may be alone."""
    labels = draw(st.lists(st.integers(0, 2), min_size=2, max_size=8))
    return rows(len(labels), draw(st.integers(1, 5)), draw(st.integers(0, 999))), torch.tensor(labels)


@st.composite
def paired(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two times two to six rows of one to five numbers."""
    count, width, seed = draw(st.integers(2, 6)), draw(st.integers(1, 5)), draw(st.integers(0, 999))
    return rows(count, width, seed), rows(count, width, seed + 1)


def value_and_gradient(loss: Callable[..., Tensor], *leaves: Tensor) -> list[Tensor]:
    """The value of a loss of the leaves, and its gradient in each."""
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def assert_same(one: Callable[..., Tensor], other: Callable[..., Tensor], *leaves: Tensor) -> None:
    """Both give the same value and the same gradients, within 1e-7 of the largest of them."""
    for ours, theirs in zip(value_and_gradient(one, *leaves), value_and_gradient(other, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7 * float(theirs.abs().max()) + 1e-12)
