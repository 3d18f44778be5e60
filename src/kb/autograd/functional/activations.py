"""Functions of each number, and the softmax: names, arguments and defaults of ``torch.nn.functional``.

All but the softmax family are compositions of operations, so there is no gradient rule in this file.

Sources: Hendrycks and Gimpel 2016 (GELU and its approximation by tanh); Elfwing, Uchibe and Doya 2018 (SiLU); Clevert,
Unterthiner and Hochreiter 2016 (ELU); Maas, Hannun and Ng 2013 (leaky ReLU).
"""

import math
from collections.abc import Callable
from typing import Any

from kb.autograd import backend, ops
from kb.autograd.arguments import array_in, require_real
from kb.autograd.ops.shaping import one_axis


def relu(input: Any, inplace: bool = False) -> Any:  # noqa: A002 - torch's name
    """max(x, 0).

    Args:
        input: Any shape.
        inplace: Whether to write the result over ``input``.
    """
    array_in("input", input)
    return _in_place(ops.relu, input, inplace)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:  # noqa: A002
    """The number where it is positive, ``negative_slope`` times the number elsewhere; otherwise as :func:`relu`."""
    require_real("negative_slope", negative_slope)
    _floats(input)
    return _in_place(lambda x: ops.where(_data(x) > 0, x, x * negative_slope), input, inplace)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:  # noqa: A002
    """The number where it is positive, alpha (exp(x) - 1) elsewhere; otherwise as :func:`relu`."""
    require_real("alpha", alpha)
    _floats(input)
    # The exponential of the other side's numbers could be infinite, and its gradient of 0 times that is NaN.
    return _in_place(
        lambda x: ops.where(_data(x) > 0, x, ops.expm1(ops.where(_data(x) > 0, 0.0, x)) * alpha), input, inplace
    )


def silu(input: Any, inplace: bool = False) -> Any:  # noqa: A002
    """X sigmoid(x); otherwise as :func:`relu`."""
    _floats(input)
    return _in_place(lambda x: x * ops.sigmoid(x), input, inplace)


def gelu(input: Any, approximate: str = "none") -> Any:  # noqa: A002
    """X times the chance that a normal number is below x.

    Args:
        input: Any shape, floating.
        approximate: "none" for the exact function, "tanh" for Hendrycks and Gimpel's approximation.

    Raises:
        ValueError: ``approximate`` is neither.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    _floats(input)
    if approximate == "none":
        return input * (ops.erf(input * math.sqrt(0.5)) + 1.0) * 0.5
    inner = (input + input * input * input * 0.044715) * math.sqrt(2 / math.pi)
    return input * (ops.tanh(inner) + 1.0) * 0.5


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:  # noqa: A002
    """log(1 + exp(beta x)) / beta.

    Args:
        input: Any shape, floating.
        beta: How sharp the bend is; not 0.
        threshold: Where beta x is beyond it, the number itself is taken.

    Raises:
        ValueError: ``beta`` is 0, or one of the two is no finite number.
    """
    require_real("beta", beta)
    require_real("threshold", threshold)
    if beta == 0:
        raise ValueError("beta must not be 0")
    _floats(input)
    scaled = input * beta
    return ops.where(_data(scaled) > threshold, input, ops.softplus(scaled) * (1.0 / beta))


def logsigmoid(input: Any) -> Any:  # noqa: A002
    """log(1 / (1 + exp(-x)))."""
    _floats(input)
    return -ops.softplus(-input)


def sigmoid(input: Any) -> Any:  # noqa: A002
    """1 / (1 + exp(-x))."""
    array_in("input", input)
    return ops.sigmoid(input)


def tanh(input: Any) -> Any:  # noqa: A002
    """The hyperbolic tangent."""
    array_in("input", input)
    return ops.tanh(input)


def softmax(input: Any, dim: int) -> Any:  # noqa: A002
    """exp(x) / sum(exp(x)) along ``dim``; unlike torch's, it does not guess the axis.

    Raises:
        ValueError: there is no such axis.
    """
    return ops.softmax(input, axis=_axis(input, dim))


def log_softmax(input: Any, dim: int) -> Any:  # noqa: A002
    """The logarithm of :func:`softmax`, without its underflow."""
    return ops.log_softmax(input, axis=_axis(input, dim))


def _data(value: Any) -> Any:
    return array_in("input", value)


def _floats(value: Any) -> None:
    array = array_in("input", value)
    if not backend.is_floating(array):
        raise TypeError(f"input must be floating, got {array.dtype}")


def _axis(value: Any, dim: int) -> int:
    return one_axis(dim, max(1, len(array_in("input", value).shape)))


def _in_place(function: Callable[[Any], Any], value: Any, inplace: bool) -> Any:
    if not inplace:
        return function(value)
    out = function(ops.clone(value))  # of a copy, since the gradient may need what is about to be written over
    value[...] = out
    return value
