"""The disk tier: a folder with one file a page, mapped into memory to be read.

A page is written under another name and renamed when it is whole, so that a name never stands for half a page, however
the process ends. Every read checks the file (see ``page_file``); one that is not right counts as missing and is
removed. That is why nothing is synchronised for safety's sake: after a loss of power a page may be damaged, and then it
is computed again, which is all that can be asked of a cache.

Unusual: pages are kept out of the system's own cache of files. Otherwise "disk" would mean memory, uncounted, until it
runs out. The system drops only what is on the disk already, so pages that were written are waited for and dropped
(``POSIX_FADV_DONTNEED``) a few dozen megabytes at a time, and a page that was read is dropped at once. Reading ahead is
asked for in so many words (:meth:`DiskTier.announce`), since the order of files tells the system nothing.

A file that another program cuts while it is being read ends the process (SIGBUS) rather than give a wrong page; nothing
here changes a file in place.
"""

import mmap
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from kb.arguments import require_count
from kb.serving.tiers.errors import TierError
from kb.serving.tiers.page_file import (
    HEADER_BYTES,
    BadPageError,
    checksum,
    digest,
    pack_header,
    read_header,
    require_key,
)

_PAGE, _UNFINISHED = ".page", ".unfinished"
_BATCH_NBYTES = 32 << 20  # written and not yet waited for
_READ_AHEAD = 128 << 10  # Linux reads no more at one request than a device's read_ahead_kb, which is this by default


