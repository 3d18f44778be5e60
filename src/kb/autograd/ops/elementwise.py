"""Operations that work on each number by itself, with their gradient rules.

A rule gets g, the gradient of the result, and what it names; it holds for plain arrays and for variables, since it is
written in operators and in the operations of this package. Where a function has a kink, the gradient there is the one
that torch gives. Integers come out as float32 where the function is not one of integers, as in torch.

Source: any table of derivatives; conventions at kinks and at infinity, torch's ``derivatives.yaml``.
"""

import math

from kb.autograd import backend
from kb.autograd.backend import Array, Namespace, floating
from kb.autograd.ops import comparing
from kb.autograd.tape import Op


def _float(value: Array) -> Array:
    return value if isinstance(value, int | float) else floating(value)


def _divide(xp: Namespace, a: Array, b: Array) -> Array:
    return _float(a) / _float(b)


def _both(xp: Namespace, a: Array, b: Array) -> tuple[Array, Array]:
    """Two arrays, where one of them may have come as a number; beside a fraction, integers become floating."""
    if isinstance(a, int | float):
        b = floating(b) if isinstance(a, float) else b
        return xp.asarray(a, dtype=b.dtype, device=backend.device(b)), b
    if isinstance(b, int | float):
        a = floating(a) if isinstance(b, float) else a
        return a, xp.asarray(b, dtype=a.dtype, device=backend.device(a))
    return a, b


def _truth(xp: Namespace, condition: Array) -> Array:
    if not isinstance(condition, bool) and not xp.isdtype(condition.dtype, "bool"):
        raise TypeError(f"a condition must be boolean, got {condition.dtype}")
    return condition


# The number where ``keep`` is true, else 0, whatever the number was.
gate: Op = Op("gate", backend.keep_where, a=lambda g, keep: gate(g, keep))
where: Op = Op(
    "where",
    lambda xp, condition, a, b: xp.where(_truth(xp, condition), a, b),
    a=lambda g, condition: gate(g, condition),
    b=lambda g, condition: gate(g, comparing.logical_not(condition)),
)

add: Op = Op("add", lambda a, b: a + b, a=lambda g: g, b=lambda g: g)
subtract: Op = Op("sub", lambda a, b: a - b, a=lambda g: g, b=lambda g: -g)
multiply: Op = Op("mul", lambda a, b: a * b, a=lambda g, b: g * b, b=lambda g, a: g * a)
divide: Op = Op("div", _divide, a=lambda g, b: g / b, b=lambda g, a, b: -g * (a / b / b))  # b * b could overflow
negative: Op = Op("neg", lambda a: -a, a=lambda g: -g)


def _sign(xp: Namespace, a: Array) -> Array:
    return xp.astype(a > 0, a.dtype) - xp.astype(a < 0, a.dtype)  # 0 of NaN, as torch


def _power_by_base(g: Array, a: Array, b: Array) -> Array:
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b != 0 else g * 0.0
    return where(b == 0, 0.0, g * b * a ** (b - 1))


def _power_by_exponent(g: Array, out: Array, a: Array, b: Array) -> Array:
    if not isinstance(a, int | float):
        return where((a == 0) & (b >= 0), 0.0, g * out * log(a))
    if a > 0:
        return g * out * math.log(a)
    return where(b >= 0, 0.0, g * out * -math.inf) if a == 0 else g * out * math.nan


power: Op = Op("pow", lambda a, b: a**b, a=_power_by_base, b=_power_by_exponent)

