"""An event loop over generators: asyncio's core, in the names of asyncio.

A task runs a coroutine until that yields a future, and is called again when the future is done. Everything else is a
queue of calls that are due and a heap of calls that wait for a time. Coroutines are generators underneath: ``await``
delegates as ``yield from`` does, so that one ``send`` reaches the innermost ``yield``.

Unusual: the loop has ``sleep``, ``create_task`` and ``gather`` as the module asyncio has them, and the same order of
events, so that one program runs on both. What asyncio has besides is input and output (futures that the selector
finishes), calls from other threads, and care for errors that nobody looks at.

Source: PEP 3156 and the documentation of asyncio; ``Lib/asyncio/tasks.py`` for the order of calls in a cancellation.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from kb.arguments import is_number


class Future:
    """A result that is not there yet; ``await`` waits for it."""

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._callbacks: list[Callable[[], object]] = []
        self._value: Any = None
        self._error: BaseException | None = None
        self._done = False

    def __await__(self) -> Generator["Future", None, Any]:
        if not self._done:
            yield self  # up to the task, through all coroutines between
        return self.result()

    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._done

    def result(self) -> Any:
        """The value; or the error is raised.

        Raises:
            RuntimeError: it is not done.
        """
        if not self._done:
            raise RuntimeError("the future has no result yet: await it")
        if self._error is not None:
            raise self._error
        return self._value

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:
        """Set what came of it, once, and have those called that wait."""
        if not self._done:
            self._value, self._error, self._done = value, error, True
            self._loop.ready.extend(self._callbacks)

    def when_done(self, callback: Callable[[], object]) -> None:
        """Have ``callback`` called by the loop once this is done."""
        if self._done:
            self._loop.ready.append(callback)
        else:
            self._callbacks.append(callback)

    def cancel(self) -> bool:
        """Finish it with :class:`asyncio.CancelledError`; returns whether it was not done before."""
        if self._done:
            return False
        self.finish(error=asyncio.CancelledError())
        return True


class Task(Future):
    """A coroutine that the loop runs, step by step.

    Raises:
        TypeError: ``coroutine`` is none, as a task or a future is none.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: "Loop") -> None:
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"a coroutine was expected, got {coroutine!r}")
        super().__init__(loop)
        self._coroutine = coroutine
        self._waits_for: Future | None = None
        self._to_be_cancelled = False
        loop.ready.append(self._step)

    def cancel(self) -> bool:
        """Have CancelledError raised where the coroutine waits, which may catch it to clean up; asks, and returns."""
        if self._done:
            return False
        if self._waits_for is None or not self._waits_for.cancel():
            self._to_be_cancelled = True  # at its next step
        return True

    def _step(self) -> None:
        self._waits_for = None
        try:
            if self._to_be_cancelled:
                self._to_be_cancelled = False
                future = self._coroutine.throw(asyncio.CancelledError())
            else:
                future = self._coroutine.send(None)  # runs to the next `yield` below all `await`
        except StopIteration as end:
            self.finish(end.value)
        except (Exception, asyncio.CancelledError) as error:
            self.finish(error=error)
        else:
            self._wait(future)

    def _wait(self, future: Any) -> None:
        if future is None:  # sleep(0): only let the others run
            self._loop.ready.append(self._step)
        elif not isinstance(future, Future) or future._loop is not self._loop:
            self.finish(error=RuntimeError(f"a coroutine must await futures of this loop, got {future!r}"))
        else:
            future.when_done(self._step)
            self._waits_for = future
            if self._to_be_cancelled and future.cancel():
                self._to_be_cancelled = False


class Gathering(Future):
    """The results of several tasks in order, or the first error that one of them raised."""

    def __init__(self, tasks: list[Task], loop: "Loop") -> None:
        super().__init__(loop)
        self._tasks = tasks
        self._left = len(tasks)
        self._to_be_cancelled = False
        for task in tasks:
            task.when_done(partial(self._look, task))
        if not tasks:
            self.finish([])

    def cancel(self) -> bool:
        """Cancel the tasks that are left; this is cancelled by what comes of them."""
        if self._done:
            return False
        asked = [task.cancel() for task in self._tasks]
        self._to_be_cancelled = any(asked)
        return any(asked)

    def _look(self, task: Task) -> None:
        self._left -= 1
        if task._error is not None:
            self.finish(error=task._error)  # the others run on
        elif not self._left:
            error = asyncio.CancelledError() if self._to_be_cancelled else None
            self.finish([task._value for task in self._tasks], error)


class _Pause:
    def __await__(self) -> Generator[None, None, None]:
        yield


class Loop:
    """One thread, many tasks, and a clock of its own: where all wait, the time jumps to the next timer."""

    def __init__(self) -> None:
        self.ready: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Future]] = []
        self._number = itertools.count()
        self._tasks: dict[Task, None] = {}  # those that are not done, in their order
        self._now = 0.0
        self._runs = False

    def time(self) -> float:
        """Seconds since the loop was made, by its own clock."""
        return self._now

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What ``coroutine`` returns or raises, as :func:`asyncio.run`: tasks that are left are cancelled at its end.

        Raises:
            RuntimeError: the loop is running already; or every task waits and no timer is set, a deadlock.
        """
        if self._runs:
            coroutine.close()
            raise RuntimeError("the loop is running already: await the coroutine, or make a task of it")
        self._runs = True
        try:
            main = self.create_task(coroutine)
            noticed: list[bool] = []
            main.when_done(lambda: noticed.append(True))  # a call like others: those before it come first
            self._run_until(lambda: bool(noticed))
            for task in list(self._tasks):
                task.cancel()
            self._run_until(lambda: not self._tasks)
        finally:
            self._runs = False
            self._tasks.clear()
        return main.result()

    def _run_until(self, done: Callable[[], bool]) -> None:
        while not done():
            if not self.ready:
                self._jump()
            for _ in range(len(self.ready)):  # what these add is for the next round
                self.ready.popleft()()

    def _jump(self) -> None:
        while self._timers and self._timers[0][2].done():  # its sleeper was cancelled
            heapq.heappop(self._timers)
        if not self._timers:
            raise RuntimeError("every task waits for another one and no timer is set: a deadlock")
        self._now = self._timers[0][0]
        while self._timers and self._timers[0][0] <= self._now:
            heapq.heappop(self._timers)[2].finish()

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Start a coroutine at the loop's next round; nothing of it runs before."""
        task = Task(coroutine, self)
        self._tasks[task] = None
        task.when_done(lambda: self._tasks.pop(task, None))
        return task

    def gather(self, *coroutines: Coroutine[Any, Any, Any]) -> Gathering:
        """Start coroutines; their results in order, or the first error, upon which the others run on."""
        return Gathering([self.create_task(coroutine) for coroutine in coroutines], self)

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 or less lets those run that are due.

        Raises:
            ValueError: ``seconds`` is no number.
        """
        if not is_number(seconds):
            raise ValueError(f"seconds must be a number, got {seconds!r}")
        if seconds <= 0:
            await _Pause()
        else:
            future = Future(self)
            heapq.heappush(self._timers, (self._now + seconds, next(self._number), future))
            await future
