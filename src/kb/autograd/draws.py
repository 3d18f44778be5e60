"""Which random generators a part of a computation draws from, so that it can be repeated with the same numbers.

What draws asks here for its generator. While somebody listens, the state of each one is noted before its first draw.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

_LISTENERS: ContextVar[tuple["Draws", ...]] = ContextVar("listeners", default=())


class Draws:
    """What was drawn from while listening.

    Attributes:
        states: Each generator with its state before the first draw.
        made: Those that were made for callers who brought none, in order.
    """

    def __init__(self) -> None:
        self.states: list[tuple[Any, Any]] = []
        self.made: list[np.random.Generator] = []
        self._next = 0

    def note(self, generator: Any) -> None:
        """Note the state of a generator, if it is new."""
        if all(generator is not known for known, _ in self.states):
            self.states.append((generator, state_of(generator)))

    def make(self) -> np.random.Generator:
        """The next generator for a caller who brought none: a new one, or when all is done again, that of before."""
        if self._next == len(self.made):
            self.made.append(np.random.default_rng())
        self._next += 1
        return self.made[self._next - 1]

    def take(self, generator: np.random.Generator) -> None:
        """Note one that a listener further out has made."""
        if self._next == len(self.made):
            self.made.append(generator)
        self._next += 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, draws are noted."""
        self._next = 0
        token = _LISTENERS.set((*_LISTENERS.get(), self))
        try:
            yield
        finally:
            _LISTENERS.reset(token)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it, the generators draw once more what they drew; afterwards, they go on from where they were."""
        before = [state_of(generator) for generator, _ in self.states]
        for generator, state in self.states:
            _set_state(generator, state)
        try:
            with self.listening():
                yield
        finally:
            for (generator, _), state in zip(self.states, before, strict=False):
                _set_state(generator, state)


def generator_for(given: Any) -> Any:
    """The generator to draw from: the one given, or where that is None, a new one that the operating system seeds."""
    listeners = _LISTENERS.get()
    if given is None:
        given = listeners[0].make() if listeners else np.random.default_rng()
        for listener in listeners[1:]:
            listener.take(given)
    if isinstance(given, np.random.Generator) or hasattr(given, "get_state"):
        for listener in listeners:
            listener.note(given)
    return given


def state_of(generator: Any) -> Any:
    """A copy of a generator's state.

    Raises:
        TypeError: it is of neither NumPy nor torch.
    """
    if isinstance(generator, np.random.Generator):
        return copy.deepcopy(generator.bit_generator.state)
    if hasattr(generator, "get_state") and hasattr(generator, "set_state"):  # of torch, without importing it
        return generator.get_state()
    raise TypeError(f"generators must be of NumPy or torch, got {type(generator).__name__}")


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)
