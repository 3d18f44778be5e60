"""Checks of options that the optimizers share, so that all refuse the same things in the same words."""

import math

from kb.arguments import is_number


def require_number(name: str, value: object, *, least: float = 0.0, below: float = math.inf) -> None:
    """Refuse what is not a finite number in [least, below).

    Raises:
        ValueError: it is not; the message names the option, and what came.
    """
    if not (isinstance(value, int | float) and is_number(value) and least <= value < below):
        bound = "" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{name} must be a number of at least {least:g}{bound}, got {value!r}")


def require_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ValueError: it is not; the message names the option, and what came.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def require_numbers(
    name: str, values: object, count: int, *, least: float = -math.inf, below: float = math.inf
) -> None:
    """Refuse what is not a tuple (or list) of ``count`` numbers in [least, below).

    Raises:
        ValueError: it is not; the message names the option, and what came.
    """
    if not (isinstance(values, tuple | list) and len(values) == count):
        raise ValueError(f"{name} must be {count} numbers, got {values!r}")
    for place, value in enumerate(values):
        require_number(f"{name}[{place}]", value, least=least, below=below)
