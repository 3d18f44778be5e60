"""Backpropagation by hand: loop = arrays = torch = differences, over sizes; a training step by step; bad input."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd.by_hand import MLP, loss_and_gradients_loop, numeric_gradient, softmax_cross_entropy

SIZES = st.lists(st.integers(1, 6), min_size=2, max_size=5)


def batch(seed: int, B: int, I: int, C: int, dtype: Any = np.float64) -> tuple[Any, Any]:  # noqa: E741
    generator = np.random.default_rng(seed)
    return generator.standard_normal((B, I)).astype(dtype), generator.integers(0, C, B)


def alive(sizes: list[int], seed: int, dtype: Any = np.float64) -> MLP:
    """A network whose biases are not zero, so that a wrong gradient of one shows."""
    model, generator = MLP.initial(sizes, seed=seed, dtype=dtype), np.random.default_rng(seed + 1)
    for bias in model.parameters[1::2]:
        bias += generator.standard_normal(bias.shape).astype(dtype)
    return model


def torch_twin(model: MLP) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for W_IO, b_O in zip(model.parameters[::2], model.parameters[1::2], strict=True):
        linear = torch.nn.Linear(*W_IO.shape, dtype=torch.float64)
        linear.load_state_dict({"weight": torch.from_numpy(W_IO.T.copy()), "bias": torch.from_numpy(b_O.copy())})
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def torch_loss_and_gradients(twin: torch.nn.Sequential, x: Any, labels: Any) -> tuple[float, list[Any]]:
    loss = F.cross_entropy(twin(torch.from_numpy(x)), torch.from_numpy(labels))
    found = torch.autograd.grad(loss, list(twin.parameters()))
    return loss.item(), [g.numpy().T for g in found]


@settings(max_examples=40)
@given(sizes=SIZES, B=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_loop_arrays_and_torch_agree(sizes: list[int], B: int, seed: int) -> None:
    model, (x, labels) = alive(sizes, seed), batch(seed, B, sizes[0], sizes[-1])
    loss, gradients = model.loss_and_gradients(x, labels)
    assert [g.shape for g in gradients] == [p.shape for p in model.parameters]
    for other_loss, others in (
        loss_and_gradients_loop(model, x, labels),
        torch_loss_and_gradients(torch_twin(model), x, labels),
    ):
        assert loss == pytest.approx(other_loss, rel=1e-12, abs=1e-12)
        for a, b in zip(gradients, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@settings(max_examples=20)
@given(sizes=SIZES, B=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_gradients_equal_differences(sizes: list[int], B: int, seed: int) -> None:
    model, (x, labels) = alive(sizes, seed), batch(seed, B, sizes[0], sizes[-1])
    _, kept = model.forward(x)
    before_relu = [k @ W + b for k, W, b in zip(kept, model.parameters[::2], model.parameters[1::2], strict=True)][:-1]
    if any((abs(z) < 1e-4).any() for z in before_relu):  # a difference across the kink says nothing
        return
    _, gradients = model.loss_and_gradients(x, labels)
    for parameter, gradient in zip(model.parameters, gradients, strict=True):
        before = parameter.copy()
        found = numeric_gradient(lambda: model.loss_and_gradients(x, labels)[0], parameter)
        np.testing.assert_allclose(gradient, found, rtol=1e-5, atol=1e-8)
        np.testing.assert_array_equal(parameter, before)


def test_training_equals_torch_step_by_step() -> None:
    model, (x, labels) = alive([8, 16, 12, 5], 0), batch(1, 320, 8, 5)
    twin = torch_twin(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.3)
    losses = []
    for step in range(100):
        rows = slice(32 * (step % 10), 32 * (step % 10) + 32)
        loss, gradients = model.loss_and_gradients(x[rows], labels[rows])
        model.step(gradients, 0.3)
        optimizer.zero_grad()
        theirs = F.cross_entropy(twin(torch.from_numpy(x[rows])), torch.from_numpy(labels[rows]))
        theirs.backward()
        optimizer.step()
        assert loss == pytest.approx(theirs.item(), abs=1e-10)
        losses.append(loss)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    for ours, parameter in zip(model.parameters, twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.T, parameter.detach().numpy(), rtol=1e-9, atol=1e-10)


def test_float32_stays_float32_and_is_as_near_as_its_digits() -> None:
    model, (x, labels) = alive([7, 9, 4], 2, np.float32), batch(3, 5, 7, 4, np.float32)
    _, gradients = model.loss_and_gradients(x, labels)
    model.step(gradients, 0.1)
    assert {a.dtype for a in (*gradients, *model.parameters)} == {np.dtype(np.float32)}
    _, exact = alive([7, 9, 4], 2).loss_and_gradients(x.astype(np.float64), labels)
    for a, b in zip(gradients, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_layer_without_relu_is_linear_and_hidden_ones_are_not() -> None:
    W, b = np.array([[1.0], [-2.0]]), np.array([3.0])
    logits, kept = MLP([W, b]).forward(np.array([[1.0, 10.0]]))
    assert logits.item() == -16.0
    assert len(kept) == 1
    deeper, _ = MLP([W, b, np.array([[5.0]]), np.array([1.0])]).forward(np.array([[1.0, 10.0]]))
    assert deeper.item() == 1.0


def test_cross_entropy_of_numbers_done_on_paper() -> None:
    logits = np.log(np.array([[1.0, 2.0, 5.0]]))
    loss, gradient = softmax_cross_entropy(logits, np.array([1]))
    assert loss == pytest.approx(np.log(4))
    np.testing.assert_allclose(gradient, [[1 / 8, -6 / 8, 5 / 8]], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_large_logits_is_torchs(dtype: Any) -> None:
    logits, labels = np.array([[1000.0, 0.0], [-1000.0, 1000.0]], dtype), np.array([1, 1])
    loss, gradient = softmax_cross_entropy(logits, labels)
    leaf = torch.from_numpy(logits).requires_grad_()
    theirs = F.cross_entropy(leaf, torch.from_numpy(labels))
    theirs.backward()
    assert loss == theirs.item() == 500.0
    np.testing.assert_array_equal(gradient, leaf.grad.numpy())


@settings(max_examples=30)
@given(B=st.integers(1, 5), C=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_the_gradient_of_the_logits_sums_to_zero_and_ignores_a_shift(B: int, C: int, seed: int) -> None:
    logits, labels = batch(seed, B, C, C)
    loss, gradient = softmax_cross_entropy(logits, labels)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)
    shifted_loss, shifted = softmax_cross_entropy(logits + 7.0, labels)
    assert shifted_loss == pytest.approx(loss, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(shifted, gradient, atol=1e-14)


@pytest.mark.parametrize("central", [True, False])
def test_differences_of_a_cubic(central: bool) -> None:
    x = np.array(2.0)
    found = numeric_gradient(lambda: float(x) ** 3, x, step=0.5, central=central)
    assert found == (12.25 if central else 15.25)  # 3 x² + h², 3 x² + 3 x h + h²
    assert x == 2.0


def test_the_initial_weights_are_seeded_and_scaled() -> None:
    model = MLP.initial([500, 400, 3], seed=0)
    assert model.parameters[0].std() == pytest.approx((2 / 500) ** 0.5, rel=0.01)
    assert not model.parameters[1].any()
    for a, b in zip(model.parameters, MLP.initial([500, 400, 3], seed=0).parameters, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (model.parameters[0] != MLP.initial([500, 400, 3], seed=1).parameters[0]).any()


X, Y = batch(0, 4, 3, 2)
GOOD = MLP.initial([3, 5, 2], seed=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MLP([]), ValueError, "a weight .I, O. and a bias"),
        (lambda: MLP([np.ones((2, 2))]), ValueError, "a weight .I, O. and a bias"),
        (lambda: MLP([np.ones(2), np.ones(2)]), ValueError, r"got shapes \[\(2,\), \(2,\)\]"),
        (lambda: MLP([np.ones((2, 3)), np.ones((1, 3))]), ValueError, "each layer must take"),
        (lambda: MLP([np.ones((2, 3)), np.ones(3), np.ones((2, 1)), np.ones(1)]), ValueError, "each layer must take"),
        (lambda: MLP([np.ones((2, 3)), np.ones(3, np.float32)]), ValueError, "of one dtype, got .*float32"),
        (lambda: MLP([np.ones((2, 3), int), np.ones(3)]), TypeError, "parameter 0 must be .* got an array of int64"),
        (lambda: MLP([[[1.0]], [1.0]]), TypeError, "parameter 0 must be .* got list"),
        (lambda: MLP.initial([3], seed=0), ValueError, r"sizes must hold .* got \(3,\)"),
        (lambda: MLP.initial([3, 0], seed=0), ValueError, "sizes must be an integer of at least 1, got 0"),
        (lambda: MLP.initial([3, 2], seed=0, dtype=np.float16), TypeError, "parameter 0 .* float16"),
        (lambda: GOOD.forward(X[:, :2]), ValueError, r"x_BI must be \[B, 3\], got \(4, 2\)"),
        (lambda: GOOD.forward(X[0]), ValueError, r"x_BI must be \[B, 3\], got \(3,\)"),
        (lambda: GOOD.forward(X.astype(np.float32)), TypeError, "x_BI must be float64 .* got float32"),
        (lambda: GOOD.forward(X.tolist()), TypeError, "x_BI must be a numpy array .* got list"),
        (lambda: GOOD.loss_and_gradients(X, Y[:3]), ValueError, r"for each of 4 samples.*\(3,\)"),
        (lambda: GOOD.loss_and_gradients(X[:0], Y[:0]), ValueError, "at least one"),
        (lambda: GOOD.loss_and_gradients(X, Y - 1), ValueError, r"labels_B must lie in 0\.\.1, got -1"),
        (lambda: GOOD.loss_and_gradients(X, Y + 2), ValueError, r"labels_B must lie in 0\.\.1"),
        (lambda: GOOD.loss_and_gradients(X, Y * 1.0), TypeError, "labels_B .* integers, got an array of float64"),
        (lambda: GOOD.loss_and_gradients(X, Y.tolist()), TypeError, "labels_B .* integers, got list"),
        (lambda: softmax_cross_entropy(X[0], Y), ValueError, r"logits_BC must be \[B, C\], got \(3,\)"),
        (lambda: loss_and_gradients_loop(GOOD, X, Y - 1), ValueError, r"labels_B must lie in 0\.\.1, got -1"),
        (lambda: loss_and_gradients_loop(GOOD, X[:, :2], Y), ValueError, r"x_BI must be \[B, 3\]"),
        (lambda: GOOD.step([np.ones((4, 5))], 0.1), ValueError, "gradients must have the shapes"),
        (lambda: GOOD.step([0 * p for p in GOOD.parameters], float("nan")), ValueError, "rate .* nan"),
        (lambda: numeric_gradient(lambda: 0.0, np.ones(2), step=0.0), ValueError, "step must be a positive"),
        (lambda: numeric_gradient(lambda: 0.0, np.ones(2, int)), TypeError, "array must be a numpy array of float32"),
        (lambda: numeric_gradient(lambda: 0.0, np.full(1, 1e9, np.float32)), ValueError, "too small to move"),
    ],
)
def test_refuses_bad_input(call: Any, error: type[Exception], message: str) -> None:
    before = [p.copy() for p in GOOD.parameters]
    with pytest.raises(error, match=message):
        call()
    for now, then in zip(GOOD.parameters, before, strict=True):
        np.testing.assert_array_equal(now, then)
