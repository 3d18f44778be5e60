"""Each operation of the one table equals torch on shapes, layouts and values that are drawn; none is left out.

Kinks, ties, infinities and NaN have their examples in the files beside this one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import Tensor, ops

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


def gate(data: Any, compare: Any) -> Drawn:
    x = compare.draw(data, data.draw(SHAPES))
    return (
        ops.elementwise.gate,
        lambda x, keep: torch.where(keep, x, 0.0),
        [x, np.asarray(compare.draw(data, x.shape) > 0)],
    )


def where(data: Any, compare: Any) -> Drawn:
    shapes = data.draw(npst.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0, max_side=3))
    condition, a, b = (compare.draw(data, shape) for shape in shapes.input_shapes)
    return ops.where, torch.where, [np.asarray(condition > 0), a, b]


def clamp(data: Any, compare: Any) -> Drawn:
    low, high = data.draw(st.sampled_from([(None, 0.5), (-0.5, None), (-1.0, 1.0), (1.0, -1.0)]))
    function = lambda x: ops.clamp(x, min=low, max=high)  # noqa: E731
    return function, lambda x: torch.clamp(x, low, high), [compare.draw(data, data.draw(SHAPES))]


def cast(data: Any, compare: Any) -> Drawn:
    """To float32 and back, so that both the number and its gradient are rounded."""

    def ours(x: Tensor) -> Tensor:
        return x.float() * 3.0

    return ours, lambda x: x.float() * 3.0, [compare.draw(data, data.draw(SHAPES))]


def move(data: Any, compare: Any) -> Drawn:
    """To the other library and back."""
    other = "torch" if compare.library == "numpy" else "numpy"

    def ours(x: Tensor) -> Tensor:
        return (x.to(other) * 3.0).to(compare.library)

    return ours, lambda x: x * 3.0, [compare.draw(data, data.draw(SHAPES))]


def reshape(data: Any, compare: Any) -> Drawn:
    shape = data.draw(SHAPES)
    to = tuple(data.draw(st.permutations(shape))) if data.draw(st.booleans()) else (1, int(np.prod(shape)))
    return lambda x: ops.reshape(x, to=to), lambda x: x.reshape(to), [compare.draw(data, shape)]


def permute(data: Any, compare: Any) -> Drawn:
    shape = data.draw(SHAPES)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    return lambda x: ops.permute(x, order=order), lambda x: x.permute(order), [compare.draw(data, shape)]


def broadcast_from(shape: tuple[int, ...]) -> Any:
    return npst.mutually_broadcastable_shapes(num_shapes=1, base_shape=shape, min_side=0, max_dims=4)


def expand(data: Any, compare: Any) -> Drawn:
    shapes = data.draw(broadcast_from(data.draw(SHAPES)))
    to = shapes.result_shape
    return lambda x: ops.broadcast_to(x, to=to), lambda x: x.expand(to), [compare.draw(data, shapes.input_shapes[0])]


def sum_to(data: Any, compare: Any) -> Drawn:
    shapes = data.draw(broadcast_from(data.draw(SHAPES)))
    to = shapes.input_shapes[0]
    return lambda x: ops.sum_to(x, shape=to), lambda x: x.sum_to_size(to), [compare.draw(data, shapes.result_shape)]


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


def matmul(data: Any, compare: Any) -> Drawn:
    N, K, M = (data.draw(st.integers(0, 4)) for _ in range(3))
    ahead = data.draw(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3))
    left = data.draw(st.sampled_from([(K,), (N, K), (*ahead.input_shapes[0], N, K)]))
    right = data.draw(st.sampled_from([(K,), (K, M), (*ahead.input_shapes[1], K, M)]))
    return ops.matmul, torch.matmul, [compare.draw(data, left), compare.draw(data, right)]


def scores(data: Any, compare: Any) -> Drawn:
    B, D, F = (data.draw(st.integers(0, 4)) for _ in range(3))
    return ops.scores, torch.nn.functional.linear, [compare.draw(data, (B, D)), compare.draw(data, (F, D))]


def affine(data: Any, compare: Any) -> Drawn:
    _, theirs, (x_BD, weight_FD) = scores(data, compare)
    return ops.affine, theirs, [x_BD, weight_FD, compare.draw(data, weight_FD.shape[:1])]


EQUATIONS = ["ij,jk->ik", "bij,bjk->bik", "ij,ij->", "i,j->ij", "ijk->ki", "ij,jk,kl->li", "bhqd,bhkd->bhqk"]


def einsum(data: Any, compare: Any) -> Drawn:
    equation = data.draw(st.sampled_from(EQUATIONS))
    sizes = {letter: data.draw(st.integers(0, 3)) for letter in sorted(set(equation) - set(",->"))}
    arrays = [
        compare.draw(data, tuple(sizes[letter] for letter in term)) for term in equation.partition("->")[0].split(",")
    ]
    return lambda *x: ops.einsum(equation, *x), lambda *x: torch.einsum(equation, *x), arrays


def windows(data: Any) -> dict[str, tuple[int, int]]:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return {"kernel": data.draw(pair), "stride": data.draw(pair), "dilation": data.draw(pair)}


def fitting(data: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """A picture's size that holds the kernel."""
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return least[0] + data.draw(st.integers(0, 3)), least[1] + data.draw(st.integers(0, 3))


