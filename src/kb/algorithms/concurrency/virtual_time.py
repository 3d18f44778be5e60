"""asyncio where it cannot run by itself, and asyncio by a clock that jumps.

A notebook's thread has a running loop, so that :func:`asyncio.run` refuses; both functions here run in a new thread.

Unusual: :func:`run_virtually` replaces the wait of asyncio's own loop. A loop sleeps only in its selector, for the time
to the next timer; a selector that adds that time to a clock instead makes a minute of sleep take no time, and the order
of events exact. It is for programs that only sleep: what really takes time (a thread, a socket) is found at the first
look after it, and the clock may have jumped far ahead by then.

Source: the documentation of asyncio and selectors; ``BaseEventLoop._run_once``, which holds the only wait.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kb.arguments import is_number

T = TypeVar("T")


class VirtualSelector(selectors.DefaultSelector):
    """A selector whose waiting takes no time but moves its clock.

    Args:
        patience: Real seconds that it waits where it is to wait for ever.
    """

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience
        self._now = 0.0

    def time(self) -> float:
        """Seconds that were waited for."""
        return self._now

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; else, after a jump of ``timeout`` seconds, nothing.

        Raises:
            TimeoutError: without a timeout, nothing was ready within real seconds: the loop would wait for ever.
        """
        found = super().select(0)
        if found:
            return found
        if timeout is None:
            found = super().select(self._patience)
            if not found:
                raise TimeoutError(f"every task waits and no timer is set: nothing came within {self._patience:g} s")
        else:
            self._now += max(0.0, timeout)
        return found


def run_in_thread(coroutine: Coroutine[Any, Any, T], *, timeout: float = 60.0) -> T:
    """What :func:`asyncio.run` gives, in a new thread.

    A call that blocks is waited for, however long: only where a coroutine awaits can it be cancelled.

    Raises:
        TimeoutError: it took longer than ``timeout`` seconds, and was cancelled.
        ValueError: ``timeout`` is no positive number.
    """
    _require_seconds(coroutine, "timeout", timeout)
    return _in_thread(asyncio.wait_for(coroutine, timeout), asyncio.new_event_loop)


def run_virtually(coroutine: Coroutine[Any, Any, T], *, patience: float = 10.0) -> T:
    """What :func:`asyncio.run` gives, in a new thread and by a clock that starts at 0 and jumps.

    Raises:
        TimeoutError: every task waits for another one, and so for ``patience`` real seconds nothing happened.
        ValueError: ``patience`` is no positive number.
    """
    _require_seconds(coroutine, "patience", patience)

    def make() -> asyncio.AbstractEventLoop:
        selector = VirtualSelector(patience)
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = selector.time  # type: ignore[method-assign]
        return loop

    return _in_thread(coroutine, make)


def _require_seconds(coroutine: Coroutine[Any, Any, Any], name: str, value: float) -> None:
    if not is_number(value) or value <= 0:
        coroutine.close()  # or Python warns that it was never awaited
        raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")


def _in_thread(coroutine: Coroutine[Any, Any, T], make: Callable[[], asyncio.AbstractEventLoop]) -> T:
    def work() -> T:
        with asyncio.Runner(loop_factory=make) as runner:
            return runner.run(coroutine)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
