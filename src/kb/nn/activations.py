"""Activation functions with their derivatives, by hand: built of exponentials, so that what they cost can be counted.

Unusual: no exponential of a positive number is taken, so that nothing overflows at ±10,000. At ±infinity each function
and derivative is what torch gives, which for x · σ(x) and its kin is NaN where 0 meets infinity. The error
function is torch's. Each derivative is a function of x alone; at a kink it has torch's value (0 at 0 for ReLU). Where
a function is built of parts that have a kink at 0, such as |x|, autograd is given its derivative.

Sources: Hendrycks and Gimpel 2016 (GELU, section 2, and its tanh form); Elfwing, Uchibe and Doya 2018 (SiLU); Clevert,
Unterthiner and Hochreiter 2016 (ELU); Maas, Hannun and Ng 2013 (leaky ReLU); Dugas et al. 2001 (softplus); Misra 2019
(Mish).
Shapes: any, elementwise.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kb.arguments import is_number

Elementwise = Callable[[Tensor], Tensor]

_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBE = 0.044715


@dataclass(frozen=True)
class Activation:
    """A function and its derivative; ``steepest`` is the largest derivative, at ``steepest_at``.

    Where the derivative only approaches it, ``steepest_at`` is infinite; where it holds from a point on, that point's
    right side. A chain of layers multiplies these derivatives, so below 1 the gradient can only shrink.
    """

    name: str
    value: Elementwise
    derivative: Elementwise
    steepest: float
    steepest_at: float


class _Known(torch.autograd.Function):
    """A function whose derivative is given, not found through the steps that compute it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, value: Elementwise, derivative: Elementwise) -> Tensor:
        return value(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Elementwise, Elementwise], output: Tensor) -> None:
        x, _, ctx.derivative = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return upstream * ctx.derivative(x), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return tangent * ctx.derivative(x)


def _with_derivative(derivative: Elementwise) -> Callable[[Elementwise], Elementwise]:
    def known(value: Elementwise) -> Elementwise:
        @wraps(value)
        def function(x: Tensor) -> Tensor:
            out: Tensor = _Known.apply(x, value, derivative)
            return out

        return function

    return known


def sigmoid_derivative(x: Tensor) -> Tensor:
    """σ (1 - σ), as exp(-|x|) / (1 + exp(-|x|))²: 1 - σ itself would be rounded to 0 from 17 on in float32."""
    power = torch.exp(-x.abs())
    return power / (1 + power).square()


@_with_derivative(sigmoid_derivative)
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), from exp(-|x|), which cannot overflow."""
    power = torch.exp(-x.abs())
    return torch.where(x >= 0, 1, power) / (1 + power)


def tanh_derivative(x: Tensor) -> Tensor:
    """1 - tanh², which is four times the sigmoid's derivative at 2x."""
    return 4 * sigmoid_derivative(2 * x)


@_with_derivative(tanh_derivative)
def tanh(x: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)), from exp(-2|x|) - 1, which keeps its digits near 0."""
    below = torch.expm1(-2 * x.abs())
    return torch.copysign(-below / (below + 2), x)


def relu_derivative(x: Tensor) -> Tensor:
    """1 above 0, 0 elsewhere."""
    return (x > 0).to(x.dtype)


@_with_derivative(relu_derivative)
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return x.clamp(min=0)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """X above 0, ``negative_slope`` x elsewhere."""
    return torch.where(x > 0, x, negative_slope * x)


def leaky_relu_derivative(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """1 above 0, ``negative_slope`` elsewhere."""
    return torch.where(x > 0, torch.ones_like(x), negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """X above 0, alpha (exp(x) - 1) elsewhere."""
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def elu_derivative(x: Tensor, alpha: float = 1.0) -> Tensor:
    """1 above 0, alpha exp(x) elsewhere."""
    return torch.where(x > 0, 1, alpha * torch.exp(x.clamp(max=0)))


def gelu(x: Tensor) -> Tensor:
    """X Φ(x), where Φ is the chance that a standard normal number is below x."""
    return x * _normal_below(x)


def gelu_derivative(x: Tensor) -> Tensor:
    """Φ(x) + x φ(x), where φ is the normal density."""
    return _normal_below(x) + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def gelu_tanh(x: Tensor) -> Tensor:
    """X (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2: GPT-2's approximation of GELU."""
    return 0.5 * x * (1 + tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x)))


