"""A file that is there whole or not at all: written beside its place, put on the disk, and moved there.

Source: rename(2), which replaces a file at once, and fsync(2), without which its bytes may come after its name.
"""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file such that, whenever the process or the machine stops, the old one is there or the new one is.

    Args:
        path: Where; its folder must be there.
        content: The bytes.

    Raises:
        OSError: it cannot be written; an old file is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.unfinished")
    try:
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else the name could reach the disk before the bytes do
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
