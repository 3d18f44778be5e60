"""Files that leave nothing behind: without a name while they are written, and with one when they are whole.

Unusual: on Linux the system itself deletes a file without a name when its process ends, however it ends, so that even
``kill -9`` leaves none. A sorted file gets its name in two steps, as a link cannot replace a file: a name of its own,
then the wanted one. Where the system has no such files the result is written under a name such as
``.sorting-….unfinished``; then, and between the two steps, a killed process may leave that behind.

Source: open(2), O_TMPFILE, and linkat(2).
"""

import contextlib
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kb.algorithms.sorting.order import Entry, Order
from kb.algorithms.sorting.reading import Account


@dataclass(frozen=True)
class Run:
    """Sorted lines in a part of a file.

    Attributes:
        file: The file.
        start: Where in it they begin.
        end: Where they end.
        lines: How many there are.
    """

    file: IO[bytes]
    start: int
    end: int
    lines: int


class Destination:
    """A file that is written without a name, and put in its place when it is whole.

    Attributes:
        file: What is written to.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._folder = path, os.open(path.parent, os.O_RDONLY) if os.name == "posix" else -1
        self._name = f".sorting-{uuid.uuid4().hex[:12]}.unfinished"
        self._is_named = False
        try:
            self.file: IO[bytes] = os.fdopen(self._open(), "w+b")
            if os.name == "posix" and path.exists():  # what others may not read they may not read sorted either
                with contextlib.suppress(PermissionError):  # of a file system that has no permissions
                    os.fchmod(self.file.fileno(), stat.S_IMODE(path.stat().st_mode))
        except BaseException:
            self._close_folder()
            raise

    def _open(self) -> int:
        if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # of a file system that has no such files; another error comes again
                return os.open(self._path.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
        named = os.open(self._path.with_name(self._name), flags, 0o666)
        self._is_named = True
        return named

    def __enter__(self) -> "Destination":
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; if it was not published, there is none."""
        try:
            self.file.close()  # which writes what is left, and may find the disk full once more
        finally:
            if self._is_named:
                self._path.with_name(self._name).unlink(missing_ok=True)
            self._close_folder()

    def publish(self) -> None:
        """Put the file in its place, in which there may be another; on the disk first, so that its name cannot lie."""
        self.file.flush()
        os.fsync(self.file.fileno())
        hidden = self._path.with_name(self._name)
        if not self._is_named:  # a folder's number makes os.link follow the link in /proc
            os.link(f"/proc/self/fd/{self.file.fileno()}", self._name, dst_dir_fd=self._folder)
            self._is_named = True
        if os.name == "nt":
            self.file.close()
        os.replace(hidden, self._path)
        self._is_named = False
        if self._folder >= 0:
            os.fsync(self._folder)

    def _close_folder(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


@contextlib.contextmanager
def nameless(folder: Path) -> Iterator[IO[bytes]]:
    """A file for runs, gone when it is closed or its process ends."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield file


@dataclass
class Traffic:
    """Bytes read and written so far."""

    read: int = 0
    written: int = 0


class RunWriter:
    """Writes entries to the end of a file as one run, some at a time within a budget."""

    def __init__(self, file: IO[bytes], order: Order, account: Account, budget: int, traffic: Traffic) -> None:
        self._file, self._order, self._account, self._traffic = file, order, account, traffic
        self._budget, self._at_once = budget, max(1, budget // 512)
        self._start = self._end = file.seek(0, os.SEEK_END)
        self._lines = 0

    def write(self, entries: list[Entry]) -> None:
        """Write sorted entries, in groups that are joined where this does not take too much."""
        self._account.change(self._budget)
        for start in range(0, len(entries), self._at_once):
            lines = self._order.lines(entries[start : start + self._at_once])
            total = sum(map(len, lines)) + len(lines)
            if total <= self._budget // 2:
                self._file.write(b"\n".join([*lines, b""]))
            else:
                for line in lines:
                    self._file.write(line)
                    self._file.write(b"\n")
            self._end += total
        self._lines += len(entries)
        self._account.change(-self._budget)

    def run(self) -> Run:
        """What was written."""
        self._file.flush()
        self._traffic.written += self._end - self._start
        return Run(self._file, self._start, self._end, self._lines)
