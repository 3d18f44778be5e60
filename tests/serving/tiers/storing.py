"""A disk that waits until a test lets it, and pages that are stored and found again."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kb.serving.tiers import DiskTier, TieredStore

Page = Callable[..., torch.Tensor]
SHAPE = (2, 4, 8)
LONG = 60.0  # seconds that a test may wait for a thread


class GatedDisk(DiskTier):
    """A disk that waits before it writes or reads until the test lets it, and may refuse to write."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, page_nbytes=256, fingerprint="f", keep_cached=True, **options)
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(10**6)
        self.refuses: BaseException | None = None

    def hold(self) -> None:
        """From now on every write and read waits."""
        self.go = threading.Semaphore(0)

    def _gate(self) -> None:
        self.begun.release()
        assert self.go.acquire(timeout=LONG)

    def write(self, key: bytes, page: torch.Tensor) -> None:
        self._gate()
        if self.refuses is not None:
            raise self.refuses
        super().write(key, page)

    def read(self, key: bytes, out: torch.Tensor) -> bool:
        self._gate()
        return super().read(key, out)


def loaded(store: TieredStore, key: bytes) -> torch.Tensor | None:
    """The page of ``key``, or None."""
    out = torch.full(SHAPE, 7.0)
    return out if store.load(key, out) else None


def holds(store: TieredStore, key: bytes, page: torch.Tensor) -> bool:
    """Whether the page of ``key`` is there and equal to this one."""
    found = loaded(store, key)
    return found is not None and torch.equal(found, page)


def fill(store: TieredStore, page: Page, keys: bytes, **options: Any) -> None:
    """Store a page for each letter, and wait until each is where it belongs."""
    for letter in keys:
        assert store.store(bytes([letter]), page(letter), **options)
    store.flush()