def gelu_tanh_derivative(x: Tensor) -> Tensor:
    """(1 + tanh u) / 2 + x (1 - tanh² u) u' / 2, with u the argument of the tanh."""
    inner = _TANH_SCALE * (x + _TANH_CUBE * x * x * x)
    slope = _TANH_SCALE * (1 + 3 * _TANH_CUBE * x * x)
    slope = slope.clamp(max=torch.finfo(slope.dtype).max)  # x² overflows where tanh' is 0: 0, and not 0 · inf
    return 0.5 * (1 + tanh(inner)) + 0.5 * x * tanh_derivative(inner) * slope


def silu(x: Tensor) -> Tensor:
    """X σ(x), also named swish."""
    return x * sigmoid(x)


def silu_derivative(x: Tensor) -> Tensor:
    """σ + x σ (1 - σ)."""
    return sigmoid(x) + x * sigmoid_derivative(x)


def softplus_derivative(x: Tensor) -> Tensor:
    """The sigmoid."""
    return sigmoid(x)


@_with_derivative(softplus_derivative)
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)).

    torch returns x itself above its threshold of 20, which is off by exp(-20) = 2e-9 at most.
    """
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


def mish(x: Tensor) -> Tensor:
    """X tanh(softplus(x))."""
    return x * tanh(softplus(x))


def mish_derivative(x: Tensor) -> Tensor:
    """tanh(s) + x (1 - tanh²(s)) σ(x), with s the softplus."""
    plus = softplus(x)
    return tanh(plus) + x * tanh_derivative(plus) * sigmoid(x)


def _normal_below(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))


# Maxima to 10 digits, found by steepest_point in float64; those of a closed form are written as it.
ACTIVATION_TABLE: Mapping[str, Activation] = MappingProxyType(
    {
        one.name: one
        for one in (
            Activation("sigmoid", sigmoid, sigmoid_derivative, 0.25, 0.0),
            Activation("tanh", tanh, tanh_derivative, 1.0, 0.0),
            Activation("relu", relu, relu_derivative, 1.0, 0.0),
            Activation("leaky_relu", leaky_relu, leaky_relu_derivative, 1.0, 0.0),
            Activation("elu", elu, elu_derivative, 1.0, 0.0),
            Activation(
                "gelu",
                gelu,
                gelu_derivative,
                0.5 * (1 + math.erf(1.0)) + math.exp(-1.0) / math.sqrt(math.pi),
                math.sqrt(2),
            ),
            Activation("gelu_tanh", gelu_tanh, gelu_tanh_derivative, 1.1289930687, 1.418504),
            Activation("silu", silu, silu_derivative, 1.0998393201, 2.399357),
            Activation("softplus", softplus, softplus_derivative, 1.0, math.inf),
            Activation("mish", mish, mish_derivative, 1.0884981613, 1.490571),
        )
    }
)


def steepest_point(derivative: Elementwise, low: float = -10.0, high: float = 10.0) -> tuple[float, float]:
    """Where a derivative is largest in an interval, and how large: a fine grid, then finer around its best point.

    Args:
        derivative: Elementwise, on float64.
        low: Where the interval begins.
        high: Where it ends, above ``low``.

    Raises:
        ValueError: the bounds are not finite numbers, the first below the second.
    """
    if not (is_number(low) and is_number(high) and low < high):
        raise ValueError(f"low and high must be finite numbers, the first below the second, got {low!r}, {high!r}")
    at, value = low, -math.inf
    for _ in range(6):
        grid = torch.linspace(low, high, 4001, dtype=torch.float64)
        slopes = derivative(grid)
        best = int(slopes.argmax())
        at, value = float(grid[best]), float(slopes[best])
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    return at, value


def operations_per_element(function: Elementwise) -> dict[str, int]:
    """How often a function runs each elementwise operation of torch: its cost per element where nothing is fused.

    Counted from a run, by name without a trailing underscore; copies and conversions are among them.
    """
    x = torch.ones(4)
    with _Counting() as counted:
        function(x)
    return dict(sorted(counted.names.items()))


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dim():  # scalars are made once, not for each element
            self.names[func.overloadpacket.__name__.rstrip("_")] += 1
        return out
