"""Cases of the operations that work on each number by itself, comparisons among them."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import ops
from tests.autograd.op_cases.drawing import SHAPES, Case, Drawn, binary, logic, truths, unary


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
}
