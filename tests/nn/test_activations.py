"""Activations: value and derivative by hand = torch in value and gradient, from ordinary numbers to infinities."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.measurements.activation_cost import TORCH
from kb.nn import (
    ACTIVATION_TABLE,
    Activation,
    elu,
    elu_derivative,
    gated_unit_backward,
    geglu,
    glu,
    leaky_relu,
    leaky_relu_derivative,
    operations_per_element,
    reglu,
    steepest_point,
    swiglu,
)

INF = float("inf")
each = pytest.mark.parametrize("activation", ACTIVATION_TABLE.values(), ids=lambda one: one.name)


def of_torch(name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    value = TORCH[name](x)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


@each
def test_value_and_derivative_equal_torch(activation: Activation) -> None:
    x = torch.cat((torch.linspace(-12, 12, 4801, dtype=torch.float64), torch.tensor([1e-9, -1e-9, 0.0])))
    value, derivative = of_torch(activation.name, x)
    # torch's softplus, and Mish's gradient with it, drop exp(-20) above their threshold of 20, which is not reached.
    torch.testing.assert_close(activation.value(x), value, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(activation.derivative(x), derivative, rtol=1e-10, atol=1e-12)
    wide = torch.linspace(-40, 40, 801)
    value, derivative = of_torch(activation.name, wide)
    torch.testing.assert_close(activation.value(wide), value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(activation.derivative(wide), derivative, rtol=1e-5, atol=1e-6)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_out_and_at_infinity_as_in_torch(activation: Activation, dtype: torch.dtype) -> None:
    x = torch.tensor([1e4, -1e4, 1e30, -1e30, INF, -INF, float("nan"), 0.0], dtype=dtype)
    value, derivative = of_torch(activation.name, x)
    torch.testing.assert_close(activation.value(x), value, rtol=1e-6, atol=1e-7, equal_nan=True)
    # Of NaN torch's own derivatives differ between dtypes; where x² overflows, it has NaN for gelu_tanh, we the limit.
    numbers = ~x.isnan() & ~(x.isfinite() & derivative.isnan())
    assert activation.derivative(x)[x.isfinite()].isfinite().all()
    torch.testing.assert_close(
        activation.derivative(x)[numbers], derivative[numbers], rtol=1e-6, atol=1e-7, equal_nan=True
    )


@each
def test_no_derivative_overflows_in_float16(activation: Activation) -> None:
    x = torch.tensor([300.0, -300.0, 1e4, -1e4], dtype=torch.float16)
    _, derivative = of_torch(activation.name, x)
    torch.testing.assert_close(activation.derivative(x), derivative, rtol=1e-3, atol=1e-3)


@each
def test_derivative_is_that_of_the_value(activation: Activation) -> None:
    x = (torch.linspace(-6, 6, 100, dtype=torch.float64) + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(activation.value, x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(activation.value, x)
    (by_autograd,) = torch.autograd.grad(activation.value(x).sum(), x)
    torch.testing.assert_close(activation.derivative(x.detach()), by_autograd, rtol=1e-9, atol=1e-10)


@each
def test_autograd_gives_torchs_derivative_at_zero(activation: Activation) -> None:
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    (by_autograd,) = torch.autograd.grad(activation.value(x).sum(), x)
    torch.testing.assert_close(by_autograd, of_torch(activation.name, x)[1], rtol=1e-12, atol=0)
    rows = torch.func.vmap(torch.func.grad(activation.value))(x.detach())
    torch.testing.assert_close(rows, by_autograd, rtol=1e-12, atol=0)


@each
def test_steepest_is_found_and_never_passed(activation: Activation) -> None:
    at, value = steepest_point(activation.derivative, -40, 40)
    assert value == pytest.approx(activation.steepest, abs=1e-9)
    x = torch.linspace(-60, 60, 20_001, dtype=torch.float64)
    assert float(activation.derivative(x).max()) <= activation.steepest + 1e-9
    if activation.name in ("sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "mish"):
        assert at == pytest.approx(activation.steepest_at, abs=1e-4)


def test_known_numbers() -> None:
    table = ACTIVATION_TABLE
    assert table["sigmoid"].steepest == 0.25
    assert table["gelu"].steepest == pytest.approx(1.1289, abs=1e-4)
    assert table["silu"].steepest == pytest.approx(1.0998, abs=1e-4)
    assert float(table["relu"].derivative(torch.zeros(1))) == 0.0  # by convention, as in torch
    assert float(table["elu"].value(torch.tensor([-1e4]))) == -1.0
    assert float(table["sigmoid"].derivative(torch.tensor([30.0]))) > 0  # σ (1 - σ) would be 0 in float32


@settings(max_examples=20)
@given(slope=st.floats(-1, 1), alpha=st.floats(0.1, 3), seed=st.integers(0, 2**31))
def test_parameters_as_in_torch(slope: float, alpha: float, seed: int) -> None:
    x = torch.randn(20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    for mine, derivative, theirs in (
        (leaky_relu(x, slope), leaky_relu_derivative(x, slope), F.leaky_relu(x, slope)),
        (elu(x, alpha), elu_derivative(x, alpha), F.elu(x, alpha)),
    ):
        torch.testing.assert_close(mine, theirs)
        torch.testing.assert_close(derivative, torch.autograd.grad(theirs.sum(), x)[0])


def test_operations_are_counted_from_a_run() -> None:
    assert operations_per_element(ACTIVATION_TABLE["relu"].value) == {"clamp": 1}
    assert operations_per_element(ACTIVATION_TABLE["sigmoid"].value) == {
        "abs": 1, "add": 1, "div": 1, "exp": 1, "ge": 1, "neg": 1, "where": 1,
    }  # fmt: skip
    cost = {name: sum(operations_per_element(one.value).values()) for name, one in ACTIVATION_TABLE.items()}
    assert cost["relu"] < cost["leaky_relu"] < cost["sigmoid"] < cost["silu"] < cost["mish"]


@pytest.mark.parametrize(
    ("unit", "activation", "theirs"),
    [(glu, "sigmoid", torch.sigmoid), (reglu, "relu", F.relu), (geglu, "gelu", F.gelu), (swiglu, "silu", F.silu)],
)
def test_gated_units_equal_torch_in_value_and_gradients(
    unit: Callable[[Tensor, Tensor], Tensor], activation: str, theirs: Callable[[Tensor], Tensor]
) -> None:
    gate, up, grad = 3 * torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gate.requires_grad_(), up.requires_grad_()
    wanted = theirs(gate) * up
    torch.testing.assert_close(unit(gate, up), wanted)
    mine = gated_unit_backward(ACTIVATION_TABLE[activation], grad, gate.detach(), up.detach())
    for a, b in zip(mine, torch.autograd.grad(wanted, (gate, up), grad), strict=True):
        torch.testing.assert_close(a, b)


def test_glu_is_torch_s_with_the_halves_in_its_order() -> None:
    gate, up = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(glu(gate, up), F.glu(torch.cat((up, gate), -1)))


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="one shape"):
        swiglu(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="grad"):
        gated_unit_backward(ACTIVATION_TABLE["relu"], torch.ones(3), torch.ones(2), torch.ones(2))
    with pytest.raises(TypeError, match="floating"):
        glu(torch.ones(2).long(), torch.ones(2).long())
    with pytest.raises(ValueError, match="low and high"):
        steepest_point(torch.cos, 2, 1)
