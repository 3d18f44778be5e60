"""Keys and values of one layer of one sequence, in pages in three tiers, and exact attention over all of them.

Tokens fill the layer's newest page, on the device. When more come, a full page gets its place for good: on the device
as long as there is room, else in the store. Attention goes through the newest page, those on the device and, chunk by
chunk, those below, and joins the results (see ``online_softmax``); reading begins before computing does.

Shapes: T tokens, S tokens of a chunk, N query heads, G key-value heads, H head width; P tokens of a page, n pages.
"""

from collections.abc import Sequence

from torch import Tensor

from kb.arguments import is_integer
from kb.serving.tiers.chunk_reader import Chunk
from kb.serving.tiers.errors import PageLostError, TierError
from kb.serving.tiers.online_softmax import Partial, merge, partial_attention
from kb.serving.tiers.tiered_memory import TieredMemory


class TieredLayer:
    """One layer's tokens; ``length`` of them are kept.

    Args:
        memory: Shared with the other layers.
        layer: Which one this is, counted from 0.

    Raises:
        ValueError: ``memory`` was made for fewer layers.
    """

    def __init__(self, memory: TieredMemory, layer: int = 0) -> None:
        if not is_integer(layer) or not 0 <= layer < memory.layers:
            raise ValueError(f"layer must be in 0 to {memory.layers - 1}, got {layer!r}")
        self._memory, self._newest = memory, layer  # the slot of the newest page
        self._free = list(reversed(memory.resident_slots(layer)))
        self._places: list[int | bytes | None] = []  # of the full pages: a slot, a key, None if forgotten
        self._kept_from = 0  # page
        self.length = 0

    def pages_below(self, T: int) -> int:
        """How many pages T more tokens would move below the device."""
        return max(0, self._full_pages(self.length + T) - len(self._places) - len(self._free))

    def append(self, k_TGH: Tensor, v_TGH: Tensor) -> None:
        """Keep T more tokens, converted to the memory's dtype.

        Raises:
            ValueError: the shapes are others than the memory's, or differ.
            TierError: the tiers are full, before anything was done; or the store failed, after some tokens.
        """
        pool, P, T = self._memory.pool_2DPGH, self._memory.page_tokens, len(k_TGH)
        if k_TGH.shape[1:] != pool.shape[3:] or k_TGH.shape != v_TGH.shape:
            raise ValueError(
                f"wanted keys and values [T, {pool.shape[3]}, {pool.shape[4]}], "
                f"got {tuple(k_TGH.shape)} and {tuple(v_TGH.shape)}"
            )
        if self.pages_below(T) > self._memory.room:
            raise TierError(
                f"{T} tokens after {self.length} need {self.pages_below(T)} more pages in host memory and on disk; of "
                f"{self._memory.below_pages} there, {self._memory.room} are free"
            )
        start = 0
        while start < T:
            offset = self.length - len(self._places) * P
            if offset == P:
                self._settle()
                offset = 0
            end = min(T, start + P - offset)
            for kept_PGH, given_TGH in zip(pool[:, self._newest], (k_TGH, v_TGH), strict=True):
                kept_PGH[offset : offset + end - start] = given_TGH[start:end].detach()
            self.length += end - start
            start = end

    def attend(
        self,
        q_TNH: Tensor,
        *,
        first_query: int | None = None,
        window: int | None = None,
        then: Sequence[Chunk] = (),
    ) -> Partial:
        """Attention of T queries over all tokens kept.

        Args:
            q_TNH: N must be a multiple of the memory's key-value heads.
            first_query: Position of the first query, the others follow; the newest token's if not given, so that every
                query sees every token.
            window: How many keys a query sees at most; None for all. Pages that none sees are not read.
            then: Chunks that will be wanted next, from :meth:`chunks`, are read ahead.

        Raises:
            ValueError: the shape of the queries does not fit.
            PageLostError: a page cannot be had any more.
            TierError: the store failed.
        """
        G, H = self._memory.pool_2DPGH.shape[3:]
        if q_TNH.dim() != 3 or q_TNH.shape[2] != H or not q_TNH.shape[1] or q_TNH.shape[1] % G:
            raise ValueError(f"wanted queries [T, N, {H}], N a multiple of {G}, got {tuple(q_TNH.shape)}")
        first_query = max(0, self.length - 1) if first_query is None else first_query
        runs = self._runs(first_query, window)
        below = [run for run in runs if self._keys(run)]
        streamed = self._memory.reader.read([self._keys(run) for run in below], then)
        P, pool = self._memory.page_tokens, self._memory.pool_2DPGH
        newest = len(self._places) * P
        result = self._part(q_TNH, pool[:, self._newest, : self.length - newest], first_query, newest, window)
        self._memory.read_on_device(1)
        for run in runs:
            slot = self._places[run.start]
            if isinstance(slot, int):
                pages_2nPGH = pool[:, slot : slot + len(run)]
                part = self._part(q_TNH, pages_2nPGH.flatten(1, 2), first_query, run.start * P, window)
                result = merge(result, part)
                self._memory.read_on_device(len(run))
        for run, pages_2nPGH in zip(below, streamed, strict=True):
            part = self._part(q_TNH, pages_2nPGH.flatten(1, 2), first_query, run.start * P, window)
            result = merge(result, part)
        return result

    def chunks(self, first_query: int, window: int | None = None) -> list[Chunk]:
        """What :meth:`attend` would read from below."""
        return [keys for run in self._runs(first_query, window) if (keys := self._keys(run))]

    def rewind(self, length: int) -> None:
        """Forget all tokens from position ``length`` on.

        Raises:
            ValueError: ``length`` is not between 0 and the tokens kept, or is among tokens already forgotten.
            PageLostError: the page that becomes the newest cannot be had any more.
        """
        P = self._memory.page_tokens
        if not is_integer(length) or not self._kept_from * P <= length <= self.length:
            raise ValueError(f"length must be in {self._kept_from * P} to {self.length}, got {length!r}")
        full = self._full_pages(length)
        if full < len(self._places):
            place = self._places[full]
            if isinstance(place, bytes):
                self._memory.get(place, self._newest)
            elif place is not None:
                self._memory.pool_2DPGH[:, self._newest] = self._memory.pool_2DPGH[:, place]
        for page in range(full, len(self._places)):
            self._release(page)
        del self._places[full:]
        self.length = length

    def forget_before(self, position: int) -> None:
        """Give up the pages whose tokens are all before a position: no window reaches them any more."""
        for page in range(self._kept_from, min(len(self._places), position // self._memory.page_tokens)):
            self._release(page)
            self._kept_from = page + 1

    def _part(self, q_TNH: Tensor, kv_2SGH: Tensor, first_query: int, first_key: int, window: int | None) -> Partial:
        return partial_attention(
            q_TNH, kv_2SGH[0], kv_2SGH[1], first_query=first_query, first_key=first_key, window=window
        )

    def _full_pages(self, length: int) -> int:
        return max(0, length - 1) // self._memory.page_tokens  # the last page stays the newest until more comes

    def _settle(self) -> None:
        """The newest page is full and gets its place."""
        if self._free:
            slot = self._free.pop()
            self._memory.pool_2DPGH[:, slot] = self._memory.pool_2DPGH[:, self._newest]
            self._places.append(slot)
        else:
            self._places.append(self._memory.put(self._newest))

    def _release(self, page: int) -> None:
        place = self._places[page]
        self._places[page] = None
        if isinstance(place, bytes):
            self._memory.drop(place)
        elif place is not None:
            self._free.append(place)
            self._free.sort(reverse=True)  # so that neighbouring pages stay neighbours

    def _runs(self, first_query: int, window: int | None) -> list[range]:
        """The full pages that somebody sees, neighbours in neighbouring places together, up to a chunk of them."""
        runs: list[range] = []
        oldest = 0 if window is None else max(0, first_query - window + 1)
        for page in range(oldest // self._memory.page_tokens, len(self._places)):
            if self._places[page] is None:
                raise PageLostError(f"the tokens of page {page} were forgotten, and a window of {window} reaches them")
            if runs and len(runs[-1]) < self._memory.chunk_pages and self._follows(page):
                runs[-1] = range(runs[-1].start, page + 1)
            else:
                runs.append(range(page, page + 1))
        return runs

    def _follows(self, page: int) -> bool:
        """Whether a page lies below like the one before it, or in the next slot."""
        before, place = self._places[page - 1 : page + 1]
        if isinstance(before, int) and isinstance(place, int):
            return before + 1 == place
        return isinstance(before, bytes) and isinstance(place, bytes)

    def _keys(self, run: range) -> Chunk:
        """Of the pages of a run that lies below; none of one on the device."""
        return tuple(place for place in self._places[run.start : run.stop] if isinstance(place, bytes))
