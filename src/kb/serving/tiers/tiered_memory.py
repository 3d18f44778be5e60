"""The memory that the layers of one sequence share: device pages, the store below, and what reads ahead.

The device tier is one tensor of pages. Each layer has one for its newest tokens, two chunks are the ring through which
pages are streamed, and the rest keeps the first pages of each layer for good. Unusual: which page is in which tier is
decided once, when the page is full, and not by recency. Exact attention reads every page at every step, in the same
order, and of a cycle that is longer than the cache an LRU keeps exactly what is not needed next: it would hit nothing,
and write every page again at every step. Whatever stays put is as good as the best policy can be.

Shapes: D device pages, P tokens of a page, G key-value heads, H head width.
"""

import os

import torch

from kb.arguments import require_count
from kb.serving.tiers.chunk_reader import ChunkReader
from kb.serving.tiers.disk import DiskTier
from kb.serving.tiers.errors import TierError
from kb.serving.tiers.host import page_bytes
from kb.serving.tiers.store import TieredStore
from kb.serving.tiers.traffic import TierTraffic, Traffic

RING = 2  # chunks: one is computed on, one is on its way
AHEAD_NBYTES = 64 << 20  # that the system may fetch from the disk ahead, into its cache of files


class TieredMemory:
    """Pages of [2, P, G, H], keys and values of P tokens of one layer, in three tiers.

    Args:
        kv_heads: G.
        head_dim: H.
        page_tokens: P.
        device_pages: D, all layers together; at least one for each layer and two chunks.
        host_pages: Pages in host memory.
        disk: The tier below, with pages of :func:`page_bytes` ``((2, P, G, H), dtype)``; closed by whoever opened it.
        layers: How many layers share this.
        chunk_pages: Pages that are computed on at a time.
        dtype: What keys and values are kept in.
        device: Where attention is computed.
        timeout: Seconds that any wait may take.

    Raises:
        TypeError, ValueError: an argument is wrong, or there are too few device pages.
    """

    def __init__(
        self,
        *,
        kv_heads: int,
        head_dim: int,
        page_tokens: int,
        device_pages: int,
        host_pages: int,
        disk: DiskTier | None = None,
        layers: int = 1,
        chunk_pages: int = 4,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        timeout: float = 60.0,
    ) -> None:
        sizes = {"kv_heads": kv_heads, "head_dim": head_dim, "page_tokens": page_tokens, "device_pages": device_pages}
        for name, size in (sizes | {"layers": layers, "chunk_pages": chunk_pages}).items():
            require_count(name, size)
        if device_pages < layers + RING * chunk_pages:
            raise ValueError(
                f"device_pages must be at least {layers + RING * chunk_pages}, one for each of {layers} layers and "
                f"{RING} chunks of {chunk_pages}, got {device_pages}"
            )
        page_shape, device = (2, page_tokens, kv_heads, head_dim), torch.device(device)
        self.page_tokens, self.chunk_pages, self.layers = page_tokens, chunk_pages, layers
        self.below_pages = host_pages + (disk.capacity_pages if disk else 0)
        self.store = TieredStore(
            page_shape, dtype, host_pages=host_pages, disk=disk, pin=device.type == "cuda", timeout=timeout
        )
        with torch.inference_mode(False):  # written by a thread that is in no inference mode
            self.pool_2DPGH = torch.empty((2, device_pages, *page_shape[1:]), dtype=dtype, device=device)
        ring = [self.pool_2DPGH[:, layers + i * chunk_pages :][:, :chunk_pages] for i in range(RING)]
        ahead_pages = AHEAD_NBYTES // page_bytes(page_shape, dtype)
        self.reader = ChunkReader(self.store, ring, ahead_pages=ahead_pages, timeout=timeout)
        self.resident_pages = (device_pages - layers - RING * chunk_pages) // layers
        self._first_resident = layers + RING * chunk_pages
        self._device_traffic = TierTraffic()
        self._name = os.urandom(8)  # no page of another run, left on disk, is ever taken for one of this
        self._serial = 0
        self._keys: set[bytes] = set()

    @property
    def device_nbytes(self) -> int:
        """Bytes of the device tier."""
        return self.pool_2DPGH.nbytes

    @property
    def host_nbytes(self) -> int:
        """Bytes of the host tier, with the pages on their way through it."""
        return self.store.nbytes

    @property
    def room(self) -> int:
        """Pages that fit below the device still."""
        return self.below_pages - len(self._keys)

    @property
    def traffic(self) -> Traffic:
        """A copy of what has gone through each tier so far."""
        traffic = self.store.traffic
        traffic.device = self._device_traffic.since(TierTraffic())
        return traffic

    def resident_slots(self, layer: int) -> range:
        """Device pages in which a layer may keep pages for good."""
        start = self._first_resident + layer * self.resident_pages
        return range(start, start + self.resident_pages)

    def read_on_device(self, pages: int) -> None:
        """Count pages that were where they were needed."""
        for _ in range(pages):
            self._device_traffic.read(self.pool_2DPGH[:, 0].nbytes, 0.0)

    def put(self, slot: int) -> bytes:
        """Store a copy of a device page below; its key.

        Raises:
            TierError: it fits nowhere, or the store failed.
        """
        self._serial += 1
        key = self._name + self._serial.to_bytes(8, "big")
        if not self.store.store(key, self.pool_2DPGH[:, slot], pinned=True):
            raise TierError(f"host and disk tier hold {self.below_pages} pages, and they are full")
        self._keys.add(key)
        return key

    def get(self, key: bytes, slot: int) -> None:
        """Copy a page from below to a device page.

        Raises:
            PageLostError: it cannot be had any more.
            TierError: the store failed.
        """
        self.store.require(key, self.pool_2DPGH[:, slot])

    def drop(self, key: bytes) -> None:
        """Forget a page below."""
        self._keys.discard(key)
        self.store.drop(key)

    def close(self) -> None:
        """Forget all pages and stop; the disk tier stays open."""
        try:
            self.reader.close()
        finally:
            for key in list(self._keys):
                self.drop(key)
            self.store.close()

    def __enter__(self) -> "TieredMemory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
