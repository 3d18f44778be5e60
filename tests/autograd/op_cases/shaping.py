"""Cases of the operations that move numbers and change none."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import Tensor, ops
from tests.autograd.op_cases.drawing import SHAPES, WITH_AXES, Case, Drawn, along, broadcast_from, unary


def cast(data: Any, compare: Any) -> Drawn:
    """To float32 and back, so that both the number and its gradient are rounded."""

    def ours(x: Tensor) -> Tensor:
        return x.float() * 3.0

    return ours, lambda x: x.float() * 3.0, [compare.draw(data, data.draw(SHAPES))]


def move(data: Any, compare: Any) -> Drawn:
    """To the other library and back."""
    other = "torch" if compare.library == "numpy" else "numpy"

    def ours(x: Tensor) -> Tensor:
        return (x.to(other) * 3.0).to(compare.library, device=x.device if compare.library == "torch" else None)

    return ours, lambda x: x * 3.0, [compare.draw(data, data.draw(SHAPES))]


def reshape(data: Any, compare: Any) -> Drawn:
    shape = data.draw(SHAPES)
    to = tuple(data.draw(st.permutations(shape))) if data.draw(st.booleans()) else (1, int(np.prod(shape)))
    return lambda x: ops.reshape(x, to=to), lambda x: x.reshape(to), [compare.draw(data, shape)]


def permute(data: Any, compare: Any) -> Drawn:
    shape = data.draw(SHAPES)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    return lambda x: ops.permute(x, order=order), lambda x: x.permute(order), [compare.draw(data, shape)]


def expand(data: Any, compare: Any) -> Drawn:
    shapes = data.draw(broadcast_from(data.draw(SHAPES)))
    to = shapes.result_shape
    return lambda x: ops.broadcast_to(x, to=to), lambda x: x.expand(to), [compare.draw(data, shapes.input_shapes[0])]


def narrow(data: Any, compare: Any) -> Drawn:
    shape = data.draw(WITH_AXES)
    axis = data.draw(st.integers(0, len(shape) - 1))
    start = data.draw(st.integers(0, shape[axis]))
    stop = data.draw(st.integers(start, shape[axis]))
    ours = lambda x: ops.narrow(x, axis=axis, start=start, stop=stop)  # noqa: E731
    return ours, lambda x: x.narrow(axis, start, stop - start), [compare.draw(data, shape)]


def widen(data: Any, compare: Any) -> Drawn:
    shape = data.draw(WITH_AXES)
    axis = data.draw(st.integers(0, len(shape) - 1))
    low, high = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    size = shape[axis]
    pads = [0, 0] * (len(shape) - 1 - axis) + [low, high]
    ours = lambda x: ops.widen(x, axis=axis, start=low, stop=low + size, size=low + size + high)  # noqa: E731
    return ours, lambda x: torch.nn.functional.pad(x, pads), [compare.draw(data, shape)]


def cat(data: Any, compare: Any) -> Drawn:
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=3))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    place = axis % len(shape)
    parts = [compare.draw(data, (*shape[:place], size, *shape[place + 1 :])) for size in sizes]
    return lambda *parts: ops.concat(parts, axis), lambda *parts: torch.cat(parts, axis), parts


CASES: dict[str, Case] = {
    "reshape": reshape,
    "permute": permute,
    "expand": expand,
    "flip": along(lambda x, axis: ops.flip(x, axis=axis), lambda x, dim: x.flip(dim)),
    "to": cast,
    "clone": unary(torch.clone),
    "move": move,
    "narrow": narrow,
    "widen": widen,
    "cat": cat,
}
