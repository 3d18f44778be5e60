"""Gradients against differences: a check of any function, and of the gradients of its gradients.

Moving one input x along a random direction v moves a random projection w of the results by

    <w, f(x + eps v) - f(x - eps v)> / (2 eps) = <J^T w, v> + O(eps^2),

so that one pair of calls checks a whole gradient: a wrong number in it goes unseen with probability 0. The gradient is
itself a function, of the inputs and of w, so checking it in the same way checks the second order, and so on. Unusual: w
is one of the inputs there, so that a rule that loses track of the gradient it was given is found too.

Source: the idea of ``check_grads`` in Maclaurin, Duvenaud and Adams 2015, Autograd.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kb.arguments import is_number, require_count
from kb.autograd import backend
from kb.autograd.backward import grad
from kb.autograd.recording import enable_grad
from kb.autograd.tape import Variable
from kb.autograd.tensor import Tensor

Function = Callable[..., Any]


def check_grads(
    function: Function,
    inputs: Any,
    *,
    order: int = 2,
    seed: int = 0,
    eps: float = 1e-5,
    rtol: float = 1e-6,
    atol: float = 1e-7,
) -> None:
    """Compare the gradients of a function with central differences along random directions.

    Args:
        function: Of as many tensors as there are inputs, to a tensor or a tuple or list of tensors; the same each time
            it is called, and smooth where it is called.
        inputs: A tensor or an array, or several; float64, of any shapes. What they hold stays as it is.
        order: How many times to differentiate.
        seed: Of the directions and projections.
        eps: Length of a step, in the units of the inputs.
        rtol: How far the two numbers may be apart, as a part of the larger one.
        atol: How far they may be apart besides.

    Raises:
        AssertionError: they are further apart; the message names the order, the input and the two numbers.
        TypeError: an input is neither a tensor nor an array, or a result is not a tensor.
        ValueError: an input or a result is not float64, or an option makes no sense.
    """
    require_count("order", order)
    for name, value, least in (("eps", eps, "positive"), ("rtol", rtol, "at least 0"), ("atol", atol, "at least 0")):
        if not is_number(value) or value < 0 or (value == 0 and name == "eps"):
            raise ValueError(f"{name} must be {least}, got {value!r}")
    values = inputs if isinstance(inputs, list | tuple) else (inputs,)
    points = [_double(f"input {place}", value) for place, value in enumerate(values)]
    generator = np.random.default_rng(seed)
    for reached in range(1, order + 1):
        shapes = [tuple(out.data.shape) for out in _results(function, points)]
        projections = [_normal(generator, shape, points[0]) for shape in shapes]
        gradients = _gradients_of(function, len(points))
        analytic = gradients(*_leaves(points), *_leaves(projections))
        for place, point in enumerate(points):
            direction = _normal(generator, tuple(point.shape), point)
            numeric = _difference(function, points, place, direction, projections, eps)
            found = _dot(analytic[place].data, direction)
            # Written so that NaN on either side is an error.
            if not abs(found - numeric) <= atol + rtol * max(abs(found), abs(numeric)):
                raise AssertionError(
                    f"order {reached}, input {place} of {len(points)}: the gradient along a random direction is "
                    f"{found:.10g}, the difference of the function's values says {numeric:.10g}"
                )
        function, points = gradients, [*points, *projections]


def _gradients_of(function: Function, count: int) -> Function:
    """(inputs, projections) to the gradients of the projected results by all ``count`` inputs, zeros included."""

    def gradients(*values: Any) -> tuple[Any, ...]:
        inputs, projections = values[:count], values[count:]
        outputs = _as_tuple(function(*inputs))
        pairs = [(out, w) for out, w in zip(outputs, projections, strict=True) if out.requires_grad]
        if not pairs:
            return tuple(_zeros(x) for x in inputs)
        found = grad([out for out, _ in pairs], inputs, [w for _, w in pairs], create_graph=True, allow_unused=True)
        return tuple(_zeros(x) if one is None else one for x, one in zip(inputs, found, strict=True))

    return gradients


def _difference(
    function: Function, points: list[Any], place: int, direction: Any, projections: list[Any], eps: float
) -> float:
    """The derivative of the projected results along a direction of one input, from two calls."""
    ends = []
    for step in (eps, -eps):
        moved = [*points[:place], points[place] + step * direction, *points[place + 1 :]]
        outputs = [out.data for out in _results(function, moved)]
        ends.append(outputs)
    return math.fsum(_dot(high - low, w) for high, low, w in zip(*ends, projections, strict=True)) / (2 * eps)


def _results(function: Function, points: Sequence[Any]) -> tuple[Any, ...]:
    with enable_grad():  # the function may take gradients itself
        outputs = _as_tuple(function(*_leaves(points)))
    for place, out in enumerate(outputs):
        if not isinstance(out, Variable):
            raise TypeError(f"the function must give tensors, result {place} is a {type(out).__name__}")
        _double(f"result {place}", out)
    return outputs


def _as_tuple(outputs: Any) -> tuple[Any, ...]:
    return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)


def _leaves(arrays: Sequence[Any]) -> list[Tensor]:
    return [Tensor(backend.copy(array), requires_grad=True) for array in arrays]


def _double(name: str, value: Any) -> Any:
    """The array of a tensor or an array, if it is float64."""
    array = value.data if isinstance(value, Variable) else value
    if not backend.is_array(array):
        raise TypeError(f"{name} must be a tensor or an array, got {type(value).__name__}")
    if array.dtype != backend.namespace(array).float64:
        raise ValueError(f"{name} must be float64, since differences of other numbers say little, got {array.dtype}")
    return array


def _normal(generator: np.random.Generator, shape: tuple[int, ...], like: Any) -> Any:
    """Random numbers as an array of the library and on the device of another."""
    drawn = np.asarray(generator.standard_normal(shape))
    return backend.convert(drawn, backend.library(like), backend.device(like))


def _zeros(x: Tensor) -> Tensor:
    return Tensor(backend.namespace(x.data).zeros_like(x.data))


def _dot(a: Any, b: Any) -> float:
    return float(backend.namespace(a, b).sum(a * b))
