"""Softmax and cross-entropy: stable = torch in value and gradient, naive overflows, the Jacobian three ways."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.nn import (
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_naive,
    log_softmax_vjp,
    smoothed_targets,
    softmax,
    softmax_jacobian,
    softmax_jacobian_loop,
    softmax_naive,
    softmax_vjp,
)

INF = float("inf")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_classes_by_hand() -> None:
    p = softmax(torch.tensor([0.0, 1.0]).log().double().clamp(min=0))  # scores 0, 0
    assert p.tolist() == [0.5, 0.5]
    assert softmax_jacobian(p).tolist() == [[0.25, -0.25], [-0.25, 0.25]]


def test_naive_overflows_where_stable_does_not() -> None:
    assert softmax_naive(torch.tensor([88.0, 0.0])).isfinite().all()
    assert softmax_naive(torch.tensor([89.0, 0.0])).isnan().any()
    assert softmax_naive(torch.tensor([-104.0, -104.0])).isnan().all()
    assert softmax(torch.tensor([1e4, 1e4])).tolist() == [0.5, 0.5]
    assert softmax(torch.tensor([-1e4, -1e4])).tolist() == [0.5, 0.5]
    far = torch.tensor([200.0, 0.0])
    assert log_softmax_naive(far)[1] == -INF
    assert log_softmax(far)[1] == -200


@pytest.mark.parametrize(
    "row", [[1e4, -1e4, 0.0], [INF, 0.0, 0.0], [-INF, 0.0, 1.0], [-INF, -INF, -INF], [float("nan"), 0.0, 0.0]]
)
def test_extremes_are_as_in_torch(row: list[float]) -> None:
    x = torch.tensor([row])
    torch.testing.assert_close(softmax(x), F.softmax(x, -1), equal_nan=True)
    torch.testing.assert_close(log_softmax(x), F.log_softmax(x, -1), equal_nan=True)


@settings(max_examples=30)
@given(N=st.integers(1, 4), V=st.integers(1, 7), scale=st.floats(0.1, 50), seed=st.integers(0, 2**31))
def test_values_and_products_equal_torch(N: int, V: int, scale: float, seed: int) -> None:
    x, grad = scale * normal(N, V, seed=seed), normal(N, V, seed=seed + 1)
    x.requires_grad_()
    for mine, theirs, vjp in (
        (softmax(x), F.softmax(x, -1), softmax_vjp),
        (log_softmax(x), F.log_softmax(x, -1), log_softmax_vjp),
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
        (reference,) = torch.autograd.grad(theirs, x, grad)
        torch.testing.assert_close(vjp(softmax(x), grad), reference, rtol=1e-9, atol=1e-10)
    p = softmax(x.detach())
    torch.testing.assert_close(p.sum(-1), torch.ones(N, dtype=torch.float64))
    torch.testing.assert_close(softmax(x.detach() + 7), p, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(softmax_naive(x.detach() / scale), softmax(x.detach() / scale))


@settings(max_examples=20)
@given(V=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_jacobian_by_loop_by_formula_and_by_torch(V: int, seed: int) -> None:
    x, grad = normal(2, V, seed=seed)
    p = softmax(x)
    jacobian = softmax_jacobian(p)
    torch.testing.assert_close(jacobian, softmax_jacobian_loop(p), rtol=1e-12, atol=1e-14)
    theirs = torch.autograd.functional.jacobian(lambda s: F.softmax(s, -1), x)
    torch.testing.assert_close(jacobian, theirs, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(jacobian.T @ grad, softmax_vjp(p, grad), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(jacobian.sum(-1), torch.zeros(V, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(torch.linalg.eigvalsh(jacobian)[0]) > -1e-12
    assert float(jacobian.abs().max()) <= 0.25 + 1e-12  # p (1 - p) at most


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignore_index", [-100, 2])
def test_cross_entropy_is_torch_in_value_and_gradient(smoothing: float, reduction: str, ignore_index: int) -> None:
    logits = normal(6, 5).requires_grad_()
    target = torch.tensor([0, 2, 4, 2, 1, 3])
    options: dict[str, Any] = {"ignore_index": ignore_index, "label_smoothing": smoothing, "reduction": reduction}
    mine, theirs = cross_entropy(logits, target, **options), F.cross_entropy(logits, target, **options)
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    (reference,) = torch.autograd.grad(theirs.sum(), logits)
    torch.testing.assert_close(cross_entropy_backward(logits, target, **options), reference, rtol=1e-10, atol=1e-12)
    (by_autograd,) = torch.autograd.grad(mine.sum(), logits)
    torch.testing.assert_close(by_autograd, reference, rtol=1e-10, atol=1e-12)


def test_gradient_is_p_minus_y() -> None:
    logits, target = torch.zeros(1, 4), torch.tensor([2])
    assert cross_entropy_backward(logits, target).tolist() == [[0.25, 0.25, -0.75, 0.25]]
    assert smoothed_targets(target, 4, 0.2)[0].tolist() == pytest.approx([0.05, 0.05, 0.85, 0.05])


def test_rows_without_a_target_and_masked_classes() -> None:
    nothing = torch.full((2,), -100)
    assert cross_entropy(torch.ones(2, 3), nothing).isnan()  # as torch
    assert cross_entropy(torch.ones(2, 3), nothing, reduction="sum") == 0
    assert cross_entropy_backward(torch.ones(2, 3), nothing).tolist() == [[0.0] * 3] * 2
    masked, target = torch.tensor([[0.0, -INF, 0.0]]), torch.tensor([0])
    torch.testing.assert_close(cross_entropy(masked, target), F.cross_entropy(masked, target))
    assert cross_entropy_backward(masked, target)[0].tolist() == [-0.5, 0.0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((torch.ones(2, 3).long(), torch.zeros(2).long()), {}, TypeError, "int64"),
        ((torch.ones(2, 3), torch.zeros(2)), {}, TypeError, "target must be int64"),
        (([[1.0, 2.0]], torch.zeros(1).long()), {}, TypeError, "got list"),
        ((torch.ones(1, 3), [0]), {}, TypeError, "target must be an int64 tensor, got list"),
        ((torch.ones(2, 3), torch.zeros(3).long()), {}, ValueError, r"wanted \[N, V\]"),
        ((torch.ones(2, 3), torch.tensor([0, 3])), {}, ValueError, "0 to 2, got 3"),
        ((torch.ones(2, 3), torch.tensor([0, -1])), {}, ValueError, "got -1"),
        ((torch.ones(2, 3), torch.zeros(2).long()), {"label_smoothing": 1.1}, ValueError, "label_smoothing"),
        ((torch.ones(2, 3), torch.zeros(2).long()), {"reduction": "max"}, ValueError, "reduction"),
        ((torch.ones(2, 3), torch.zeros(2).long()), {"ignore_index": 0.5}, TypeError, "ignore_index"),
    ],
)
def test_refuses_bad_input(arguments: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    for function in (cross_entropy, cross_entropy_backward):
        with pytest.raises(error, match=message):
            function(*arguments, **options)


def test_refuses_shapes_and_integers() -> None:
    with pytest.raises(ValueError, match="a class at least"):
        softmax(torch.ones(2, 0))
    with pytest.raises(TypeError, match="floating-point"):
        log_softmax(torch.ones(2).long())
    with pytest.raises(TypeError, match="got list"):
        softmax([1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"wanted \[V\]"):
        softmax_jacobian_loop(torch.ones(2, 2))
    with pytest.raises(TypeError, match="floating-point"):
        softmax_jacobian_loop(torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="one shape"):
        softmax_vjp(torch.ones(2), torch.ones(3))
