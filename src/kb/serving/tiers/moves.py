"""Where a page may be, and one decision of :class:`~kb.serving.tiers.directory.PageDirectory` on who moves where."""

from dataclasses import dataclass
from enum import Enum


class Presence(Enum):
    """Whether a page is in a tier; ``LEAVING`` (its slot is promised to another page) is readable, ``ARRIVING`` not."""

    ABSENT = 0
    ARRIVING = 1
    READY = 2
    LEAVING = 3


@dataclass(frozen=True)
class Move:
    """One decision, to be carried out in this order: delete ``discard``, write ``victim`` to disk, bring the page.

    A ticket tells an entry from a later one with the same key.
    """

    key: bytes
    ticket: int
    slot: int | None  # where the page goes in host memory; None for the disk
    from_disk: bool = False  # whether it comes from its own file, and not from whoever stores it
    victim: tuple[bytes, int] | None = None  # key and ticket of the page that is in the slot now
    discard: bytes | None = None  # key of a file
