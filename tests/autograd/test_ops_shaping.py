"""Shapes, joins, cuts and conversions, by the names that torch's tensors give them; and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import Tensor, grad, ops

X = np.random.default_rng(0).normal(size=(2, 3, 4))

SAME_WORDS = """
x[0].T | x.mT | x.reshape(6, 4) | x.reshape((4, -1)) | x.reshape([24]) | x.reshape(-1)
x.view(3, 8) | x.view(-1, 2) | x.flatten() | x.flatten(1) | x.flatten(0, 1) | x.flatten(-2) | x.sum().flatten()
x.unflatten(2, (2, 2)) | x.unflatten(-1, (-1, 2)) | x[:, :1].squeeze() | x[:, :1].squeeze(1) | x.squeeze(1)
x[:1, :1].squeeze(-3) | x.unsqueeze(0) | x.unsqueeze(-1) | x.unsqueeze(2) | x.transpose(0, 2)
x.transpose(-1, 1) | x.permute(2, 0, 1) | x.permute((1, 0, 2)) | x.permute(-1, 0, 1) | x[:, :1].expand(2, 5, 4)
x[:, :1].expand(3, 2, 5, 4) | x[:, :1].expand(-1, 7, -1) | x.expand(2, 3, 4) | x.flip(0) | x.flip(0, 2)
x.flip((1,)) | x.flip([-1]) | x.split(2, 2)[1] | x.split(3, 1)[0] | x.split(2, -1)[0] | x.chunk(2)[1]
x.chunk(2, 1)[1] | x.chunk(5, 2)[3] | x.clone() | x.double() | x.permute(0, 2, 1).reshape(4, 6)
"""


@pytest.mark.parametrize("text", SAME_WORDS.strip().replace("\n", " | ").split(" | "))
def test_the_same_words_mean_what_they_mean_in_torch(against_torch: Any, text: str) -> None:
    def function(x: Any) -> Any:
        return eval(text, {"x": x})

    against_torch.same(function, function, X)


def test_transposed_is_all_axes_in_reverse(against_torch: Any) -> None:
    against_torch.same(lambda x: x.T, lambda x: x.permute(2, 1, 0), X)  # torch warns of its own here


@settings(max_examples=30)
@given(data=st.data())
def test_parts_joined_again_are_the_whole(against_torch: Any, data: Any) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size, count = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    x = against_torch.draw(data, shape)
    against_torch.same(lambda x: ops.concat(x.split(size, axis), axis), lambda x: x * 1.0, x)
    against_torch.same(lambda x: ops.concat(x.chunk(count, axis), axis), lambda x: x * 1.0, x)
    sizes = [part.shape for part in torch.tensor(x).split(size, axis)]
    assert [part.shape for part in against_torch.tensor(x).split(size, axis)] == sizes
    if shape[axis]:
        sizes = [part.shape for part in torch.tensor(x).chunk(count, axis)]
        assert [part.shape for part in against_torch.tensor(x).chunk(count, axis)] == sizes


@settings(max_examples=20)
@given(data=st.data())
def test_stack_and_pad(against_torch: Any, data: Any) -> None:
    shape = data.draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    parts = [against_torch.draw(data, shape) for _ in range(data.draw(st.integers(1, 3)))]
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    against_torch.same(lambda *x: ops.stack(x, axis), lambda *x: torch.stack(x, axis), *parts)
    widths = [data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in shape]
    flat = [size for pair in reversed(widths) for size in pair]
    value = data.draw(st.sampled_from([0.0, 1.5, -np.inf]))
    against_torch.same(
        lambda x: ops.pad(x, widths, value), lambda x: torch.nn.functional.pad(x, flat, value=value) * 1.0, parts[0]
    )


def test_the_same_tensor_several_times_in_a_join(against_torch: Any) -> None:
    against_torch.same(lambda x: ops.concat([x, x, x * 2.0], 1), lambda x: torch.cat([x, x, x * 2.0], 1), X)
    against_torch.same(lambda x: ops.stack([x, x]), lambda x: torch.stack([x, x]), X)


def test_a_join_with_a_constant(against_torch: Any) -> None:
    fixed, other = against_torch.array(X), torch.tensor(X)
    against_torch.same(lambda x: ops.concat([fixed, x, fixed]), lambda x: torch.cat([other, x, other]), X)


@pytest.mark.parametrize("steps", [(slice(None, None, -1),), (slice(None), slice(None, None, -2)), (slice(3, 0, -1),)])
def test_negative_steps_where_the_library_has_them(steps: tuple[slice, ...]) -> None:
    weights = np.random.default_rng(1).normal(size=X[steps].shape)
    x = Tensor(X.copy(), requires_grad=True)
    (x[steps] * weights).sum().backward()
    expected = np.zeros_like(X)
    expected[steps] = weights
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    backwards = Tensor(X[::-1, :, ::-1], requires_grad=True)
    (backwards.exp().reshape(24)[::-1] ** 2).sum().backward()
    np.testing.assert_allclose(backwards.grad.numpy(), 2 * np.exp(2 * X[::-1, :, ::-1]), 1e-12)


WRONG = """
x.reshape(5, 5) | x.reshape(-1, -1) | x.reshape(-1, 5) | x.reshape(-2, 12) | x[:0].reshape(-1, 0)
x.flatten(2, 1) | x.flatten(3) | x.unflatten(0, (3, 1)) | x.squeeze(3) | x.unsqueeze(5) | x.transpose(0, 3)
x.permute(0, 1) | x.permute(0, 0, 1) | x.permute(0, 1, 3) | x.expand(4) | x.flip(3) | x.split(0) | x.split(1.5)
x.chunk(0) | x.split(1, 4) | ops.concat([]) | ops.stack([]) | ops.concat([x, x[0]]) | ops.concat([x, x[:, :1]])
ops.concat([x], 3) | ops.stack([x, x[:1]]) | ops.pad(x, [(1, 1)]) | ops.pad(x, [(1, -1), (0, 0), (0, 0)])
x.to('jax') | x.T.reshape(7)
"""


@pytest.mark.parametrize("text", WRONG.strip().replace("\n", " | ").split(" | "))
def test_what_does_not_fit_is_a_value_error(against_torch: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        eval(text, {"x": against_torch.tensor(X), "ops": ops})


def test_sizes_that_cannot_be_expanded_are_refused(against_torch: Any) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        against_torch.tensor(X).expand(2, 5, 4)


@pytest.mark.parametrize("name", ["float", "double"])
def test_another_precision_and_the_gradient_in_the_first_one(against_torch: Any, name: str) -> None:
    for start in (np.float32, np.float64):
        values = np.array([0.1, 1.7], start)
        against_torch.same(
            lambda x: getattr(x, name)() * 3.0, lambda x: getattr(x, name)() * 3.0, values, second=False, close=1e-6
        )


def test_conversion_to_integers_ends_the_tape(against_torch: Any) -> None:
    x = against_torch.tensor([1.7, -1.7], requires_grad=True)
    assert x.long().tolist() == [1, -1]
    assert not x.long().requires_grad
    assert not x.to(dtype=x.long().dtype).requires_grad


def test_from_library_to_library_and_the_gradients_back() -> None:
    x = Tensor(X.copy(), requires_grad=True)
    there = x.to("torch")
    assert isinstance(there.data, torch.Tensor)
    back = (there.exp()).to("numpy")
    assert isinstance(back.data, np.ndarray)
    (first,) = grad((back * back).sum(), x, create_graph=True)
    assert isinstance(first.data, np.ndarray)
    np.testing.assert_allclose(first.data, 2 * np.exp(2 * X), 1e-12)
    np.testing.assert_allclose(grad(first.sum(), x)[0].data, 4 * np.exp(2 * X), 1e-12)
    there.data[0] = 0.0
    assert x.tolist() == X.tolist(), "memory is not shared between libraries"
    assert x.to("numpy", dtype=np.float32).dtype == np.float32
