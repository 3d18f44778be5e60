"""Checks that the dataclasses of request parameters share.

Unusual: a parameter that vLLM has and this package does not is a field all the same, marked as absent; it refuses all
but its default with a sentence that says so, where an unexpected keyword would only be unexpected.
"""

from collections.abc import Sequence
from dataclasses import field, fields
from typing import Any

from kb.arguments import is_number


def absent(default: Any) -> Any:
    """A field of a dataclass that vLLM has and this package does not."""
    return field(default=default, repr=False, metadata={"absent": True})


def refuse_absent(params: object) -> None:
    """Refuse anything but the default in a field that is not implemented.

    Raises:
        ValueError: there is something else.
    """
    for one in fields(params):  # type: ignore[arg-type]
        value = getattr(params, one.name)
        if one.metadata.get("absent") and (type(value) is not type(one.default) or value != one.default):
            raise ValueError(
                f"{one.name} is a parameter of vLLM that kb.serving does not have; leave it at {one.default!r}, "
                f"got {value!r}"
            )


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    """Refuse a value that is not as wanted.

    Raises:
        ValueError: it does not hold; the message names the argument, and what came.
    """
    if not holds:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def require_types(params: object, numbers: Sequence[str], flags: Sequence[str]) -> None:
    """Refuse what is no finite number or no bool, before anything is compared.

    Raises:
        TypeError: another type.
        ValueError: NaN or infinity.
    """
    for name in numbers:
        value = getattr(params, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, got {value!r}")
        require(is_number(value), name, value, "a finite number")
    for name in flags:
        if not isinstance(getattr(params, name), bool):
            raise TypeError(f"{name} must be True or False, got {getattr(params, name)!r}")


def listed(name: str, value: object, kind: type) -> tuple[Any, ...]:
    """A list without what comes again, as a tuple; None is an empty one.

    Raises:
        TypeError: it is no list, or one of something else.
        ValueError: it holds an empty string.
    """
    if value is None:
        return ()
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | set | frozenset):
        raise TypeError(f"{name} must be a list, got {value!r}")
    for one in value:
        if not isinstance(one, kind) or isinstance(one, bool):
            raise TypeError(f"{name} must hold {kind.__name__}s, got {one!r}")
        require(one != "", name, list(value), "without an empty string")
    return tuple(dict.fromkeys(value))
