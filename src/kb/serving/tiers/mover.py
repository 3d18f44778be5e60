"""Carries out what the directory decided: pages between a buffer, slots of host memory and files.

Runs in the store's one worker thread. A failure of the disk is an everyday matter: it is counted, and the page that was
to come has no entry. Anything else is a defect: it is kept, and every later call on the store raises it.
"""

import time
from threading import Condition

from torch import Tensor

from kb.serving.tiers.directory import PageDirectory
from kb.serving.tiers.disk import DiskTier
from kb.serving.tiers.host import HostTier
from kb.serving.tiers.moves import Move
from kb.serving.tiers.traffic import Traffic


class PageMover:
    """The bytes' side of a store; ``changed`` guards directory, traffic and ``idle``.

    Args:
        host: Slots.
        staged: Buffers of pages on their way, one per move.
        disk: Files, or None.
        directory: Where the outcome is reported.
        changed: Notified whenever a move has ended.
    """

    def __init__(
        self, host: HostTier, staged: HostTier, disk: DiskTier | None, directory: PageDirectory, changed: Condition
    ) -> None:
        self.host, self.staged, self.disk = host, staged, disk
        self.directory, self.changed = directory, changed
        self.idle = list(range(len(staged)))  # buffers
        self.traffic = Traffic()
        self.defect: BaseException | None = None

    def run(self, move: Move, buffer: int) -> None:
        """Carry out one move, and give its buffer back whatever comes."""
        try:
            self._carry_out(move, self.staged[buffer])
        except BaseException as error:
            self.defect = error
        finally:
            with self.changed:
                self.idle.append(buffer)
                self.changed.notify_all()

    def read(self, key: bytes, out: Tensor) -> bool:
        """Read and check a page's file, in the caller's thread and without the lock; whether it was right."""
        start = time.perf_counter()
        right = self.disk is not None and self.disk.read(key, out)
        seconds = time.perf_counter() - start
        with self.changed:
            if right:
                self.traffic.disk.read(out.nbytes, seconds)
            else:
                self.traffic.disk.failures += 1
        return right

    def _carry_out(self, move: Move, staged: Tensor) -> None:
        if move.discard is not None:
            self._delete(move.discard)
        if move.victim is not None and move.slot is not None:
            written = self._write(move.victim[0], self.host[move.slot])
            with self.changed:
                has_slot, was_dropped = self.directory.finish_victim(move, written=written)
            if was_dropped:
                self._delete(move.victim[0])
            if not has_slot:
                return
        arrived = self._bring(move, staged)
        with self.changed:
            useless = self.directory.finish(move, arrived=arrived)
        if useless:
            self._delete(move.key)

    def _bring(self, move: Move, staged: Tensor) -> bool:
        if move.slot is None:
            return self._write(move.key, staged)
        slot = self.host[move.slot]
        if move.from_disk:
            return self.read(move.key, slot)
        start = time.perf_counter()
        slot.copy_(staged)
        with self.changed:
            self.traffic.host.wrote(slot.nbytes, time.perf_counter() - start)
        return True

    def _write(self, key: bytes, page: Tensor) -> bool:
        start = time.perf_counter()
        try:
            if self.disk is None:
                return False
            self.disk.write(key, page)
        except OSError:
            with self.changed:
                self.traffic.disk.failures += 1
            return False
        with self.changed:
            self.traffic.disk.wrote(page.nbytes, time.perf_counter() - start)
        return True

    def _delete(self, key: bytes) -> None:
        if self.disk is not None:
            self.disk.delete(key)
