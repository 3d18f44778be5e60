"""Layer, batch, group and instance norm: loop = ours = torch in value, every gradient and every buffer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kb.nn as ours
from kb.nn import (
    batch_norm_backward,
    batch_norm_loop,
    group_norm,
    group_norm_backward,
    group_norm_loop,
    layer_norm,
    layer_norm_backward,
    layer_norm_loop,
    normalize,
    normalize_backward_loop,
    normalize_by,
    normalize_loop,
)

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("LayerNorm", (6,), {}, (3, 2, 6)),
    ("LayerNorm", ((2, 6),), {"eps": 0.1}, (3, 2, 6)),
    ("LayerNorm", (6,), {"bias": False}, (6,)),
    ("LayerNorm", (6,), {"elementwise_affine": False}, (4, 6)),
    ("BatchNorm1d", (4,), {}, (5, 4)),
    ("BatchNorm1d", (4,), {"momentum": None}, (3, 4, 2)),
    ("BatchNorm1d", (4,), {"affine": False}, (5, 4)),
    ("BatchNorm2d", (3,), {"momentum": 0.3, "eps": 1e-3}, (2, 3, 4, 2)),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, (2, 3, 4, 2)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4)),
    ("GroupNorm", (2, 6), {}, (3, 6)),
    ("GroupNorm", (1, 6), {"affine": False}, (2, 6, 2, 3)),
    ("InstanceNorm1d", (4,), {}, (3, 4, 5)),
    ("InstanceNorm1d", (4,), {"affine": True}, (4, 5)),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True, "momentum": 0.2}, (2, 3, 4, 2)),
]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def pair(name: str, arguments: tuple[Any, ...], options: dict[str, Any], dtype: torch.dtype) -> list[nn.Module]:
    """Our layer and torch's, with the same random weights, exchanged through their state dictionaries."""
    mine, theirs = (getattr(where, name)(*arguments, **options).to(dtype) for where in (ours, nn))
    with torch.no_grad():
        for i, parameter in enumerate(theirs.parameters()):
            parameter.copy_(1 + normal(*parameter.shape, seed=i))
    mine.load_state_dict(theirs.state_dict())
    assert list(mine.state_dict()) == list(theirs.state_dict())
    return [mine, theirs]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS)
