"""Each operation of the one table equals torch on shapes, layouts and values that are drawn; none is left out.

The cases lie in ``op_cases``, a file for each file of operations. Kinks, ties, infinities and NaN have their examples
in the files beside this one.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor, ops
from tests.autograd.op_cases import elementwise, indexing, products, reductions, shaping
from tests.autograd.op_cases.drawing import Case

CASES: dict[str, Case] = {
    name: case for stage in (elementwise, shaping, reductions, indexing, products) for name, case in stage.CASES.items()
}
VIEWS = {"expand", "getitem", "narrow", "permute", "reshape"}


def test_each_operation_of_the_table_has_a_case() -> None:
    assert set(CASES) == set(ops.RULES)


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=20)
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
