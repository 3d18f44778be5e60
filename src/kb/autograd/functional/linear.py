"""The affine map, with gradient rules of its own.

The weight lies as [outputs, inputs], so that a unit's weights are one row. Unusual: a composition of a transposition, a
product and a sum would give the weight's gradient as a transposed view, and whatever an optimizer does with it then
strides through memory, at several times the cost. The rules here give it in the weight's own layout.

Shapes: B rows, D inputs, F outputs.
"""

import math
from typing import Any

from kb.autograd import ops
from kb.autograd.arguments import require_floating
from kb.autograd.backend import Array
from kb.autograd.tape import Op


def _affine_forward(x: Array, weight: Array, bias: Array) -> Array:
    out = x @ weight.T
    out += bias  # into memory that nobody else has seen
    return out


# x_BD, weight_FD, bias_F to [B, F]; the engine sums the bias's gradient over the rows.
_affine: Op = Op(
    "linear",
    _affine_forward,
    x=lambda g, weight: ops.matmul(g, weight),
    weight=lambda g, x: ops.matmul(ops.transposed(g, 0, 1), x),
    bias=lambda g: g,
)
_without_bias: Op = Op(
    "linear",
    lambda x, weight: x @ weight.T,
    x=lambda g, weight: ops.matmul(g, weight),
    weight=lambda g, x: ops.matmul(ops.transposed(g, 0, 1), x),
)


def linear(input: Any, weight: Any, bias: Any = None) -> Any:  # noqa: A002 - torch's name
    """The product x W^T, plus b.

    Args:
        input: [..., D], floating.
        weight: [F, D], or [D] for one output without an axis.
        bias: [F], or a single number where there is one output.

    Returns:
        [..., F].

    Raises:
        TypeError: they are not floating, or not of one library and dtype.
        ValueError: the sizes do not fit.
    """
    require_floating(input=input, weight=weight, bias=bias)
    wide, shape = tuple(weight.shape), tuple(input.shape)
    if len(wide) not in (1, 2) or not shape or shape[-1] != wide[-1]:
        raise ValueError(f"input {shape} does not fit weight {wide}: its last size must be the weight's last one")
    if bias is not None and tuple(bias.shape) not in (wide[:-1], ()):
        raise ValueError(f"bias {tuple(bias.shape)} does not fit weight {wide}: wanted {wide[:-1]}")
    if len(wide) == 1:
        out = ops.matmul(input, weight)
        return out if bias is None else out + bias
    rows = input if len(shape) == 2 else ops.reshape(input, to=(math.prod(shape[:-1]), shape[-1]))
    out = _without_bias(rows, weight) if bias is None else _affine(rows, weight, bias)
    return out if len(shape) == 2 else ops.reshape(out, to=(*shape[:-1], wide[0]))
