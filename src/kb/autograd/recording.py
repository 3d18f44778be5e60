"""Whether operations are remembered, and the contexts that say so, under torch's names."""

from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from typing import Any

IS_RECORDING = ContextVar("is_recording", default=True)


class set_grad_enabled(ContextDecorator):  # noqa: N801 - torch's name
    """Within it, or within a function that it decorates, operations are remembered or not."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(IS_RECORDING.set(self._enabled))

    def __exit__(self, *raised: object) -> None:
        IS_RECORDING.reset(self._tokens.pop())

    def _recreate_cm(self) -> "set_grad_enabled":
        return set_grad_enabled(self._enabled)  # each call of the function its own: it may run in several threads


def no_grad() -> Any:
    """A context, or a decorator, in which no operation is remembered."""
    return set_grad_enabled(False)


def enable_grad() -> Any:
    """A context, or a decorator, in which operations are remembered, inside of :func:`no_grad` too."""
    return set_grad_enabled(True)


def is_grad_enabled() -> bool:
    """Whether operations on variables that require a gradient are remembered now."""
    return IS_RECORDING.get()
