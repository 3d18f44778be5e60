"""The host tier: one tensor of pages in the CPU's memory, page-locked ("pinned") where a GPU copies from it.

Which page is in which slot is the business of :class:`~kb.serving.tiers.directory.PageDirectory`. Pinned memory is
what the GPU's copy engine reads without a detour over a staging buffer of the driver; there it is worth its price, as
the system cannot page it out.
"""

import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from kb.arguments import require_count


class HostTier:
    """``num_pages`` slots of one shape, allocated at once.

    Args:
        page_shape: Of one page.
        dtype: Of its numbers.
        num_pages: Slots; 0 for a tier that holds nothing.
        pin: Whether the memory is page-locked; needs CUDA.

    Raises:
        TypeError: ``dtype`` is not a dtype of torch.
        ValueError: a size is out of range, the pages are more than the machine's memory, or ``pin`` without CUDA.
    """

    def __init__(self, page_shape: Sequence[int], dtype: torch.dtype, num_pages: int, *, pin: bool = False) -> None:
        self.page_nbytes = page_bytes(page_shape, dtype)
        require_count("num_pages", num_pages, least=0)
        require_memory("num_pages", num_pages * self.page_nbytes)
        if pin and not torch.cuda.is_available():
            raise ValueError("pin: page-locked memory needs CUDA, and torch sees none")
        with torch.inference_mode(False):  # written by a thread that is in no inference mode
            self.pages = torch.empty((num_pages, *page_shape), dtype=dtype, pin_memory=pin)

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, used or not."""
        return self.pages.nbytes

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, slot: int) -> Tensor:
        return self.pages[slot]


def page_bytes(page_shape: Sequence[int], dtype: torch.dtype) -> int:
    """Bytes of one page.

    Raises:
        TypeError: ``dtype`` is not a dtype of torch.
        ValueError: the shape is empty, or one of its sizes is not a positive integer.
    """
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype, got {dtype!r}")
    if not page_shape:
        raise ValueError("page_shape must have at least one dimension, got none")
    for size in page_shape:
        require_count("page_shape", size)
    return math.prod(page_shape) * dtype.itemsize


def require_memory(name: str, nbytes: int) -> None:
    """Refuse what the machine cannot hold, before the system kills whoever is largest.

    Raises:
        ValueError: ``nbytes`` exceed the machine's memory.
    """
    if not hasattr(os, "sysconf"):  # Windows refuses by itself: it does not promise more than it has
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if nbytes > memory:
        raise ValueError(f"{name}: {nbytes:,} bytes are wanted, and this machine has {memory:,}")
