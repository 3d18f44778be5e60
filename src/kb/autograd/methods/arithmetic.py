"""Operators and functions of each number, as methods of a tensor."""

from typing import Any

from kb.autograd import ops
from kb.autograd.tape import Variable


class ArithmeticMethods(Variable):
    """Operators, comparisons and elementwise functions."""

    __slots__ = ()
    __hash__ = object.__hash__  # by identity, since == compares number by number

    def __add__(self, other: Any) -> Any:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return ops.subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return ops.subtract(other, self)

    def __mul__(self, other: Any) -> Any:
        return ops.multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return ops.multiply(other, self)

    def __truediv__(self, other: Any) -> Any:
        return ops.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return ops.divide(other, self)

    def __pow__(self, other: Any) -> Any:
        return ops.power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return ops.power(other, self)

    def __matmul__(self, other: Any) -> Any:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return ops.matmul(other, self)

    def __neg__(self) -> Any:
        return ops.negative(self)

    def __abs__(self) -> Any:
        return ops.absolute(self)

    def __invert__(self) -> Any:
        return ops.logical_not(self)

    def __eq__(self, other: object) -> Any:
        return ops.equal(self, other)

    def __ne__(self, other: object) -> Any:
        return ops.not_equal(self, other)

    def __lt__(self, other: Any) -> Any:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Any:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return ops.greater_equal(self, other)

    def __and__(self, other: Any) -> Any:
        return ops.both(self, other)

    def __or__(self, other: Any) -> Any:
        return ops.either(self, other)

    def exp(self) -> Any:
        """E to the power of each number."""
        return ops.exp(self)

    def log(self) -> Any:
        """The natural logarithm of each number."""
        return ops.log(self)

    def log1p(self) -> Any:
        """log(1 + x), exact for small x."""
        return ops.log1p(self)

    def expm1(self) -> Any:
        """exp(x) - 1, exact for small x."""
        return ops.expm1(self)

    def sqrt(self) -> Any:
        """The square root of each number."""
        return ops.sqrt(self)

    def rsqrt(self) -> Any:
        """One over the square root of each number."""
        return ops.rsqrt(self)

    def sin(self) -> Any:
        """The sine of each number, in radians."""
        return ops.sin(self)

    def cos(self) -> Any:
        """The cosine of each number, in radians."""
        return ops.cos(self)

    def tanh(self) -> Any:
        """The hyperbolic tangent of each number."""
        return ops.tanh(self)

    def sigmoid(self) -> Any:
        """1 / (1 + exp(-x))."""
        return ops.sigmoid(self)

    def relu(self) -> Any:
        """The number, or 0 where it is negative."""
        return ops.relu(self)

    def erf(self) -> Any:
        """The error function of each number."""
        return ops.erf(self)

    def abs(self) -> Any:
        """The size of each number."""
        return ops.absolute(self)

    def sign(self) -> Any:
        """-1, 0 or 1."""
        return ops.sign(self)

    def floor(self) -> Any:
        """The next integer below."""
        return ops.floor(self)

    def round(self) -> Any:
        """The nearest integer, the even one of two."""
        return ops.round(self)

    def neg(self) -> Any:
        """Each number with its sign changed."""
        return ops.negative(self)

    def square(self) -> Any:
        """Each number times itself."""
        return ops.multiply(self, self)

    def pow(self, exponent: Any) -> Any:
        """Each number to the power of ``exponent``."""
        return ops.power(self, exponent)

    def clamp(self, min: float | None = None, max: float | None = None) -> Any:  # noqa: A002 - torch's names
        """Each number, or the bound that it is beyond."""
        for name, bound in (("min", min), ("max", max)):
            if bound is not None and not isinstance(bound, int | float):
                raise TypeError(
                    f"{name} must be a number, got {type(bound).__name__}; tensors: maximum() and minimum()"
                )
        if min is None and max is None:
            raise ValueError("clamp needs min, max or both")
        return ops.clamp(self, min=min, max=max)

    def masked_fill(self, mask: Any, value: float) -> Any:
        """``value`` where the mask is True."""
        return ops.where(mask, value, self)
