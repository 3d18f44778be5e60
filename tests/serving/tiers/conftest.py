"""A disk tier of small pages, and pages that tell who they are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kb.serving.tiers import DiskTier
from tests.serving.tiers.storing import GatedDisk

PAGE_SHAPE = (2, 4, 8)


def page_of(number: int, shape: tuple[int, ...] = PAGE_SHAPE) -> torch.Tensor:
    """A page that no other number gives."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


@pytest.fixture
def page() -> Callable[..., torch.Tensor]:
    """The function, handed to tests as a fixture so that they need not import a conftest."""
    return page_of


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[..., DiskTier]]:
    """Opens the same folder each time; what is still open at the end is closed."""
    opened: list[DiskTier] = []

    def make(**options: Any) -> DiskTier:
        options = {"page_nbytes": 256, "capacity_pages": 8, "fingerprint": "model A"} | options
        opened.append(DiskTier(options.pop("folder", tmp_path / "pages"), **options))
        return opened[-1]

    yield make
    for disk in opened:
        disk.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[GatedDisk]:
    """A disk of four pages, whose gate stands open until the test closes it."""
    with GatedDisk(tmp_path / "pages", capacity_pages=4) as disk:
        yield disk
        disk.go.release(1000)