exp: Op = Op("exp", lambda xp, a: xp.exp(floating(a)), a=lambda g, out: g * out)
expm1: Op = Op("expm1", lambda xp, a: xp.expm1(floating(a)), a=lambda g, out: g * (out + 1.0))
log: Op = Op("log", lambda xp, a: xp.log(floating(a)), a=lambda g, a: g / a)
log1p: Op = Op("log1p", lambda xp, a: xp.log1p(floating(a)), a=lambda g, a: g / (a + 1.0))
sqrt: Op = Op("sqrt", lambda xp, a: xp.sqrt(floating(a)), a=lambda g, out: g / (out * 2.0))
# The square root of what is a sum of squares: of no length, torch takes the gradient to be 0, not infinite.
root: Op = Op("root", lambda xp, a: xp.sqrt(a), a=lambda g, out: g / (where(out == 0, math.inf, out) * 2.0))
rsqrt: Op = Op("rsqrt", lambda xp, a: 1.0 / xp.sqrt(floating(a)), a=lambda g, out: g * out * out * out * -0.5)
sin: Op = Op("sin", lambda xp, a: xp.sin(floating(a)), a=lambda g, a: g * cos(a))
cos: Op = Op("cos", lambda xp, a: xp.cos(floating(a)), a=lambda g, a: -g * sin(a))
tan: Op = Op("tan", lambda xp, a: xp.tan(floating(a)), a=lambda g, out: g * (out * out + 1.0))
tanh: Op = Op("tanh", lambda xp, a: xp.tanh(floating(a)), a=lambda g, out: g * (1.0 - out * out))
erf: Op = Op("erf", lambda a: backend.erf(floating(a)), a=lambda g, a: g * exp(-a * a) * (2 / math.sqrt(math.pi)))
absolute: Op = Op("abs", lambda xp, a: xp.abs(a), a=lambda g, a: g * sign(a))
# Flat but for their steps: the gradient is zero whatever comes, as in torch.
_zeros: Op = Op("zeros_like", lambda xp, a: xp.zeros_like(a))
sign: Op = Op("sign", _sign, a=lambda g: _zeros(g))
floor: Op = Op("floor", lambda xp, a: xp.floor(a), a=lambda g: _zeros(g))
ceil: Op = Op("ceil", lambda xp, a: xp.ceil(a), a=lambda g: _zeros(g))
round: Op = Op("round", lambda xp, a: xp.round(a), a=lambda g: _zeros(g))  # noqa: A001 - torch's name


def _sigmoid(xp: Namespace, a: Array) -> Array:
    a = floating(a)
    small = xp.exp(-xp.abs(a))  # at most 1, so that nothing overflows on either side of 0
    return xp.where(a >= 0, 1.0, small) / (small + 1.0)


def _softplus(xp: Namespace, a: Array) -> Array:
    a = floating(a)
    return xp.maximum(a, 0.0) + xp.log1p(xp.exp(-xp.abs(a)))


sigmoid: Op = Op("sigmoid", _sigmoid, a=lambda g, out: g * out * (1.0 - out))
softplus: Op = Op("softplus", _softplus, a=lambda g, a: g * sigmoid(a))
relu: Op = Op(
    "relu",
    lambda xp, a: xp.maximum(a, 0),
    a=lambda g, out: gate(g, ~(out <= 0)),  # so that NaN passes on what it got
)

# Where both are equal, each gets half of the gradient.
maximum: Op = Op(
    "maximum",
    lambda xp, a, b: xp.maximum(*_both(xp, a, b)),
    a=lambda g, a, b: where(a == b, g * 0.5, where(a < b, 0.0, g)),
    b=lambda g, a, b: where(a == b, g * 0.5, where(a > b, 0.0, g)),
)
minimum: Op = Op(
    "minimum",
    lambda xp, a, b: xp.minimum(*_both(xp, a, b)),
    a=lambda g, a, b: where(a == b, g * 0.5, where(a > b, 0.0, g)),
    b=lambda g, a, b: where(a == b, g * 0.5, where(a < b, 0.0, g)),
)


def _clamp(xp: Namespace, a: Array, *, min: float | None, max: float | None) -> Array:  # noqa: A002 - torch's names
    return xp.clip(floating(a) if isinstance(min, float) or isinstance(max, float) else a, min, max)


def _clamp_rule(g: Array, a: Array, min: float | None, max: float | None) -> Array:  # noqa: A002
    # Written so that NaN stops the gradient, as in torch.
    if min is not None:
        g = gate(g, a >= min)
    return g if max is None else gate(g, a <= max)


clamp: Op = Op("clamp", _clamp, a=_clamp_rule)
