"""The affine map, whose weight lies as [outputs, inputs], so that a unit's weights are one row.

Shapes: D inputs, F outputs.
"""

import math
from typing import Any

from kb.autograd import ops
from kb.autograd.arguments import require_floating


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
    out = ops.scores(rows, weight) if bias is None else ops.affine(rows, weight, bias)
    return out if len(shape) == 2 else ops.reshape(out, to=(*shape[:-1], wide[0]))
