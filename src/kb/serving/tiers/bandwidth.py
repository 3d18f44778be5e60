"""What the disk itself gives: one file written and read from end to end, past the system's cache of files.

The measure that a tier's bandwidth is a share of. On a shared machine it changes from minute to minute: measure right
before and after what it is compared with.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from kb.arguments import require_count


class DiskBandwidth(NamedTuple):
    """Bytes a second."""

    read: float
    write: float


def measure_disk_bandwidth(folder: Path | str, nbytes: int, *, block_nbytes: int = 8 << 20) -> DiskBandwidth:
    """Write a file of about ``nbytes``, wait until it is on the disk, drop it from the system's cache, and read it.

    Args:
        folder: On the disk in question; the file is deleted afterwards.
        nbytes: Rounded up to whole blocks.
        block_nbytes: Bytes written and read at a time.

    Raises:
        ValueError: a size is not a positive integer, or ``folder`` is not a folder.
        OSError: the disk is full or failed.
    """
    require_count("nbytes", nbytes)
    require_count("block_nbytes", block_nbytes)
    if not Path(folder).is_dir():
        raise ValueError(f"folder: {folder} is not a folder")
    block = bytearray(os.urandom(min(block_nbytes, 1 << 20)) * -(-block_nbytes // (1 << 20)))[:block_nbytes]
    blocks = -(-nbytes // block_nbytes)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        start = time.perf_counter()
        for _ in range(blocks):
            file.write(block)
        os.fsync(file.fileno())
        written = time.perf_counter()
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        begun = time.perf_counter()
        total = 0
        while count := file.readinto(block):
            total += count
        return DiskBandwidth(total / (time.perf_counter() - begun), total / (written - start))
