"""Checks of arguments that many functions share, so that all refuse the same things in the same words.

True and False are no numbers here, although Python counts them among the integers. NumPy's integers and floats are
numbers, as counts from an array or a data frame always are; an array or a tensor of one entry, a Fraction and a Decimal
are none, as what is done with the number may not work with them.
"""

import math
from numbers import Integral, Rational, Real
from typing import TypeGuard

# The answers narrow to int and float: of a NumPy number nothing is asked that these cannot do.


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an integer, Python's or NumPy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is an integer or a float, Python's or NumPy's, and finite."""
    if not is_integer(value) and (not isinstance(value, Real) or isinstance(value, bool | Rational)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def require_count(name: str, value: object, *, least: int = 1) -> None:
    """Refuse what is not an integer of at least ``least``.

    Raises:
        ValueError: it is not; the message names the argument, and what came.
    """
    if not (is_integer(value) and value >= least):
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def require_positive(name: str, value: object) -> None:
    """Refuse what is not a finite number above 0.

    Raises:
        ValueError: it is not; the message names the argument, and what came.
    """
    if not (is_number(value) and value > 0):
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