def test_modules_equal_torch(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    layers = pair(name, arguments, options, dtype)
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
    for step, training in enumerate([True, True, False]):
        results = []
        for layer in layers:
            layer.train(training)
            layer.zero_grad()
            x = (3 + 2 * normal(*shape, seed=step, dtype=dtype)).requires_grad_()
            out = layer(x)
            out.backward(normal(*shape, seed=10 + step, dtype=dtype))
            results.append([out, x.grad, *(p.grad for p in layer.parameters()), *layer.buffers()])
        for mine, theirs in zip(*results, strict=True):
            assert mine.dtype == theirs.dtype
            torch.testing.assert_close(mine, theirs, **tolerance)


@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS)
def test_gradients_equal_finite_differences(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    layer = pair(name, arguments, options, torch.float64)[0].eval()
    assert torch.autograd.gradcheck(layer, normal(*shape).requires_grad_(), fast_mode=True)


@settings(max_examples=25)
@given(count=st.integers(2, 8), shift=st.floats(-100, 100), stretch=st.floats(0.5, 100), seed=st.integers(0, 2**31))
def test_loops_and_invariances(count: int, shift: float, stretch: float, seed: int) -> None:
    x, grad = normal(2, count, seed=seed)
    x.requires_grad_()
    loop, fast = normalize_loop(x, 1e-5), normalize(x, (0,), None, None, 1e-5)
    torch.testing.assert_close(loop, fast, rtol=1e-9, atol=1e-9)
    (mine,), (reference,) = torch.autograd.grad(fast, x, grad), torch.autograd.grad(loop, x, grad)
    torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(normalize_backward_loop(grad, x.detach(), 1e-5), mine, rtol=1e-6, atol=1e-8)
    # The mean of x does not matter to the result, so the gradient has none.
    torch.testing.assert_close(normalize(x + shift, (0,), None, None, 1e-5), fast, rtol=1e-6, atol=1e-6)
    assert abs(float(mine.sum())) < 1e-8 * (1 + float(mine.abs().sum()))
    if float(x.detach().var()) > 0.1:  # nor does its scale, but for eps
        stretched = normalize(x * stretch, (0,), None, None, 1e-12)
        torch.testing.assert_close(stretched, normalize(x, (0,), None, None, 1e-12), rtol=1e-6, atol=1e-6)


def test_numbers_by_hand() -> None:
    # Mean 3, variance 4: (1, 5) and (3 - 2, 3 + 2) are one deviation off.
    x = torch.tensor([1.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(normalize(x, (0,), None, None, 1e-30), torch.tensor([-1.0, 1.0], dtype=torch.float64))
    layer = ours.BatchNorm1d(1).double()
    layer(x[:, None])
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert float(layer.running_mean) == pytest.approx(0.1 * 3)
    assert float(layer.running_var) == pytest.approx(0.9 * 1 + 0.1 * 8)  # 8 = 4 · 2 / (2 - 1), unbiased


def test_loops_equal_the_layers() -> None:
    weight, bias = normal(2, 4)
    x_NC, x_NCL = normal(5, 4, seed=1), normal(3, 4, 2, seed=2)
    expected = layer_norm_loop(x_NC[0], weight, bias)
    torch.testing.assert_close(layer_norm(x_NC[0], (4,), weight, bias), expected)
    batch = ours.BatchNorm1d(4).double()
    batch.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    torch.testing.assert_close(batch(x_NC), batch_norm_loop(x_NC, weight, bias))
    torch.testing.assert_close(group_norm(x_NCL, 2, weight, bias), group_norm_loop(x_NCL, 2, weight, bias))


def test_one_group_is_layer_norm_and_one_channel_a_group_is_instance_norm() -> None:
    x = normal(3, 4, 5)
    torch.testing.assert_close(group_norm(x, 1), layer_norm(x, (4, 5)))
    torch.testing.assert_close(group_norm(x, 4), ours.InstanceNorm1d(4)(x))


@pytest.mark.parametrize(
    ("forward", "backward", "shape", "size"),
    [
        (lambda x, w, b: nn.functional.layer_norm(x, (4,), w, b), layer_norm_backward, (3, 4), 4),
        (lambda x, w, b: nn.functional.batch_norm(x, None, None, w, b, True), batch_norm_backward, (3, 4, 2), 4),
        (
            lambda x, w, b: nn.functional.group_norm(x, 2, w, b),
            lambda grad, x, w: group_norm_backward(grad, x, 2, w),
            (3, 4, 2),
            4,
        ),
    ],
)
def test_backward_functions_equal_torch_without_autograd(
    forward: Callable[..., Tensor], backward: Callable[..., Any], shape: tuple[int, ...], size: int
) -> None:
    x, weight, bias = (normal(*s, seed=i).requires_grad_() for i, s in enumerate([shape, (size,), (size,)]))
    grad = normal(*shape, seed=9)
    theirs = torch.autograd.grad(forward(x, weight, bias), (x, weight, bias), grad)
    with torch.no_grad():
        mine = backward(grad, x, weight)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_half_precision_is_normalized_in_float32() -> None:
    x = (300 * normal(2, 8)).half()  # squares overflow float16
    layer, theirs = pair("LayerNorm", (8,), {}, torch.float16)
    torch.testing.assert_close(layer(x), theirs(x), rtol=2e-3, atol=2e-3)


def test_a_second_derivative_is_refused_not_wrong() -> None:
    x = normal(4).requires_grad_()
    (grad,) = torch.autograd.grad(normalize(x, (0,), None, None, 1e-5).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_a_size_may_be_numpy_s() -> None:
    assert ours.LayerNorm(np.int64(3))(normal(3)).shape == (3,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ours.LayerNorm(0), "normalized_shape"),
        (lambda: ours.LayerNorm(()), "normalized_shape"),
        (lambda: ours.BatchNorm1d(0), "num_features"),
        (lambda: ours.BatchNorm1d(2, momentum=1.5), "momentum"),
        (lambda: ours.BatchNorm1d(2, eps=0.0), "eps"),
        (lambda: ours.BatchNorm1d(2, track_running_stats=False).eval()(torch.ones(1, 2)), "2 values"),
        (lambda: ours.GroupNorm(4, 6), "num_groups must divide"),
        (lambda: ours.GroupNorm(0, 6), "num_groups"),
        (lambda: ours.LayerNorm(4)(torch.ones(2, 3)), "wanted"),
        (lambda: layer_norm(torch.ones(2, 3), (3,), torch.ones(2)), "weight"),
        (lambda: ours.BatchNorm1d(4)(torch.ones(4)), r"\[N, C\] or \[N, C, L\]"),
        (lambda: ours.BatchNorm1d(4)(torch.ones(1, 4)), "2 values"),
        (lambda: ours.BatchNorm2d(4)(torch.ones(1, 4, 1, 1)), "2 values"),
        (lambda: ours.BatchNorm2d(4)(torch.ones(2, 4)), r"\[N, C, H, W\]"),
        (lambda: ours.GroupNorm(2, 4)(torch.ones(2, 6)), "wanted"),
        (lambda: group_norm(torch.ones(2, 6), 2, torch.ones(2)), "weight"),
        (lambda: group_norm(torch.ones(2, 5), 2), "divide"),
        (lambda: ours.InstanceNorm1d(4)(torch.ones(2, 4, 1)), "2 places"),
        (lambda: ours.InstanceNorm2d(4)(torch.ones(2, 3, 2, 2)), "wanted"),
        (lambda: normalize(torch.ones(2), (0,), None, None, 0.0), "eps"),
        (lambda: normalize(torch.ones(2), (0,), None, torch.ones(2), 1.0), "bias without weight"),
        (lambda: normalize_by(torch.ones(2), torch.ones(1), torch.ones(1), None, None, float("nan")), "eps"),
    ],
)
def test_refuses_bad_input(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer", [ours.LayerNorm(2), ours.BatchNorm1d(2), ours.GroupNorm(1, 2)])
def test_refuses_integers(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match="int64"):
        layer(torch.ones(2, 2, dtype=torch.int64))
