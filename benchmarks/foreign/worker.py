"""A process in another environment that is asked for one thing at a time: loaded once, then run in turns with ours.

The clock of a race stays with the one who asks, the same for both contenders: a request and its answer are a few
kilobytes and well under a millisecond, and no time has to be taken on trust. Between requests the process waits on its
pipe; ``cpu_seconds`` lets a race assert that it does nothing meanwhile.

Unusual: every wait has a limit. A process that dies, hangs or answers something else is killed with all that it
started, and the error shows the end of what it wrote to stderr. POSIX only.
"""

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_SHOWN_LINES = 15
_SHOWN_BYTES = 20_000
_CHUNK = 1 << 16


class WorkerError(RuntimeError):
    """A worker failed: it raised, died, hung, or answered what is no answer."""


class Worker:
    """A running process that speaks :mod:`benchmarks.foreign.protocol`.

    Args:
        name: What errors call it.
        command: How it is started.
        environment: Its environment variables, all of them; this process's if not given.
        folder: Where it runs.
        grace: Seconds that it is given to end by itself when it is closed.

    Raises:
        WorkerError: the command cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        grace: float = 5.0,
    ) -> None:
        self.name = name
        self._grace = grace
        self._asked = 0
        self._unread = b""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                cwd=folder,
                bufsize=0,
                start_new_session=True,  # a group of its own, so that what it starts can be killed with it
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError(f"{name} cannot be started: {error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        atexit.register(self.close)

    def call(self, method: str, *, timeout: float, **arguments: object) -> Any:
        """Ask for something and wait for the answer.

        Args:
            method: What is asked for.
            timeout: Seconds to wait at most.
            **arguments: Of the method, in values that JSON has.

        Returns:
            The result, as JSON gives it back.

        Raises:
            WorkerError: the method raised, after which the worker can be asked again; or the process died, did not
                answer in time or answered something else, after which it is gone.
        """
        if self._process.stdin is None or self._process.stdin.closed:
            raise WorkerError(f"{self.name} is closed")
        self._asked += 1
        request = {"id": self._asked, "method": method, "arguments": arguments}
        deadline = time.monotonic() + timeout
        try:
            self._send(json.dumps(request).encode() + b"\n", deadline)
            answer = self._answer(self._line(deadline))
        except TimeoutError:
            raise self._lost(f"did not answer {method} within {timeout:g} s") from None
        except (BrokenPipeError, EOFError):
            raise self._lost(f"ended while it was asked for {method}") from None
        if "error" in answer:
            raise WorkerError(f"{self.name} failed at {method}: {answer['error']}{self._last_words()}")
        return answer["result"]

    def cpu_seconds(self) -> float:
        """Processor time that the process has used so far, all its threads together, in seconds."""
        return float(self.call("cpu_seconds", timeout=30.0))

    def close(self) -> None:
        """End the process, by force where it does not end by itself; does nothing the second time."""
        atexit.unregister(self.close)
        if self._stderr.closed:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace)
        self._kill()
        self._process.stdout.close()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, data: bytes, deadline: float) -> None:
        while data:
            _wait(self._stdin, selectors.EVENT_WRITE, deadline)
            data = data[os.write(self._stdin, data[:_CHUNK]) :]

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._unread:
            _wait(self._stdout, selectors.EVENT_READ, deadline)
            read = os.read(self._stdout, _CHUNK)
            if not read:
                raise EOFError
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("id") != self._asked or not {"result", "error"} & set(answer):
            raise self._lost(f"answered what is no answer to request {self._asked}: {line[:200]!r}")
        return answer

    def _lost(self, what: str) -> WorkerError:
        """Kill the process and say what happened to it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)  # one that is ending tells its exit status
        status = self._process.poll()
        ended = "" if status is None else f" (exit status {status})"
        self._kill()
        error = WorkerError(f"{self.name} {what}{ended}{self._last_words()}")
        self.close()
        return error

    def _kill(self) -> None:
        # The group lives on while one of its processes does, even where the first has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _SHOWN_BYTES))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()[-_SHOWN_LINES:]
        return "".join(f"\n  {line}" for line in lines)


def _wait(file: int, event: int, deadline: float) -> None:
    """Wait until a pipe can be read or written.

    Raises:
        TimeoutError: it cannot by the deadline.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(file, event)
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
