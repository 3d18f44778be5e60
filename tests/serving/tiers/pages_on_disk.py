"""What tests read from a disk tier, and the files that it left."""

from collections.abc import Callable
from pathlib import Path

import torch

from kb.serving.tiers import DiskTier

Make = Callable[..., DiskTier]
Page = Callable[..., torch.Tensor]


def read(disk: DiskTier, key: bytes, *, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
    """The page of ``key``, or None; a miss must leave the memory for it alone."""
    out = torch.full((256 // dtype.itemsize,), 7, dtype=dtype)
    found = disk.read(key, out)
    assert found or bool((out == 7).all())  # not touched
    return out if found else None


def files(disk: DiskTier) -> list[Path]:
    """All files of the tier but its lock."""
    return sorted(path for path in disk.folder.iterdir() if path.name != ".lock")
