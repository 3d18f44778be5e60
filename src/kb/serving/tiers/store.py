"""Pages by key in host memory and on disk: a tensor goes in, and comes out equal, wherever it was meanwhile.

``PageDirectory`` decides, this file moves the bytes. One thread writes: it carries out the directory's moves in their
order, so that a slot is filled only when its last page is safe. Readers take what they ask for in their own thread.
Unusual: one lock guards the directory and every copy from a slot (a few megabytes at the speed of memory); files are
read and written without it. A page that is stored is copied at once into a bounded buffer, which is also what makes a
caller wait who stores faster than the disk writes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.serving.tiers.directory import PageDirectory
from kb.serving.tiers.disk import DiskTier
from kb.serving.tiers.errors import PageLostError, TierError
from kb.serving.tiers.host import HostTier
from kb.serving.tiers.mover import PageMover
from kb.serving.tiers.page_file import require_key
from kb.serving.tiers.traffic import Traffic


class TieredStore:
    """Two tiers behind one dictionary of pages. A page does not change: storing a known key again is only a use of it.

    Host memory is filled first; its least recently used page goes down to disk, and disk's is dropped. What is pinned
    stays where it is; a page that is on its way cannot be read yet. A page that is prefetched keeps its file as long as
    the disk has room for it. Every wait ends after ``timeout`` with an error.

    Args:
        page_shape: Of a page.
        dtype: Of its numbers.
        host_pages: Slots in host memory; 0 for none.
        disk: The tier below, whose pages of an earlier process are found again; closed by whoever opened it.
        pin: Whether host memory is page-locked, for a GPU.
        queue_pages: How many pages may be on their way at once; as many are kept in host memory on top of its slots.
        timeout: Seconds.

    Raises:
        TypeError: ``dtype`` or ``disk`` is something else.
        ValueError: a count is out of range, there is no tier, or the disk's pages are of another size.
    """

    def __init__(
        self,
        page_shape: Sequence[int],
        dtype: torch.dtype,
        *,
        host_pages: int,
        disk: DiskTier | None = None,
        pin: bool = False,
        queue_pages: int = 4,
        timeout: float = 60.0,
    ) -> None:
        if disk is not None and not isinstance(disk, DiskTier):
            raise TypeError(f"disk must be a DiskTier or None, got {type(disk).__name__}")
        require_count("host_pages", host_pages, least=0 if disk else 1)
        require_count("queue_pages", queue_pages)
        if not is_number(timeout) or timeout <= 0:
            raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")
        self._host = HostTier(page_shape, dtype, host_pages, pin=pin)
        if disk is not None and disk.page_nbytes != self._host.page_nbytes:
            raise ValueError(f"disk has pages of {disk.page_nbytes} bytes, wanted {self._host.page_nbytes}")
        staged = HostTier(page_shape, dtype, queue_pages, pin=pin)
        self._directory = PageDirectory(host_pages, disk.capacity_pages if disk else 0, disk.stored() if disk else ())
        self._changed = Condition()
        self._mover = PageMover(self._host, staged, disk, self._directory, self._changed)
        self._disk, self._timeout, self._closed = disk, float(timeout), False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="kb-tiers")

    @property
    def nbytes(self) -> int:
        """Bytes of host memory: slots, and the pages on their way."""
        return self._host.nbytes + self._mover.staged.nbytes

    @property
    def traffic(self) -> Traffic:
        """A copy of the counts so far; the device's stay 0."""
        with self._changed:
            return self._mover.traffic.since(Traffic())

    def __len__(self) -> int:
        with self._changed:
            return len(self._directory)

    def contains(self, key: bytes) -> bool:
        """Whether the page can be read now; what is on its way cannot."""
        with self._changed:
            return self._directory.contains(key)

    def store(self, key: bytes, page: Tensor, *, pinned: bool = False) -> bool:
        """Keep a page. It is copied before this returns, and can be read when the worker has put it in its place.

        Args:
            key: 1 to 255 bytes.
            page: Of the store's shape and dtype, on any device.
            pinned: Never evict it, until :meth:`unpin` or :meth:`drop`.

        Returns:
            False if it fits nowhere, as all that is there is pinned or on its way: then nothing was done.

        Raises:
            TypeError: the page's dtype is another.
            ValueError: the page's shape or the key's length is another.
            TierError: the store is closed, its worker failed, or it has not come to this page in time.
        """
        self._check(key, page, "page")
        with self._usable():
            # Were a page to take the disk because others are still on their way to memory, its place would be a race.
            self._wait(lambda: bool(self._mover.idle) and not self._directory.awaits_slot())
            if self._directory.knows(key):
                self._directory.touch(key)
                return not pinned or self._directory.pin(key)
            move = self._directory.plan_store(key, pinned=pinned)
            if move is None:
                return False
            buffer = self._mover.idle.pop()
            self._mover.staged[buffer].copy_(page.detach())
            self._worker.submit(self._mover.run, move, buffer)
            return True

    def load(self, key: bytes, out: Tensor) -> bool:
        """Copy a page to ``out``, which may lie on any device with any strides; False if it cannot be had.

        A page that turns out to be damaged is forgotten. One that is being prefetched is waited for; one that is still
        being stored is not there yet.

        Raises:
            TypeError, ValueError, TierError: as for :meth:`store`.
        """
        self._check(key, out, "out")
        while True:
            with self._usable():
                self._wait(lambda: not self._directory.is_loading(key))
                if self._load_from_host(key, out):
                    return True
                ticket = self._directory.begin_read(key)
                if ticket is None:
                    self._mover.traffic.disk.misses += 1
                    return False
            right = False
            try:
                right = self._mover.read(key, out)
            finally:
                with self._changed:
                    self._directory.end_read(key, ticket, right=right)
                    self._changed.notify_all()
            if right:
                return True

    def require(self, key: bytes, out: Tensor) -> None:
        """Copy a page that must be there to ``out``; one that is still being stored is waited for.

        Raises:
            PageLostError: it is not there, or damaged.
            TypeError, ValueError, TierError: as for :meth:`store`.
        """
        if not (self.wait(key) and self.load(key, out)):
            reason = self._disk.last_failure if self._disk else ""
            raise PageLostError(f"a page was lost or damaged, its tokens must be computed again; {reason or 'dropped'}")

    def prefetch(self, keys: Iterable[bytes]) -> int:
        """Have pages brought from disk to host memory in the background, as far as the queue has room; how many are.

        Raises:
            TierError: as for :meth:`store`.
        """
        begun = 0
        with self._usable():
            for key in keys:
                move = self._directory.plan_load(key) if self._mover.idle else None
                if move is not None:
                    self._worker.submit(self._mover.run, move, self._mover.idle.pop())
                    begun += 1
        return begun

    def announce(self, keys: Iterable[bytes]) -> None:
        """These pages are loaded next: have the system fetch what is on disk only, into no memory of ours."""
        with self._changed:
            on_disk = [key for key in keys if self._directory.host_slot(key) is None]
        if self._disk is not None:
            self._disk.announce(on_disk)

    def wait(self, key: bytes) -> bool:
        """Wait until a page is no more on its way; whether it can be read now.

        Raises:
            TierError: as for :meth:`store`.
        """
        with self._usable():
            self._wait(lambda: self._directory.contains(key) or not self._directory.knows(key))
            return self._directory.contains(key)

    def pin(self, key: bytes) -> bool:
        """Never evict a page until as many calls of :meth:`unpin`; False where there is none."""
        with self._changed:
            return self._directory.pin(key)

    def unpin(self, key: bytes) -> None:
        """Undo one :meth:`pin`, or the ``pinned`` of :meth:`store`.

        Raises:
            ValueError: the page is there, and not pinned.
        """
        with self._changed:
            self._directory.unpin(key)
            self._changed.notify_all()

    def drop(self, key: bytes) -> None:
        """Forget a page, wherever it is and whether or not it is pinned; nothing happens where there is none."""
        with self._changed:
            if self._directory.drop(key) and self._disk is not None:
                self._disk.delete(key)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until nothing is on its way any more.

        Raises:
            TierError: as for :meth:`store`.
        """
        with self._usable():
            self._wait(lambda: len(self._mover.idle) == len(self._mover.staged))

    def close(self) -> None:
        """Finish what is on its way and stop. What is in host memory is gone, what is on disk stays.

        Raises:
            TierError: what is on its way does not end in time.
        """
        if self._closed:
            return
        try:
            if self._mover.defect is None:
                self.flush()
        finally:
            self._closed = True
            self._worker.shutdown(wait=False)

    def __enter__(self) -> "TieredStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise TierError("this store is closed")
            self._require_sound()
            yield

    def _require_sound(self) -> None:
        if self._mover.defect is not None:
            raise TierError("the worker of this store failed; make a new one") from self._mover.defect

    def _wait(self, done: Callable[[], bool]) -> None:
        """Let others have the lock until something holds, or the worker fails, or it took too long."""
        in_time = self._changed.wait_for(lambda: self._mover.defect is not None or done(), self._timeout)
        self._require_sound()
        if not in_time:
            raise TierError(f"nothing came of this store's worker in {self._timeout} s: is the disk stuck?")

    def _load_from_host(self, key: bytes, out: Tensor) -> bool:
        slot, host = self._directory.host_slot(key), self._mover.traffic.host
        if slot is None:
            host.misses += 1
            return False
        start = time.perf_counter()
        out.copy_(self._host[slot])
        host.read(out.nbytes, time.perf_counter() - start)
        self._directory.touch(key)
        return True

    def _check(self, key: bytes, page: Tensor, name: str) -> None:
        wanted = self._host.pages
        require_key(key)
        if page.dtype != wanted.dtype:
            raise TypeError(f"{name} must be {wanted.dtype}, got {page.dtype}")
        if page.shape != wanted.shape[1:]:
            raise ValueError(f"{name} must be {tuple(wanted.shape[1:])}, got {tuple(page.shape)}")
