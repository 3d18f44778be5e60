"""A file is larger than memory: sort what fits, write it away as a run, merge the runs.

    >>> external_sort("access.log", "sorted.log", memory=64 * 2**20, key=lambda line: line.split()[3])

Unusual: what fits is counted in Python's objects, not in the file's bytes, and the count is a bound that is asserted.
All runs of a pass lie in one file without a name, so a thousand runs need no thousand open files; however the process
ends, nothing of it stays; and the result takes its place in one step, or what was there before is as it was.

Source: Knuth 1998, sections 5.4.1 (runs, merging) and 5.4.9 (how many passes).
"""

import contextlib
import errno
import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kb.algorithms.sorting.files import Destination, Run, RunWriter, Traffic, nameless
from kb.algorithms.sorting.merging import Merging, merge_blocks
from kb.algorithms.sorting.order import Entry, Order
from kb.algorithms.sorting.reading import LEAST_BLOCK, Account, LineReader
from kb.algorithms.sorting.replacement import replacement_selection
from kb.arguments import require_count

LEAST_MEMORY = 1 << 17
_LARGEST_OUTPUT = 1 << 18  # bytes that are set aside for what is written
_SMALL_BLOCK = 1 << 15  # bytes: no run is read in less, lest reading be all beginnings
_HEAP_BYTES = 300  # what an entry takes in replacement selection's heap, beside itself
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class SortReport:
    """What a sort did.

    Attributes:
        lines: Lines of the file.
        run_lines: Lines of each of the first runs.
        fan_in: The most runs that were merged at once, or could be.
        passes: How often everything was merged: ceil(log of the number of runs to the base fan_in).
        bytes_read: From the source, and of runs in each pass.
        bytes_written: Of runs, and to the destination.
        peak_bytes: The most memory that the account showed; never more than was allowed.
    """

    lines: int
    run_lines: tuple[int, ...]
    fan_in: int
    passes: int
    bytes_read: int
    bytes_written: int
    peak_bytes: int


@dataclass(frozen=True)
class _Plan:
    """What all steps of a sort share."""

    order: Order
    account: Account
    output: int
    folder: Path
    traffic: Traffic

    @property
    def blocks(self) -> int:
        """Bytes for lines, beside those for what is written."""
        return self.account.limit - self.output

    def writer(self, file: IO[bytes]) -> RunWriter:
        return RunWriter(file, self.order, self.account, self.output, self.traffic)