class DiskTier:
    """A folder of pages, which one process at a time may use.

    Pages of an earlier process are found again if they were made with the same fingerprint; all others, and what a
    killed process left unfinished, are deleted, as are the oldest beyond the capacity. Its methods may be called from
    several threads, for different keys.

    Args:
        folder: Made if it does not exist; holds nothing else.
        page_nbytes: Bytes of a page.
        capacity_pages: How many pages may be there. Who stores more decides what goes: see ``PageDirectory``.
        fingerprint: Names everything that the meaning of a page depends on: weights, layout, dtype.
        keep_cached: Leave pages in the system's cache of files: faster as long as memory lasts, and uncounted.

    Raises:
        ValueError: a number is not a positive integer, the fingerprint is empty, or ``folder`` is a file.
        TierError: another process uses the folder, it cannot be written, or its disk is too small.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        page_nbytes: int,
        capacity_pages: int,
        fingerprint: str,
        keep_cached: bool = False,
    ) -> None:
        require_count("page_nbytes", page_nbytes)
        require_count("capacity_pages", capacity_pages)
        if not isinstance(fingerprint, str) or not fingerprint:
            raise ValueError(f"fingerprint must be a text that is not empty, got {fingerprint!r}")
        self.folder = Path(folder).absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"folder: {self.folder} is a file")
        self.page_nbytes, self.capacity_pages, self.keep_cached = page_nbytes, capacity_pages, keep_cached
        self._fingerprint = digest(fingerprint.encode())
        self._lock = FileLock(self.folder / ".lock", thread_local=False)  # whoever closes need not be who opened
        self.last_failure = ""  # why a page could not be written or read, for messages
        self._names = count()
        self._batch: list[Path] = []
        self._batch_lock = Lock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise TierError(f"{self.folder} is in use by another process; give each its own folder") from error
        except OSError as error:
            raise TierError(f"{self.folder} cannot be used: {error}") from error
        try:
            self._require_space(len(self.stored()))
        except BaseException:
            self._lock.release()
            raise

    def stored(self) -> tuple[bytes, ...]:
        """Keys of the pages that are there, least recently used first, by their headers alone.

        Deletes what is no page of ours and what is unfinished, so nothing may be written meanwhile.
        """
        for stale in self.folder.glob(f"*{_UNFINISHED}"):
            stale.unlink(missing_ok=True)
        found: list[tuple[int, bytes]] = []
        for path in self.folder.glob(f"*{_PAGE}"):
            try:
                with open(path, "rb", buffering=0) as file:
                    key, _ = read_header(file.read(HEADER_BYTES), self._fingerprint, self.page_nbytes)
                    status = os.fstat(file.fileno())
                if path != self._path(key) or status.st_size != HEADER_BYTES + self.page_nbytes:
                    raise BadPageError("it is not under its own name, or was cut")
                found.append((status.st_mtime_ns, key))
            except (BadPageError, OSError):
                with suppress(OSError):
                    path.unlink()
        found.sort()
        beyond = max(0, len(found) - self.capacity_pages)
        for _, key in found[:beyond]:
            self.delete(key)
        return tuple(key for _, key in found[beyond:])

    def write(self, key: bytes, page: Tensor) -> None:
        """Write a page, whole or not at all.

        Args:
            key: 1 to 255 bytes.
            page: Contiguous, in the CPU's memory, of ``page_nbytes`` bytes.

        Raises:
            ValueError: the key or the page is of another size.
            OSError: the disk is full, the folder gone or read-only, or the disk failed; nothing is left behind.
        """
        require_key(key)
        data = page.detach().reshape(-1).view(torch.uint8).numpy().data
        if data.nbytes != self.page_nbytes:
            raise ValueError(f"page has {data.nbytes} bytes, wanted {self.page_nbytes}")
        path = self._path(key)
        unfinished = path.with_name(f"{path.stem}-{next(self._names)}{_UNFINISHED}")
        try:
            with open(unfinished, "xb", buffering=0) as file:
                for part in (memoryview(pack_header(key, self._fingerprint, data)), data):
                    while part:
                        part = part[file.write(part) :]
                if not self.keep_cached:
                    _drop_from_cache(file.fileno())  # cannot be dropped yet: begins to be written
            os.replace(unfinished, path)
        except BaseException as error:
            self.last_failure = f"writing {path}: {error}"
            with suppress(OSError):
                unfinished.unlink()
            raise
        if not self.keep_cached:
            self._drop_later(path)

    def read(self, key: bytes, out: Tensor) -> bool:
        """Read a page and check it.

        Args:
            key: The page's.
            out: Where to; any device and strides, ``page_nbytes`` bytes. Written only if the page is right.

        Returns:
            False if there is no such page, or if it was not right or not readable; it is then removed.
        """
        require_key(key)
        if out.nbytes != self.page_nbytes:
            raise ValueError(f"out has {out.nbytes} bytes, wanted {self.page_nbytes}")
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            self.last_failure = f"reading {path}: {error}"
            return False
        except OSError as error:
            return self._is_bad(key, error)
        try:
            self._read_checked(descriptor, key, out)
        except (BadPageError, OSError) as error:
            return self._is_bad(key, error)
        finally:
            if not self.keep_cached:
                _drop_from_cache(descriptor)
            os.close(descriptor)
        with suppress(OSError):
            os.utime(path)  # the order of use outlives the process
        return True

    def announce(self, keys: Iterable[bytes]) -> None:
        """These pages are read next: the system may fetch them from the disk meanwhile."""
        if not hasattr(os, "posix_fadvise"):
            return
        for key in keys:
            with suppress(OSError):
                descriptor = os.open(self._path(key), os.O_RDONLY)
                try:
                    for start in range(0, HEADER_BYTES + self.page_nbytes, _READ_AHEAD):
                        os.posix_fadvise(descriptor, start, _READ_AHEAD, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(descriptor)

    def delete(self, key: bytes) -> None:
        """Remove a page; nothing happens where there is none."""
        with suppress(OSError):
            self._path(key).unlink()

    def close(self) -> None:
        """Let another process use the folder; the pages stay."""
        self._lock.release()

    def __enter__(self) -> "DiskTier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, key: bytes) -> Path:
        return self.folder / (digest(key).hex() + _PAGE)

    def _is_bad(self, key: bytes, error: Exception) -> bool:
        self.last_failure = f"reading {self._path(key)}: {error}"
        self.delete(key)
        return False

    def _drop_later(self, path: Path) -> None:
        """Once enough pages are on their way to the disk, wait for them and drop them: one by one takes far longer."""
        with self._batch_lock:
            self._batch.append(path)
            if len(self._batch) < max(1, _BATCH_NBYTES // self.page_nbytes):
                return
            batch, self._batch = self._batch, []
        for written in batch:
            with suppress(OSError):  # a page that could not be written after all is noticed when it is read
                descriptor = os.open(written, os.O_RDONLY)
                try:
                    getattr(os, "fdatasync", os.fsync)(descriptor)
                    _drop_from_cache(descriptor)
                finally:
                    os.close(descriptor)

    def _read_checked(self, descriptor: int, key: bytes, out: Tensor) -> None:
        size = os.fstat(descriptor).st_size
        if size != HEADER_BYTES + self.page_nbytes:
            raise BadPageError(f"it has {size} bytes, wanted {HEADER_BYTES + self.page_nbytes}")
        # A private map may be written, which torch wants of memory that it wraps; nobody does. It ends with this call.
        mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
        found, wanted = read_header(mapped[:HEADER_BYTES], self._fingerprint, self.page_nbytes)
        if found != key:
            raise BadPageError("it is another page")
        if checksum(memoryview(mapped)[HEADER_BYTES:]) != wanted:
            raise BadPageError("it was altered")
        out.copy_(torch.frombuffer(mapped, dtype=out.dtype, offset=HEADER_BYTES).view(out.shape))

    def _require_space(self, stored: int) -> None:
        wanted = (self.capacity_pages - stored) * (HEADER_BYTES + self.page_nbytes)
        free = shutil.disk_usage(self.folder).free
        if wanted > free:
            raise TierError(
                f"{self.capacity_pages} pages need {wanted:,} bytes more in {self.folder}; {free:,} are free"
            )


def _drop_from_cache(descriptor: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
