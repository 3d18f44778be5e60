"""Processes of this machine that form one group, kept running, so that many functions can be run on all of them.

They find each other through a file in a temporary folder: no port, no network. Each has one thread, unless told
otherwise, since they share the machine's cores. The functions must be importable there: those of a module, not of a
notebook. A script that makes processes must be importable without doing so again: ``if __name__ == "__main__":``.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

from kb.arguments import is_number, require_count


class RankError(RuntimeError):
    """A function failed on some ranks; the message has every rank's own error."""


class Ranks:
    """R processes, each a rank of a gloo group of all; a context manager, which ends them.

    Args:
        ranks: R.
        timeout: Seconds after which a collective call that some rank does not answer fails on the others.
        threads: Of each process.
        patience: Seconds that :meth:`results` waits for a rank.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, ranks: int, *, timeout: float = 60.0, threads: int = 1, patience: float = 300.0) -> None:
        require_count("ranks", ranks)
        require_count("threads", threads)
        for name, value in (("timeout", timeout), ("patience", patience)):
            if not (is_number(value) and value > 0):
                raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
        self.patience = patience
        self._calls = 0  # numbered, so that an answer nobody waited for is not taken for that of a later call
        self._answered: set[int] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="kb-ranks-")
        context = multiprocessing.get_context("spawn")
        store = (Path(self._folder.name) / "store").as_uri()
        self._pipes: list[Connection] = []
        self.processes: list[Any] = []
        for rank in range(ranks):
            ours, theirs = context.Pipe()
            arguments = (theirs, store, rank, ranks, timeout, threads)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self.processes.append(process)

    def __len__(self) -> int:
        return len(self.processes)

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> list[Any]:
        """What a function returns on each rank, called with these arguments on all.

        Raises:
            RankError: it raised on a rank, or a rank is gone.
        """
        self.start(function, *arguments, **named)
        return self.results()

    def start(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Call a function on all ranks, and wait for none; what an earlier call returned is lost from now on."""
        self._calls += 1
        self._answered.clear()
        for pipe in self._pipes:
            with suppress(ConnectionError):  # of a rank that is gone: asked for its result, it has none
                pipe.send((self._calls, function, arguments, named))

    def results(self, of: Sequence[int] | None = None) -> list[Any]:
        """What the function that was started last returned on these ranks; None for all. A rank is asked once.

        Raises:
            RankError: it raised on a rank, or a rank is gone, or did not answer in time.
            ValueError: there is no such rank, or it was asked already.
        """
        asked = list(range(len(self)) if of is None else of)
        if not set(asked) <= set(range(len(self))) - self._answered or not self._calls:
            raise ValueError(f"of must be ranks of 0 to {len(self) - 1} that owe an answer, got {asked}")
        self._answered.update(asked)
        found, wrong = [], []
        for rank in asked:
            try:
                error, result = self._answer(rank)
            except (EOFError, OSError) as gone:
                error, result = f"{type(gone).__name__}: {gone}" if str(gone) else "the process is gone", None
            found.append(result)
            if error is not None:
                wrong.append(f"rank {rank}: {error}")
        if wrong:
            raise RankError("\n".join(wrong))
        return found

    def _answer(self, rank: int) -> tuple[str | None, Any]:
        """The error and the result of the last call; answers to earlier ones are passed over."""
        end = time.monotonic() + self.patience
        while self._pipes[rank].poll(max(0.0, end - time.monotonic())):
            call, error, result = self._pipes[rank].recv()
            if call == self._calls:
                return error, result
        raise TimeoutError(f"no answer within {self.patience:g} s")

    def close(self) -> None:
        """End the processes; those that do not go by themselves are made to."""
        for pipe in self._pipes:
            pipe.close()  # the other end reads no more, and leaves
        for process in self.processes:
            process.join(timeout=2)
            if process.is_alive():
                process.kill()
                process.join()
        self._folder.cleanup()

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, store: str, rank: int, ranks: int, timeout: float, threads: int) -> None:
    """What a process does: join the group, then run what it is sent until nothing more can come."""
    torch.set_num_threads(threads)
    limit = timedelta(seconds=timeout)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks, timeout=limit)
    while True:
        try:
            call, function, arguments, named = pipe.recv()
        except (EOFError, OSError):
            break
        wrong, result = None, None
        try:
            result = function(*arguments, **named)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        try:
            pipe.send((call, wrong, result))
        except Exception as error:  # what cannot be pickled is an answer too: the rank lives on
            pipe.send((call, f"the result cannot be sent: {type(error).__name__}: {error}", None))
    dist.destroy_process_group()
