"""Which page is in which tier, and what must move when another comes: bytes and integers, no tensor and no file.

A page is known by its key and never changes, so it may lie in a slot of host memory and on disk at once: going back
down then costs no second write. Each tier has its own order of least recent use. Unusual: a decision is taken in full
when it is asked for (the slot, its victim, the file that makes room), and given out as a :class:`Move` that somebody
carries out later, in the order of the decisions. Until that is reported, what is on its way can neither be read where
it is going nor become a victim, and a page that is leaving its slot can still be read there.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from kb.arguments import require_count
from kb.serving.tiers.moves import Move, Presence


@dataclass(slots=True, eq=False)
class _Entry:
    key: bytes
    ticket: int
    pins: int = 0
    readers: int = 0
    slot: int | None = None
    host: Presence = Presence.ABSENT
    disk: Presence = Presence.ABSENT


class PageDirectory:
    """Two tiers' worth of bookkeeping.

    Args:
        host_pages: Slots of host memory; 0 for none.
        disk_pages: Files that may exist; 0 for none.
        on_disk: Keys of files that are there already, least recently used first.

    Raises:
        ValueError: a count is not an integer of at least 0, or there are more files than may exist.
    """

    def __init__(self, host_pages: int, disk_pages: int, on_disk: Iterable[bytes] = ()) -> None:
        require_count("host_pages", host_pages, least=0)
        require_count("disk_pages", disk_pages, least=0)
        self.disk_pages = disk_pages
        self.disk_used = 0
        self._arriving = 0  # pages on their way to a slot
        self._free = list(range(host_pages - 1, -1, -1))
        self._entries: dict[bytes, _Entry] = {}
        self._tickets = 0
        self._host_lru: OrderedDict[bytes, _Entry] = OrderedDict()  # what may be evicted now, and nothing else
        self._disk_lru: OrderedDict[bytes, _Entry] = OrderedDict()
        for key in on_disk:
            self._update(self._enter(key), disk=Presence.READY)
        if self.disk_used > disk_pages:
            raise ValueError(f"on_disk has {self.disk_used} keys, and disk_pages allows {disk_pages}")

    def __len__(self) -> int:
        return len(self._entries)

    def contains(self, key: bytes) -> bool:
        """Whether the page can be read now: what is only on its way cannot."""
        return self.host_slot(key) is not None or self._is(key, disk=Presence.READY)

    def knows(self, key: bytes) -> bool:
        """Whether the page is here or on its way."""
        return key in self._entries

    def is_loading(self, key: bytes) -> bool:
        """Whether the page is on its way from disk to host memory."""
        return self._is(key, host=Presence.ARRIVING, disk=Presence.READY)

    def host_slot(self, key: bytes) -> int | None:
        """The slot in which the page can be read, or None."""
        entry = self._entries.get(key)
        return entry.slot if entry and entry.host in (Presence.READY, Presence.LEAVING) else None

    def touch(self, key: bytes) -> None:
        """The page was used: it is evicted last, in both tiers."""
        for order in (self._host_lru, self._disk_lru):
            if key in order:
                order.move_to_end(key)

    def pin(self, key: bytes) -> bool:
        """Keep a page, here or on its way, until as many calls of :meth:`unpin`; False where there is none."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.pins += 1
            self._update(entry)
        return entry is not None

    def unpin(self, key: bytes) -> None:
        """Undo one :meth:`pin`; of a page that was dropped or lost meanwhile there is nothing to undo.

        Raises:
            ValueError: the page is not pinned.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        if not entry.pins:
            raise ValueError(f"key: {key!r} is not pinned")
        entry.pins -= 1
        self._update(entry)

    def awaits_slot(self) -> bool:
        """Whether no slot can be had now, but soon: pages that are on their way there may be evicted when they come."""
        return bool(self._arriving) and not self._free and not self._host_lru

    def plan_store(self, key: bytes, *, pinned: bool = False) -> Move | None:
        """Find a place for a new page: in host memory if any can be made, else on disk; None if it fits nowhere.

        Raises:
            ValueError: the page is known.
        """
        if key in self._entries:
            raise ValueError(f"key: {key!r} is stored already")
        entry = self._enter(key)
        entry.pins = int(pinned)
        if (move := self._claim_slot(entry)) is not None:
            return move
        fits, discard = self._claim_file()
        if not fits:
            del self._entries[key]
            return None
        self._update(entry, disk=Presence.ARRIVING)
        return Move(key, entry.ticket, None, discard=discard)

    def plan_load(self, key: bytes) -> Move | None:
        """Bring a page from disk into host memory; None if it is not only on disk, or no slot can be had."""
        if not self._is(key, host=Presence.ABSENT, disk=Presence.READY):
            return None
        return self._claim_slot(self._entries[key])

    def finish_victim(self, move: Move, *, written: bool) -> tuple[bool, bool]:
        """The victim of a move was written to disk, or could not be.

        A victim that could not be written is gone; a pinned one stays where it is, and the page that was to come is not
        stored.

        Returns:
            Whether the slot is free for the page of the move; whether the victim's file must be deleted, as it was
            dropped meanwhile.
        """
        if move.victim is None or move.slot is None:
            raise ValueError(f"move: {move} has no victim")
        victim = self._alive(*move.victim)
        if victim is None:
            return True, written
        if written:
            victim.slot = None
            self._update(victim, host=Presence.ABSENT, disk=Presence.READY)
        elif victim.pins:
            self._update(victim, host=Presence.READY, disk=Presence.ABSENT)
            self._cancel(move)
            return False, False
        else:
            self._forget(victim)
        return True, False

    def finish(self, move: Move, *, arrived: bool) -> bool:
        """The page of a move is where it was to go, or could not be brought and is gone; whether to delete its file."""
        entry = self._alive(move.key, move.ticket)
        if entry is not None and arrived:
            if move.slot is None:
                self._update(entry, disk=Presence.READY)
            else:
                self._update(entry, host=Presence.READY)
            return False
        if move.slot is not None:
            self._free.append(move.slot)
        if entry is not None:
            self._forget(entry)
        return move.slot is None or (move.from_disk and entry is not None)

    def begin_read(self, key: bytes) -> int | None:
        """Somebody reads the page's file: it is not evicted until :meth:`end_read`. Its ticket, or None if no file."""
        if not self._is(key, disk=Presence.READY):
            return None
        entry = self._entries[key]
        entry.readers += 1
        self._update(entry)
        return entry.ticket

    def end_read(self, key: bytes, ticket: int, *, right: bool) -> None:
        """The file was read; where it was not right it is forgotten, and the page with it unless it is in a slot."""
        entry = self._alive(key, ticket)
        if entry is None:
            return
        entry.readers -= 1
        self._update(entry)
        if not right and entry.disk is Presence.READY:
            self._update(entry, disk=Presence.ABSENT)
            if entry.host is Presence.ABSENT:
                self._forget(entry)

    def drop(self, key: bytes) -> bool:
        """Forget a page, pinned or not; whether it has a file that must be deleted."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        has_file = entry.disk is Presence.READY
        if entry.host is Presence.READY and entry.slot is not None:
            self._free.append(entry.slot)  # a slot that is promised, or being filled, is another's to free
        self._forget(entry)
        return has_file

    def _enter(self, key: bytes) -> _Entry:
        self._tickets += 1
        self._entries[key] = entry = _Entry(key, self._tickets)
        return entry

    def _alive(self, key: bytes, ticket: int) -> _Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.ticket == ticket else None

    def _is(self, key: bytes, *, host: Presence | None = None, disk: Presence | None = None) -> bool:
        entry = self._entries.get(key)
        return entry is not None and host in (None, entry.host) and disk in (None, entry.disk)

    def _update(self, entry: _Entry, *, host: Presence | None = None, disk: Presence | None = None) -> None:
        """Change where a page is, and whether it may be evicted from there."""
        was_on_disk, was_arriving = entry.disk is not Presence.ABSENT, entry.host is Presence.ARRIVING
        entry.host = entry.host if host is None else host
        entry.disk = entry.disk if disk is None else disk
        self.disk_used += (entry.disk is not Presence.ABSENT) - was_on_disk
        self._arriving += (entry.host is Presence.ARRIVING) - was_arriving
        idle = not entry.pins and not entry.readers and Presence.ARRIVING not in (entry.host, entry.disk)
        for order, presence in ((self._host_lru, entry.host), (self._disk_lru, entry.disk)):
            if not idle or presence is not Presence.READY:
                order.pop(entry.key, None)
            elif entry.key not in order:
                order[entry.key] = entry

    def _forget(self, entry: _Entry) -> None:
        self._update(entry, host=Presence.ABSENT, disk=Presence.ABSENT)
        del self._entries[entry.key]

    def _cancel(self, move: Move) -> None:
        entry = self._alive(move.key, move.ticket)
        if entry is not None:
            entry.slot = None
            self._update(entry, host=Presence.ABSENT)
            if entry.disk is Presence.ABSENT:
                self._forget(entry)

    def _claim_file(self) -> tuple[bool, bytes | None]:
        """Whether one more file may exist, and the key of the one that must go for it."""
        if self.disk_used < self.disk_pages:
            return True, None
        if not self._disk_lru:
            return False, None
        victim = next(iter(self._disk_lru.values()))
        self._update(victim, disk=Presence.ABSENT)
        if victim.host is Presence.ABSENT:
            self._forget(victim)
        return True, victim.key

    def _claim_slot(self, entry: _Entry) -> Move | None:
        """Give a slot to a page: a free one, or that of the page that was used least recently."""
        victim = discard = None
        if self._free:
            entry.slot = self._free.pop()
        elif self._host_lru:
            victim = next(iter(self._host_lru.values()))
            entry.slot = victim.slot
        else:
            return None
        self._update(entry, host=Presence.ARRIVING)  # first, so that its own file is not what makes room
        moves = None
        if victim is not None and victim.disk is Presence.READY:
            victim.slot = None
            self._update(victim, host=Presence.ABSENT)
        elif victim is not None:
            self._update(victim, host=Presence.LEAVING)
            fits, discard = self._claim_file()
            if fits:
                self._update(victim, disk=Presence.ARRIVING)
                moves = (victim.key, victim.ticket)
            else:
                self._forget(victim)
        from_disk = entry.disk is Presence.READY
        return Move(entry.key, entry.ticket, entry.slot, from_disk=from_disk, victim=moves, discard=discard)