def external_sort(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    memory: int = 64 * 2**20,
    key: Callable[[Any], Any] | None = None,
    reverse: bool = False,
    encoding: str | None = "utf-8",
    temporary: str | os.PathLike[str] | None = None,
    fan_in: int | None = None,
    replacement: bool = False,
    merging: Merging = merge_blocks,
) -> SortReport:
    """Sort the lines of a file into another, stably.

    A line ends in the byte 10 and is compared without it; a carriage return before it belongs to the line. The last
    line gets an end if it has none. Text in UTF-8 is in the order of its code points unless there is a key; for the
    order of a language, ``key=locale.strxfrm``.

    Args:
        source: The file.
        destination: Where the sorted lines go; a file that is there is replaced once they are whole, and
            its permissions are kept.
        memory: Bytes that lines may take, with all that holds them; Python itself comes on top.
        key: As for ``sorted``, from the text of a line, or from its bytes where there is no encoding.
        reverse: Largest first.
        encoding: Of the text. None: lines are bytes, and none is wrong.
        temporary: The folder for runs, with room for them twice where there is more than one pass. None: that of the
            destination, as the system's own may be in memory.
        fan_in: The most runs that are merged at once, though never more than memory has room for. None: that many.
        replacement: Whether to form runs by replacement selection: longer ones, more slowly.
        merging: ``merge_blocks``, or ``merge_by_losers``.

    Returns:
        What was done.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: a file or folder cannot be used.
        ValueError: an argument is wrong, a line is not in the encoding, or takes more than a sixteenth of memory.
        OSError: a disk is full, or fails. The source is never written to, and in any case of an error the destination
            is as it was.
    """
    require_count("memory", memory, least=LEAST_MEMORY)
    if fan_in is not None:
        require_count("fan_in", fan_in, least=2)
    source, target = Path(source), _place(Path(source), Path(destination))
    folder = _folder("temporary", target.parent if temporary is None else Path(temporary))
    plan = _Plan(Order(key, reverse, encoding), Account(memory), min(memory // 16, _LARGEST_OUTPUT), folder, Traffic())
    with _full_disks_named(source, target.parent, folder), open(source, "rb") as file, contextlib.ExitStack() as stack:
        return _sort(file, target, plan, fan_in, replacement, merging, stack)


@contextlib.contextmanager
def _full_disks_named(source: Path, whole: Path, runs: Path) -> Iterator[None]:
    """Where a disk is full, say which folders must have room for what."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        need = os.stat(source).st_size / 1e6
        raise OSError(
            error.errno,
            f"{error.strerror} while sorting {source}: {whole} must have room for its {need:,.0f} MB, and "
            f"{runs} for its runs, up to twice as much",
        ) from error


def _sort(
    file: IO[bytes],
    target: Path,
    plan: _Plan,
    fan_in: int | None,
    replacement: bool,
    merging: Merging,
    stack: contextlib.ExitStack,
) -> SortReport:
    """Form runs, the first in what becomes the destination if it is the only one; merge until one is left."""
    reader = LineReader(
        _counted(file.read, plan.traffic), plan.order, plan.account, checks=True, most=plan.account.limit // 16
    )
    files = stack.enter_context(contextlib.ExitStack())
    whole = files.enter_context(Destination(target))
    runs = _runs(reader, plan, replacement, whole.file, files)
    run_lines, passes = tuple(run.lines for run in runs), 0
    most = plan.blocks // max(_SMALL_BLOCK, LEAST_BLOCK + 4 * reader.largest)
    fan_in = most if fan_in is None else min(fan_in, most)
    while len(runs) > 1:
        passes += 1
        last = len(runs) <= fan_in
        new_files = stack.enter_context(contextlib.ExitStack())
        if last:
            whole = new_files.enter_context(Destination(target))
        new = whole.file if last else new_files.enter_context(nameless(plan.folder))
        runs = [_merged(group, new, plan, merging) for group in _groups(runs, fan_in)]
        files.close()
        files = new_files
    whole.publish()
    traffic = plan.traffic
    return SortReport(reader.lines, run_lines, fan_in, passes, traffic.read, traffic.written, plan.account.peak)


def _runs(
    reader: LineReader, plan: _Plan, replacement: bool, first: IO[bytes], files: contextlib.ExitStack
) -> list[Run]:
    """Write sorted runs: the first to one file, all others to another that is made when there are any."""
    runs: list[Run] = []
    file = first
    for run in _replaced(reader, plan) if replacement else _filled(reader, plan):
        if len(runs) == 1:
            file = files.enter_context(nameless(plan.folder))
        writer = plan.writer(file)
        for entries in run:
            writer.write(entries)
        runs.append(writer.run())
    return runs


def _filled(reader: LineReader, plan: _Plan) -> Iterator[Iterable[list[Entry]]]:
    """Runs that are each what memory holds, sorted."""
    while entries := reader.fill(plan.blocks):
        plan.order.sort(entries)
        yield [entries]
        entries.clear()  # before the next ones are read, whoever still has the list


def _replaced(reader: LineReader, plan: _Plan) -> Iterator[Iterable[list[Entry]]]:
    """Runs by replacement selection, each some entries at a time."""
    order, batch = plan.order, plan.account.limit // 16
    ahead = plan.blocks // 4
    room = plan.blocks - ahead - batch

    def entries() -> Iterator[Entry]:
        while block := reader.fill(ahead):
            yield from block
            block.clear()

    def batches(run: Iterable[tuple[int, Entry]]) -> Iterator[list[Entry]]:
        waiting: list[Entry] = []
        held = 0
        for _, entry in run:
            size = order.entry_bytes(entry)
            if waiting and held + size > batch:
                yield waiting
                waiting.clear()
                held = 0
            waiting.append(entry)
            held += size
        yield waiting
        waiting.clear()

    selected = replacement_selection(
        entries(),
        room,
        key=operator.itemgetter(0) if order.has_keys else None,
        reverse=order.reverse,
        size=lambda entry: order.entry_bytes(entry) + _HEAP_BYTES,
    )
    plan.account.change(room + batch)
    for _, run in itertools.groupby(selected, key=operator.itemgetter(0)):
        yield batches(run)
    plan.account.change(-room - batch)


def _merged(runs: list[Run], file: IO[bytes], plan: _Plan, merging: Merging) -> Run:
    writer = plan.writer(file)
    readers = [LineReader(_part(run, plan.traffic), plan.order, plan.account) for run in runs]
    merging(readers, plan.blocks // len(runs), plan.order, writer.write)
    return writer.run()


def _groups(runs: list[Run], fan_in: int) -> Iterator[list[Run]]:
    """As few groups as there can be, of nearly one size, and of neighbours, since equal lines keep their order."""
    count = -(-len(runs) // fan_in)
    for group in range(count):
        yield runs[len(runs) * group // count : len(runs) * (group + 1) // count]


def _part(run: Run, traffic: Traffic) -> Callable[[int], bytes]:
    """What reads a run from its part of a file."""
    place = run.start

    def read(size: int) -> bytes:
        nonlocal place
        run.file.seek(place)
        found = run.file.read(min(size, run.end - place))
        place += len(found)
        return found

    return _counted(read, traffic)


def _counted(read: Callable[[int], bytes], traffic: Traffic) -> Callable[[int], bytes]:
    def counted(size: int) -> bytes:
        found = read(size)
        traffic.read += len(found)
        return found

    return counted


def _place(source: Path, destination: Path) -> Path:
    """Where the destination really is; what is wrong with it is said before any work."""
    target = Path(os.path.realpath(destination))
    _folder("destination", target.parent)
    if not target.exists():
        return target
    if source.exists() and target.samefile(source):
        raise ValueError(f"destination: {destination} is the source; name another file")
    if not target.is_file():
        raise ValueError(f"destination: {destination} is there and is no file")
    return target


def _folder(name: str, folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"{name}: there is no such folder", str(folder))
    return folder
