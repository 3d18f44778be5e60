"""Hessian-vector products, Hessians and Jacobians equal torch's."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import functional

from kb.autograd import Tensor, no_grad
from kb.autograd.derivatives import hessian, hvp, jacobian


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 1.5, shape)


def bent(x: Any) -> Any:
    """The same words for ours and for torch."""
    return (x.tanh() * x.exp()).sum() * (x * x).sum()


def several(x: Any) -> Any:
    return (x * x).sum(0) / (x.exp().sum() + 1.0)


@settings(max_examples=20)
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), seed=st.integers(0, 1000))
def test_of_one_input_equals_torch(against_torch: Any, rows: int, columns: int, seed: int) -> None:
    x, v = numbers(rows, columns, seed=seed), numbers(rows, columns, seed=seed + 1)
    theirs, their_v = torch.tensor(x), torch.tensor(v)
    ours = against_torch.tensor(x)
    against_torch.close(jacobian(several, ours), functional.jacobian(several, theirs), "jacobian")
    against_torch.close(hessian(bent, ours), functional.hessian(bent, theirs), "hessian")
    against_torch.close(hvp(bent, ours, against_torch.tensor(v)), functional.hvp(bent, theirs, their_v)[1], "hvp")
    assert ours.grad is None
    assert not ours.requires_grad


def test_of_several_inputs_equals_torch_and_the_hessian_itself(against_torch: Any) -> None:
    def mixed(a: Any, b: Any, c: Any) -> Any:
        return ((a @ b).tanh() ** 2).sum() + b.sum() * 3.0  # linear in nothing but a part of b, no c at all

    values = [numbers(2, 3), numbers(3, 2, seed=1), numbers(4, seed=2)]
    vectors = [numbers(2, 3, seed=3), numbers(3, 2, seed=4), numbers(4, seed=5)]
    found = hvp(mixed, [against_torch.tensor(x) for x in values], [against_torch.tensor(v) for v in vectors])
    _, expected = functional.hvp(mixed, tuple(map(torch.tensor, values)), tuple(map(torch.tensor, vectors)))
    assert isinstance(found, tuple)
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        against_torch.close(one, other, f"product {place}")


def test_the_product_is_the_hessian_times_the_vector() -> None:
    x, v = numbers(5), numbers(5, seed=1)
    np.testing.assert_allclose(hvp(bent, x, v).numpy(), hessian(bent, x).numpy() @ v, 1e-12)


def test_functions_without_curvature_or_without_dependence_give_zeros() -> None:
    x = numbers(2, 2)
    assert hvp(lambda x: x.sum(), x, x).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert hessian(lambda x: x.sum() * 2.0, x).tolist() == np.zeros((2, 2, 2, 2)).tolist()
    assert jacobian(lambda x: Tensor(np.ones(3)), x).tolist() == np.zeros((3, 2, 2)).tolist()
    assert jacobian(lambda x: x[:0], x).shape == (0, 2, 2, 2)
    assert hvp(lambda x: Tensor(np.ones(())), x, x).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_within_no_grad_and_on_what_requires_a_gradient() -> None:
    x = Tensor(numbers(3), requires_grad=True)
    with no_grad():
        inside = hessian(bent, x).numpy()
    np.testing.assert_array_equal(inside, hessian(bent, x.data).numpy())
    assert x.grad is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: hvp(bent, x, x[:1]),
            ValueError,
            r"vectors must be of the inputs' shapes, \[\(3,\)\], got \[\(1,\)\]",
        ),
        (lambda x: hvp(bent, [x], x), ValueError, "both be single tensors"),
        (lambda x: hvp(bent, [x, x], [x]), ValueError, "vectors must be of the inputs' shapes"),
        (lambda x: hvp(lambda x: x, x, x), ValueError, "the function must give one number"),
        (lambda x: hessian(lambda x: x, x), ValueError, "the function must give one number"),
        (lambda x: hessian(lambda x: 1.0, x), TypeError, "the function must give a tensor, got float"),
        (lambda x: jacobian(lambda x: x.data, x), TypeError, "the function must give a tensor, got ndarray"),
        (lambda x: jacobian(bent, [1.0]), TypeError, "x must be tensors or arrays, got list"),
        (lambda x: hvp(bent, x, 1.0), TypeError, "vectors must be tensors or arrays, got float"),
        (lambda x: hvp(bent, x.astype(int), x), RuntimeError, "floating"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(numbers(3))
