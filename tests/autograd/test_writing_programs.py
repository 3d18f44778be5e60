"""Programs of writes that hypothesis draws: torch's gradients, or a refusal, and never a wrong number."""

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor


def leaf(values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


STATEMENTS = [
    "{n} = {a} * {b}",
    "{n} = {a} + {b}",
    "{n} = {a}.exp()",
    "{n} = {a}.tanh() / ({b} * {b} + 1.0)",
    "{n} = {a}.reshape(2, 2)",
    "{n} = {a}.T",
    "{n} = {a}.detach()",
    "{n} = {a}.clone()",
    "{n} = ({a} + {b})[[1, 0]]",
    "{a} += {b}",
    "{a} *= {b}",
    "{a} *= 0.5",
    "{a} /= {b} * {b} + 1.0",
    "{a}[0] = {b}[1]",
    "{a}[:, 0] = 2.0",
    "{a}[[1, 0], [0, 0]] = {b}[0]",
    "{a}.copy_({b})",
    "{a}[0].fill_(0.5)",
]


def run_program(lines: list[str], leaves: dict[str, Any]) -> tuple[str, Any]:
    """What became of a program: the gradients of its leaves, or at which stage it was refused."""
    names: dict[str, Any] = dict(leaves)
    try:
        for line in lines:
            exec(line, {}, names)
    except RuntimeError as error:
        # torch does not copy a tensor to a place within itself; here it is read before it is written.
        return "overlap" if "single memory location" in str(error) else "refused", None
    try:
        total = sum((value * value).sum() for name, value in names.items() if name not in leaves)
        if not total.requires_grad:
            return "constant", None
        total.backward()
    except RuntimeError:
        return "refused", None
    return "gradients", [leaf.grad for leaf in leaves.values()]


@settings(max_examples=250)
@given(data=st.data())
def test_drawn_programs_give_torchs_gradients_or_are_refused(against_torch: Any, data: Any) -> None:
    names, lines = ["p", "q", "u"], ["u = p * q", "w = p + q"]
    names.append("w")
    for i in range(data.draw(st.integers(1, 7))):
        a, b = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
        statement = data.draw(st.sampled_from(STATEMENTS))
        lines.append(statement.format(a=a, b=b, n=f"v{i}"))
        if "{n}" in statement:
            names.append(f"v{i}")
    p, q = np.random.default_rng(data.draw(st.integers(0, 9))).uniform(0.5, 1.5, (2, 2, 2))
    ours = {"p": against_torch.tensor(p, requires_grad=True), "q": against_torch.tensor(q, requires_grad=True)}
    kind, found = run_program(lines, ours)
    theirs = {"p": torch.tensor(p, requires_grad=True), "q": torch.tensor(q, requires_grad=True)}
    their_kind, expected = run_program(lines, theirs)
    assert kind in (their_kind, "refused") or their_kind == "overlap"
    if kind == their_kind == "gradients":
        for one, other in zip(found, expected, strict=True):
            against_torch.close(one, other, "\n".join(lines), 1e-9)
