"""What the cases of the operations have in common: shapes that are drawn, and the kinds that many operations are of.

A case draws the inputs of one operation, and says what it is here and in torch. No stride is ours to choose: the
comparison draws each input's layout.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import ops

Drawn = tuple[Callable[..., Any], Callable[..., Any], list[np.ndarray]]  # ours, torch's, the inputs
Case = Callable[[Any, Any], Drawn]  # of hypothesis' data and the comparison
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
WITH_AXES = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
FULL = npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def unary(theirs: Callable[..., Any], low: float = -2.0, high: float = 2.0, name: str = "") -> Case:
    def case(data: Any, compare: Any) -> Drawn:
        function = ops.RULES[name or theirs.__name__]
        return function, theirs, [compare.draw(data, data.draw(SHAPES), low, high)]

    return case


def binary(ours: Any, theirs: Callable[..., Any], low: float = -2.0, high: float = 2.0) -> Case:
    """On shapes that broadcast."""

    def case(data: Any, compare: Any) -> Drawn:
        shapes = data.draw(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3))
        return ours, theirs, [compare.draw(data, shape, low, high) for shape in shapes.input_shapes]

    return case


def reducing(ours: Any, theirs: Callable[..., Any], shapes: Any = FULL) -> Case:
    """Along some axes, one or all of them."""

    def case(data: Any, compare: Any) -> Drawn:
        shape = data.draw(shapes)
        axes = data.draw(
            st.none()
            | st.integers(-len(shape), len(shape) - 1)
            | st.sets(st.integers(0, len(shape) - 1), min_size=1).map(tuple)
        )
        keep = data.draw(st.booleans())
        every = tuple(range(len(shape))) if axes is None else axes
        return (
            lambda x: ours(x, axis=axes, keepdims=keep),
            lambda x: theirs(x, dim=every, keepdim=keep),
            [compare.draw(data, shape)],
        )

    return case


def along(ours: Any, theirs: Callable[..., Any], shapes: Any = WITH_AXES) -> Case:
    """Along one axis."""

    def case(data: Any, compare: Any) -> Drawn:
        shape = data.draw(shapes)
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
        return lambda x: ours(x, axis=axis), lambda x: theirs(x, dim=axis), [compare.draw(data, shape)]

    return case


def truths(ours: Any, theirs: Callable[..., Any]) -> Case:
    """On broadcast integers from 0 to 2, so that many are equal."""

    def case(data: Any, compare: Any) -> Drawn:
        shapes = data.draw(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3))
        return (
            ours,
            theirs,
            [np.asarray(np.floor(compare.draw(data, shape, 0.0, 3.0))) for shape in shapes.input_shapes],
        )

    return case


def logic(ours: Any, theirs: Callable[..., Any], count: int) -> Case:
    def case(data: Any, compare: Any) -> Drawn:
        shape = data.draw(SHAPES)
        return ours, theirs, [np.asarray(compare.draw(data, shape) > 0) for _ in range(count)]

    return case


def broadcast_from(shape: tuple[int, ...]) -> Any:
    return npst.mutually_broadcastable_shapes(num_shapes=1, base_shape=shape, min_side=0, max_dims=4)
