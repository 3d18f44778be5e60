"""Integers and truths among the inputs: what comes out, in which dtype, and that no gradient is asked of them.

On arrays of torch everything is as torch has it. NumPy's own rules hold for what NumPy itself computes, so that an
integer array and a float give float64 there; what this package rounds to floats itself is float32, as in torch.
"""

from typing import Any

import numpy as np
import pytest
import torch

from kb.autograd import Parameter, Tensor, ops, tensor

WHOLE = np.array([[1, 2, 3], [4, 0, 2]])


@pytest.mark.parametrize(
    "name", ["exp", "expm1", "log1p", "sqrt", "rsqrt", "sin", "cos", "tanh", "erf", "sigmoid", "log", "softplus"]
)
def test_functions_that_are_not_of_integers_give_float32(against_torch: Any, name: str) -> None:
    theirs = torch.nn.functional.softplus if name == "softplus" else getattr(torch, name)
    whole = torch.tensor(WHOLE).float() if name == "softplus" else torch.tensor(WHOLE)  # which torch does not take
    with np.errstate(all="ignore"):
        found = ops.RULES[name](against_torch.tensor(WHOLE))
    against_torch.close(found, theirs(whole), name, 1e-6)


CALLS = """
x + x | x - 1 | 2 * x | -x | x * x | x.abs() | x.sign() | x.relu() | x.floor() | x.round() | x.clamp(1, 2)
x.sum() | x.sum(1) | x.prod() | x.prod(1) | x.cumsum(1) | x.amax() | x.amin(0) | x.max(1)[0] | x.argmax(1)
x @ x.T | x / 2 | x / x.amax() | 1 / (x + 1) | x / 2.0 | x > 1 | x == 2 | (x > 1).sum() | x ** 2 | 2 ** x
x.logsumexp(1) | x[1:] | x.flip(0) | x.reshape(3, 2) | x.gather(1, x * 0) | (x > 1) & (x < 4) | ~(x > 1)
x.float() | x.double() | x.masked_fill(x > 2, 7) | x.min(0)[1]
"""


@pytest.mark.parametrize("text", CALLS.strip().replace("\n", " | ").split(" | "))
def test_integers_give_what_torch_gives(against_torch: Any, text: str) -> None:
    found = eval(text, {"x": against_torch.tensor(WHOLE)})
    against_torch.close(found, eval(text, {"x": torch.tensor(WHOLE)}), text, 1e-6)


def test_means_and_softmax_of_integers_which_torch_refuses_are_float32(against_torch: Any) -> None:
    whole = against_torch.tensor(WHOLE)
    for name, options in (("mean", {}), ("mean", {"dim": 1}), ("var", {}), ("softmax", {"dim": 1})):
        with pytest.raises((RuntimeError, NotImplementedError)):
            getattr(torch.tensor(WHOLE), name)(**options)
        found = getattr(whole, name)(**options)
        against_torch.close(found, getattr(torch.tensor(WHOLE).float(), name)(**options), name, 1e-6)


def test_an_integer_and_a_float_follow_the_rules_of_the_library() -> None:
    for text in ("x + 0.5", "x * 0.5", "x * torch_or_numpy"):
        ours = {"x": Tensor(WHOLE), "torch_or_numpy": np.ones(3, np.float32)}
        theirs = {"x": Tensor(torch.tensor(WHOLE)), "torch_or_numpy": torch.ones(3)}
        assert eval(text, ours).dtype == np.float64, text
        assert eval(text, theirs).dtype == torch.float32, text


def test_integers_beside_what_has_a_gradient(against_torch: Any) -> None:
    x, whole = np.random.default_rng(0).normal(size=(2, 3)), against_torch.tensor(WHOLE)
    other = torch.tensor(WHOLE)
    against_torch.same(lambda x: x * whole + whole, lambda x: x * other + other, x)
    against_torch.same(lambda x: whole / (x * x + 1.0), lambda x: other / (x * x + 1.0), x)
    against_torch.same(lambda x: x * (whole > 1), lambda x: x * (other > 1), x)
    against_torch.same(lambda x: (x * x) ** whole, lambda x: (x * x) ** other, x)
    against_torch.same(lambda x: ops.where(whole > 1, x, whole), lambda x: torch.where(other > 1, x, other), x)


@pytest.mark.parametrize("values", [WHOLE, WHOLE > 1])
def test_integers_cannot_require_a_gradient(against_torch: Any, values: np.ndarray) -> None:
    for call in (
        lambda: against_torch.tensor(values, requires_grad=True),
        lambda: against_torch.tensor(values).requires_grad_(),
        lambda: Parameter(against_torch.array(values)),
        lambda: tensor(against_torch.array(values), requires_grad=True),
    ):
        with pytest.raises(RuntimeError, match="only a tensor of floating numbers can require a gradient"):
            call()
    assert not Parameter(against_torch.array(values), requires_grad=False).requires_grad


def test_comparisons_and_places_have_no_history(against_torch: Any) -> None:
    x = against_torch.tensor([1.0, 2.0], requires_grad=True)
    for found in (x > 1.0, x == x, ops.isnan(x), x.argmax(), x.max(0)[1], ~(x > 1.0), x.long()):
        assert not found.requires_grad
        assert found.node is None


@pytest.mark.parametrize("name", ["floor", "ceil", "round", "abs", "relu", "sign", "clone"])
def test_what_leaves_integers_as_they_are_gives_a_copy(against_torch: Any, name: str) -> None:
    whole = np.array([1, 2, 3])
    out = ops.RULES[name](Tensor(against_torch.array(whole)))
    assert out.tolist() == (whole.tolist() if name != "sign" else [1, 1, 1])
    out.fill_(9)
    assert whole.tolist() == [1, 2, 3]
