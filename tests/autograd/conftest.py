"""One body for the tests of operations: ours on an array library held against torch, value and gradients of two orders.

What is drawn by hypothesis are shapes and layouts in memory; values come from a seeded generator.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from kb.autograd import Tensor, grad

CLOSE = 1e-10


class Comparison:
    """Functions of our tensors, on arrays of one library, against functions of torch's."""

    def __init__(self, library: str) -> None:
        self.library = library

    def array(self, values: np.ndarray) -> Any:
        """The values as an array of the library, in the same layout."""
        return torch.from_numpy(values) if self.library == "torch" else values

    def tensor(self, values: Any, requires_grad: bool = False) -> Tensor:
        """A tensor of ours on memory of its own."""
        return Tensor(self.array(np.array(values)), requires_grad=requires_grad)

    def draw(self, data: Any, shape: Sequence[int], low: float = -2.0, high: float = 2.0) -> np.ndarray:
        """Numbers of a range, float64, in a layout that hypothesis draws: axes in any order, with gaps between."""
        order = data.draw(st.permutations(range(len(shape))))
        steps = data.draw(st.lists(st.sampled_from([1, 1, 2]), min_size=len(shape), max_size=len(shape)))
        generator = np.random.default_rng(data.draw(st.integers(0, 2**16)))
        room = generator.uniform(low, high, [shape[axis] * steps[axis] for axis in order])
        spread = np.asarray(room)[tuple(slice(None, None, steps[axis]) for axis in order)]
        return np.asarray(spread).transpose(np.argsort(order, kind="stable"))

    def same(
        self,
        ours: Callable[..., Any],
        theirs: Callable[..., Any],
        *values: np.ndarray,
        second: bool = True,
        close: float = CLOSE,
    ) -> Any:
        """Assert that values, gradients and (``second``) gradients of gradients agree; gives our result.

        Floating arrays become leaves that require a gradient; others are passed on as tensors.
        """
        before = [np.array(value) for value in values]
        mine = [Tensor(self.array(value), requires_grad=value.dtype.kind == "f") for value in values]
        yours = [torch.tensor(value, requires_grad=value.dtype.kind == "f") for value in values]
        with np.errstate(all="ignore"):
            out, reference = ours(*mine), theirs(*yours)
            assert type(out.data) is type(self.array(np.zeros(()))), "of another library"
            self.close(out, reference, "value", close)
            assert out.requires_grad == reference.requires_grad
            if reference.requires_grad:
                self._gradients(out, reference, mine, yours, second, close)
        for value, old in zip(values, before, strict=True):
            np.testing.assert_array_equal(value, old, "an input was written")
        return out

    def _gradients(
        self, out: Any, reference: Any, mine: list[Any], yours: list[Any], second: bool, close: float
    ) -> None:
        generator = np.random.default_rng(0)
        cotangent = generator.standard_normal(reference.shape)
        g = Tensor(self.array(np.array(cotangent)), requires_grad=True)
        their_g = torch.tensor(cotangent, requires_grad=True)
        mine, yours = [x for x in mine if x.requires_grad], [x for x in yours if x.requires_grad]
        options: dict[str, Any] = {"create_graph": True, "allow_unused": True}
        found = grad(out, mine, g, retain_graph=True, allow_unused=True)
        expected = torch.autograd.grad(reference, yours, their_g, **options)
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert one is None or not one.requires_grad
            self.close(one, other, f"gradient {place}", close)
        if not second:
            return
        found = grad(out, mine, g, **options)
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            self.close(one, other, f"gradient {place}, remembered", close)
        weights = [generator.standard_normal(x.shape) for x in yours]
        ours_sum = [(one * self.array(w)).sum() for one, w in zip(found, weights, strict=True) if one is not None]
        their_sum = [(o * torch.tensor(w)).sum() for o, w in zip(expected, weights, strict=True) if o is not None]
        ours_sum = [one for one in ours_sum if one.requires_grad]
        their_sum = [one for one in their_sum if one.requires_grad]
        ours_sum.append((g * 0.0).sum())  # so that there is something to differentiate
        their_sum.append((their_g * 0.0).sum())
        twice = grad(sum(ours_sum), [*mine, g], retain_graph=True, allow_unused=True)
        reference_twice = torch.autograd.grad(sum(their_sum), [*yours, their_g], allow_unused=True)
        for place, (one, other) in enumerate(zip(twice, reference_twice, strict=True)):
            self.close(one, other, f"second gradient {place}", close)

    @staticmethod
    def close(ours: Any, theirs: Any, what: str, close: float = CLOSE) -> None:
        """Assert that a tensor of ours is torch's within 1e-10; None is as good as zeros."""
        if ours is None or theirs is None:
            present = theirs if ours is None else ours
            size = 0.0 if present is None else present.detach().abs().sum().item()
            assert size == 0, f"{what}: {size} against none"
            return
        mine, yours = np.asarray(ours.detach().numpy()), theirs.detach().numpy(force=True)
        assert mine.shape == yours.shape, f"{what}: shape {mine.shape}, wanted {yours.shape}"
        assert mine.dtype == yours.dtype, f"{what}: dtype {mine.dtype}, wanted {yours.dtype}"
        np.testing.assert_allclose(mine, yours, close, close, err_msg=what)


@pytest.fixture(scope="session", params=["numpy", "torch"])
def against_torch(request: pytest.FixtureRequest) -> Comparison:
    """The comparison, for each library in turn."""
    return Comparison(request.param)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Arrays are small here: a second thread gains nothing, and where another program runs, the first waits for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
