"""Lines of a file, as many at a time as memory allows; and the account that is kept of it.

Unusual: a budget is kept to whatever the lines are. Short lines take up to thirty times their bytes as Python objects,
so what a read brings is cut into lines only as far as there is room for their objects; the rest waits as it is.
"""

import codecs
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from kb.algorithms.sorting.order import LINE_BYTES, Entry, Order

LEAST_BLOCK = 2048  # bytes of a budget, beside four times the largest entry
_PIECE = 1 << 16  # bytes that are read at once
_STEP = 256  # lines that are given keys before it is asked how much these take
_CHECKING = 4  # bytes that a character takes while it is checked, at most, for each byte of it


@dataclass
class Account:
    """Bytes that are held, against what may be.

    Attributes:
        limit: The most that may be held.
        held: What is held now.
        peak: The most that was.
    """

    limit: int
    held: int = 0
    peak: int = 0

    def change(self, by: int) -> None:
        """Take more, or give back; it is a mistake of the program if the limit is passed."""
        self.held += by
        self.peak = max(self.peak, self.held)
        assert self.held <= self.limit, f"{self.held:,} bytes are held, and {self.limit:,} may be"


@dataclass
class LineReader:
    """Reads entries, block after block.

    Attributes:
        read: Gives the next bytes, at most as many as asked for, and none at the end.
        order: What entries are.
        account: Where the memory of a block is noted; it is given back when the next one is read.
        checks: Whether bytes are checked for the encoding, as they are at their first reading.
        most: The most that one entry may take.
        largest: The most that one took so far.
        lines: How many there were so far.
        ended: Whether all was read.
    """

    read: Callable[[int], bytes]
    order: Order
    account: Account
    checks: bool = False
    most: float = math.inf
    largest: int = 0
    lines: int = 0
    ended: bool = False
    _rest: bytes = b""
    _noted: int = 0
    _decoder: codecs.IncrementalDecoder | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.checks and self.order.checked:
            self._decoder = codecs.getincrementaldecoder(self.order.checked)()

    def fill(self, budget: int) -> list[Entry]:
        """The next entries, as many as take ``budget`` bytes with all that reading them takes; none at the end.

        The budget must be ``LEAST_BLOCK`` and four times what the largest entry takes.

        Raises:
            ValueError: an entry is too large, or a line not in the encoding.
        """
        self._note(0)
        entries: list[Entry] = []
        used, highest, piece = 0, len(self._rest), min(_PIECE, budget // 16)
        while True:
            whole = len(self._rest)
            room = budget - used - 2 * whole  # what is cut lies there twice, for a moment
            if lines := self._split(room, budget):
                cutting = used + 2 * whole + len(lines) * LINE_BYTES
                taken, kept = self._add(lines, entries, room)
                used += taken
                highest = max(highest, cutting, used + 2 * whole if self.order.has_keys else used)
                if not kept or used + 2 * len(self._rest) > budget - budget // 64:
                    break
                continue
            reading = used + 2 * (whole + piece) + (_CHECKING * piece if self._decoder else 0)
            if self.ended or (entries and reading > budget):
                break
            self._more(piece)
            highest = max(highest, reading)
        assert entries or not self._rest, f"a budget of {budget:,} bytes holds no line"
        self._note(highest if entries else 0)
        return entries

    def _note(self, held: int) -> None:
        self.account.change(held - self._noted)
        self._noted = held

    def _split(self, room: int, budget: int) -> list[bytes]:
        """Lines of what was read, as many as there is room for."""
        most = room // LINE_BYTES
        if self.order.has_keys:
            most = min(most, _STEP, max(1, budget // (16 * LINE_BYTES)))
        if most < 1:
            return []
        *lines, self._rest = self._rest.split(b"\n", most)
        if self.ended and self._rest and len(lines) < most:  # the last line lacks its end
            lines, self._rest = [*lines, self._rest], b""
        return lines

    def _add(self, lines: list[bytes], entries: list[Entry], room: int) -> tuple[int, bool]:
        """Make entries of lines, as far as there is room; returns what they take, and whether all found room."""
        if not self.order.has_keys:
            longest = max(map(len, lines))
            self._allow(longest + LINE_BYTES, lines)
            entries += lines
            self.lines += len(lines)
            return sum(map(len, lines)) + len(lines) * LINE_BYTES, True
        used, room = 0, room - len(lines) * LINE_BYTES
        for at, line in enumerate(lines):
            try:
                entry = self.order.entry(line)
            except UnicodeDecodeError:
                self._check(self.lines + 1, line)
                raise  # it is the key that decodes something
            taken = self.order.entry_bytes(entry)
            self._allow(taken, [line])
            if used + taken > room and entries:
                self._rest = b"\n".join([*lines[at:], self._rest])
                return used, False
            entries.append(entry)
            used += taken
            self.lines += 1
        return used, True

    def _allow(self, taken: int, lines: list[bytes]) -> None:
        """Refuse an entry that takes too much, the largest of those of some lines."""
        self.largest = max(self.largest, taken)
        if taken > self.most:
            number = self.lines + 1 + max(range(len(lines)), key=lambda at: len(lines[at]))
            raise self._too_large(number)

    def _more(self, piece: int) -> None:
        if len(self._rest) > self.most:
            raise self._too_large(self.lines + 1)
        new = self.read(piece)
        self.ended = not new
        if self._decoder:
            try:
                self._decoder.decode(new, final=self.ended)
            except UnicodeDecodeError:
                for at, line in enumerate((self._rest + new).split(b"\n")):
                    self._check(self.lines + at + 1, line)
        self._rest += new

    def _check(self, number: int, line: bytes) -> None:
        """Refuse a line that is not in the encoding."""
        try:
            line.decode(self.order.encoding) if self.order.encoding else None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"line {number} is not in {error.encoding}: byte {line[error.start]:#04x} at place {error.start} of it"
                "; name the file's encoding, or None for lines of bytes"
            ) from None

    def _too_large(self, number: int) -> ValueError:
        most = f"{self.most:,.0f} bytes, a sixteenth of memory, are the most that a line may take with its key"
        return ValueError(f"line {number} is too long: {most}")