def unfold(data: Any, compare: Any) -> Drawn:
    B, C, options = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3)), windows(data)
    size = fitting(data, options["kernel"], options["dilation"])
    kernel, stride, dilation = options.values()

    def ours(x: Tensor) -> Tensor:
        out = ops.unfold(x, kernel=kernel, stride=stride, dilation=dilation)
        return out.reshape(B, C * kernel[0] * kernel[1], out.shape[4] * out.shape[5])

    theirs = lambda x: torch.nn.functional.unfold(x, kernel, dilation=dilation, stride=stride)  # noqa: E731
    return ours, theirs, [compare.draw(data, (B, C, *size))]


def fold(data: Any, compare: Any) -> Drawn:
    B, C, options = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), windows(data)
    kernel, stride, dilation = options.values()
    size = fitting(data, kernel, dilation)
    places = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    shape = (B, C, *kernel, *places)

    def theirs(x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(B, C * kernel[0] * kernel[1], places[0] * places[1])
        return torch.nn.functional.fold(flat, size, kernel, dilation=dilation, stride=stride)

    return lambda x: ops.fold(x, size=size, stride=stride, dilation=dilation), theirs, [compare.draw(data, shape)]


CASES: dict[str, Case] = {
    **{name: truths(ops.RULES[name], getattr(torch, name)) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "and": logic(ops.both, torch.logical_and, 2),
    "or": logic(ops.either, torch.logical_or, 2),
    "not": logic(ops.logical_not, torch.logical_not, 1),
    **{f.__name__: unary(f) for f in (torch.isnan, torch.isfinite, torch.neg, torch.abs, torch.relu, torch.tanh)},
    **{f.__name__: unary(f) for f in (torch.exp, torch.expm1, torch.sin, torch.cos, torch.erf, torch.sigmoid)},
    **{f.__name__: unary(f) for f in (torch.sign, torch.floor, torch.ceil, torch.round, torch.zeros_like)},
    **{f.__name__: unary(f, 0.1, 3.0) for f in (torch.log, torch.sqrt, torch.rsqrt)},
    "root": unary(torch.sqrt, 0.1, 3.0, "root"),
    "log1p": unary(torch.log1p, -0.8),
    "tan": unary(torch.tan, -1.3, 1.3),
    "softplus": unary(torch.nn.functional.softplus),
    "gate": gate,
    "where": where,
    "add": binary(ops.add, torch.add),
    "sub": binary(ops.subtract, torch.sub),
    "mul": binary(ops.multiply, torch.mul),
    "div": binary(ops.divide, torch.div, 0.3, 2.0),
    "pow": binary(ops.power, torch.pow, 0.3, 2.0),
    "maximum": binary(ops.maximum, torch.maximum),
    "minimum": binary(ops.minimum, torch.minimum),
    "clamp": clamp,
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
    "getitem": getitem,
    "scatter": scatter,
    "setitem": setitem,
    "sum": reducing(ops.sum, torch.sum, WITH_AXES),
    "sum_to": sum_to,
    "var": reducing(ops.var, torch.var, npst.array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=4)),
    "amax": reducing(ops.amax, torch.amax),
    "amin": reducing(ops.amin, torch.amin),
    "prod": along(ops.prod, torch.prod),
    "cumsum": along(ops.cumsum, torch.cumsum),
    "logsumexp": reducing(ops.logsumexp, torch.logsumexp),
    "softmax": along(ops.softmax, torch.softmax),
    "log_softmax": along(ops.log_softmax, torch.log_softmax),
    "matmul": matmul,
    "scores": scores,
    "linear": affine,
    "einsum": einsum,
    "unfold": unfold,
    "fold": fold,
}


VIEWS = {"expand", "getitem", "narrow", "permute", "reshape"}


def test_each_operation_of_the_table_has_a_case() -> None:
    assert set(CASES) == set(ops.RULES)


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_value_and_gradients_of_two_orders_equal_torch(against_torch: Any, name: str, data: Any) -> None:
    ours, theirs, values = CASES[name](data, against_torch)
    out = against_torch.same(ours, theirs, *values)
    if name not in VIEWS:
        result = np.asarray(out.detach().numpy())
        assert not any(np.shares_memory(result, value) for value in values), "writing the result would write an input"
    assert not out.requires_grad or name in names_on_the_tape(out), "a case that does not use its operation"


def names_on_the_tape(out: Tensor) -> set[str]:
    names, waiting = set(), [out.node]
    while waiting:
        node = waiting.pop()
        if node is not None and hasattr(node, "op"):
            names.add(node.name)
            waiting += [target for target, _, _ in node.edges]
    return names
