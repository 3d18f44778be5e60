"""Cases of the operations that pick numbers by their place and put them there."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import ops
from tests.autograd.op_cases.drawing import FULL, Case, Drawn


def getitem(data: Any, compare: Any) -> Drawn:
    shape = data.draw(FULL)
    index = data.draw(npst.basic_indices(shape, allow_newaxis=True))
    index = tuple(_forward(i) for i in index) if isinstance(index, tuple) else _forward(index)
    return lambda x: ops.getitem(x, index), lambda x: x[index], [compare.draw(data, shape)]


def _forward(place: Any) -> Any:
    """A slice that goes forward, as torch has no other."""
    if isinstance(place, slice) and place.step is not None and place.step < 0:
        return slice(None, None, -place.step)
    return place


def picked(data: Any) -> tuple[tuple[int, ...], Any]:
    """A shape, and integer arrays for some of its axes in front, with repeated places."""
    shape = data.draw(FULL)
    count = data.draw(st.integers(1, len(shape)))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    of = data.draw(npst.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4))
    return shape, tuple(generator.integers(-size, size, of) for size in shape[:count])


def setitem(data: Any, compare: Any) -> Drawn:
    shape, index = picked(data)
    if len({tuple(place) for place in np.stack([i.ravel() % n for i, n in zip(index, shape, strict=False)], 1)}) < (
        index[0].size
    ):
        index = tuple(i.ravel()[:1] for i in index)  # which of two values stays is nobody's promise

    def theirs(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return x.index_put(tuple(torch.tensor(i) for i in index), values)

    values = compare.draw(data, np.zeros(shape)[index].shape)
    places = tuple(compare.array(i) for i in index)
    return lambda x, v: ops.put(x, v, index=places), theirs, [compare.draw(data, shape), values]


def scatter(data: Any, compare: Any) -> Drawn:
    shape, index = picked(data)

    def theirs(values: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(shape, dtype=torch.float64)
        return zeros.index_put(tuple(torch.tensor(i) for i in index), values, accumulate=True)

    places = tuple(compare.array(i) for i in index)
    ours = lambda values: ops.scatter(values, to=shape, index=places)  # noqa: E731
    return ours, theirs, [compare.draw(data, np.zeros(shape)[index].shape)]


CASES: dict[str, Case] = {
    "getitem": getitem,
    "scatter": scatter,
    "setitem": setitem,
}
