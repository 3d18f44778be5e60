"""Reads pages in chunks into a few device buffers, ahead of whoever computes on them.

While one buffer is computed on, threads fill the next; when the chunks that were asked for run out, they go on with
those that will be asked for next (the next layer's), and these are then found there. Unusual: that is only a guess. A
chunk is known by the keys of its pages, and keys are never used twice, so a wrong guess costs a read and nothing else.

Two threads, since checking and copying a page takes a processor about as long as a fast disk takes to deliver it; and
the system is told of pages long before they are copied, since a disk is fast only with many requests at once.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from torch import Tensor

from kb.serving.tiers.errors import TierError
from kb.serving.tiers.store import TieredStore

Chunk = tuple[bytes, ...]  # keys of pages


class ChunkReader:
    """Chunks of a store's pages, in order.

    Args:
        store: Where the pages are.
        buffers: One for each chunk that is computed on or on its way; [2, pages of a chunk, …] each, so that keys and
            values of neighbouring pages lie next to each other.
        ahead_pages: How many pages the system is asked to fetch from the disk ahead, into its own cache of files.
        timeout: Seconds that a chunk may take.
    """

    def __init__(
        self, store: TieredStore, buffers: Sequence[Tensor], *, ahead_pages: int = 0, timeout: float = 60.0
    ) -> None:
        self._store, self._buffers, self._timeout = store, buffers, timeout
        self._ahead_pages = ahead_pages
        self._announced: dict[bytes, None] = {}
        self._idle = list(range(len(buffers)))
        self._begun: dict[Chunk, tuple[int, list[Future[None]]]] = {}  # which buffer, and the pages' arrivals
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="kb-chunks")

    def read(self, chunks: Sequence[Chunk], then: Sequence[Chunk] = ()) -> Iterator[Tensor]:
        """The pages of each chunk, [2, n, …], good until the next is asked for. Reading begins with this call.

        Args:
            chunks: What is wanted, in this order.
            then: What will probably be wanted next.

        Raises:
            PageLostError: a page cannot be had.
            TierError: the store failed, or it takes too long.
        """
        ahead = [*chunks, *then]
        self._forget_all_but(ahead[: len(self._buffers)])
        self._begin(ahead)
        return self._take(chunks, ahead)

    def close(self) -> None:
        """Stop reading ahead."""
        self._forget_all_but(())
        self._threads.shutdown(wait=False)

    def _take(self, chunks: Sequence[Chunk], ahead: Sequence[Chunk]) -> Iterator[Tensor]:
        for number, chunk in enumerate(chunks):
            buffer, arrivals = self._begun[chunk]
            self._await(arrivals)
            for arrival in arrivals:
                arrival.result()
            del self._begun[chunk]  # not before: where this failed, the buffer may still be written to
            try:
                yield self._buffers[buffer][:, : len(chunk)]
            finally:  # whoever computes may have failed
                self._idle.append(buffer)
            self._begin(ahead[number + 1 :])

    def _begin(self, ahead: Sequence[Chunk]) -> None:
        for number, chunk in enumerate(ahead[: len(self._buffers)]):
            if chunk not in self._begun and self._idle:
                self._threads.submit(self._store.announce, self._not_announced(ahead[number:]))
                buffer = self._idle.pop()
                pages = self._buffers[buffer].unbind(1)
                arrivals = [
                    self._threads.submit(self._store.require, key, page)
                    for key, page in zip(chunk, pages[: len(chunk)], strict=True)
                ]
                self._begun[chunk] = buffer, arrivals

    def _not_announced(self, ahead: Sequence[Chunk]) -> list[bytes]:
        """Keys of the next pages, as far as the system is to look ahead, that it was not told of before."""
        horizon: dict[bytes, None] = {}
        for chunk in ahead:
            if len(horizon) >= self._ahead_pages:
                break
            horizon.update(dict.fromkeys(chunk))
        fresh = [key for key in horizon if key not in self._announced]
        self._announced = horizon
        return fresh

    def _await(self, arrivals: Sequence[Future[None]]) -> None:
        if wait(arrivals, self._timeout).not_done:
            raise TierError(f"no chunk of pages came in {self._timeout} s: is the disk stuck?")

    def _forget_all_but(self, kept: Sequence[Chunk]) -> None:
        for chunk in [chunk for chunk in self._begun if chunk not in kept]:
            buffer, arrivals = self._begun[chunk]
            self._await([arrival for arrival in arrivals if not arrival.cancel()])
            del self._begun[chunk]
            self._idle.append(buffer)
