"""Cases of the operations that make one number of many along some axes."""

from typing import Any

import torch
from hypothesis.extra import numpy as npst

from kb.autograd import ops
from tests.autograd.op_cases.drawing import SHAPES, WITH_AXES, Case, Drawn, along, broadcast_from, reducing


def sum_to(data: Any, compare: Any) -> Drawn:
    shapes = data.draw(broadcast_from(data.draw(SHAPES)))
    to = shapes.input_shapes[0]
    return lambda x: ops.sum_to(x, shape=to), lambda x: x.sum_to_size(to), [compare.draw(data, shapes.result_shape)]


CASES: dict[str, Case] = {
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
}
