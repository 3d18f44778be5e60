"""Checks of arguments that many functions share, so that all refuse the same things in the same words.

True and False are no numbers here, although Python counts them among the integers.
"""

import math


def is_integer(value: object) -> bool:
    """Whether a value is an integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a value is an integer or a float, and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
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
    if not (isinstance(value, int) and is_integer(value) and value >= least):
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
