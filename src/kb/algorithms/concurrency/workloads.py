"""Things for workers to do, and a server that is slow to answer.

A process finds only what a module holds: what a notebook defines cannot be sent to a worker that was started afresh.
This module imports no torch, so that such a worker starts soon.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from types import TracebackType
from typing import TYPE_CHECKING

from kb.arguments import is_number, require_count

if TYPE_CHECKING:
    import numpy as np

Address = tuple[str, int]


def count_down(steps: int) -> int:
    """Pure Python that holds the interpreter's lock: ``steps`` subtractions, one after the other; returns 0."""
    require_count("steps", steps, least=0)
    while steps:
        steps -= 1
    return steps


def cores_used(work: Callable[[], object]) -> float:
    """Processor time over time on the wall while ``work`` runs: of this process and of those it has started before."""
    import psutil  # here, as numpy below

    family = psutil.Process().children(recursive=True)

    def busy() -> float:
        return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in family)

    wall, cpu = time.perf_counter(), busy()
    work()
    return (busy() - cpu) / (time.perf_counter() - wall)


def cores_free(seconds: float = 0.3) -> float:
    """How many cores of the machine nobody used, this process included, in the next moment."""
    import psutil

    return (os.cpu_count() or 1) * (1 - psutil.cpu_percent(seconds) / 100)


def ask(address: Address, patience: float = 10.0) -> bytes:
    """Connect to a :class:`SlowServer` and wait for its answer, at most ``patience`` seconds."""
    with socket.create_connection(address, timeout=patience) as connection:
        return connection.recv(16)


async def ask_async(address: Address) -> bytes:
    """The same as a coroutine."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        return await reader.read(16)
    finally:
        writer.close()
        await writer.wait_closed()


def double_shared(name: str, length: int) -> float:
    """Double the float64 numbers of a shared block in place, without a copy; returns their sum."""
    import numpy as np  # here, so that workers that need none start without it

    block = SharedMemory(name)
    try:
        numbers = np.ndarray(length, dtype=np.float64, buffer=block.buf)
        numbers *= 2
        total = float(numbers.sum())
        del numbers  # a view of a block that is closed would be a view of nothing
    finally:
        block.close()
    return total


def doubled(numbers: "np.ndarray") -> "np.ndarray":
    """Twice the numbers: to be sent there and back."""
    return 2 * numbers


class Texts:
    """A data set whose items cost pure Python: item i counts down ``steps`` times and gives (i, id of the process)."""

    def __init__(self, length: int, steps: int) -> None:
        require_count("length", length)
        require_count("steps", steps, least=0)
        self._length, self._steps = length, steps

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[int, int]:
        if not 0 <= index < self._length:
            raise IndexError(f"index must be in 0 to {self._length - 1}, got {index}")
        return index + count_down(self._steps), os.getpid()


class SlowServer:
    """A server on this machine that answers each connection after ``delay`` seconds; a context manager.

    It runs an event loop in a thread of its own and holds any number of connections at once.

    Args:
        delay: Seconds before an answer.

    Raises:
        ValueError: ``delay`` is no number, or negative.
    """

    def __init__(self, delay: float) -> None:
        if not is_number(delay) or delay < 0:
            raise ValueError(f"delay must be a number of seconds from 0 on, got {delay!r}")
        self._delay = delay
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()
        self._stop: Callable[[], object] | None = None
        self.address: Address = ("", 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._delay)
        writer.write(b"done")
        writer.close()

    async def _main(self) -> None:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1024) as server:
            self.address = server.sockets[0].getsockname()[:2]
            end, loop = asyncio.Event(), asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(end.set)
            self._ready.set()
            await end.wait()

    def _serve(self) -> None:
        asyncio.run(self._main())

    def __enter__(self) -> "SlowServer":
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the server did not start within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop is not None:
            self._stop()
        self._thread.join(10)
