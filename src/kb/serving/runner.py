"""Carries out the tensor side of a step: moves blocks, runs the model over all chunks in one pass, gives logits.

Every chunk of a step lies in one row of tokens, [1, T], whatever sequence it belongs to; the paged cache sorts out who
sees whom. Only tokens after which one is chosen reach the output head.

Shapes: T tokens of a step, D model width, V vocabulary, R tokens whose logits are asked for.
"""

import ctypes
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from kb import runtime
from kb.lm import DecoderLM
from kb.serving.batch import PagedBatch
from kb.serving.block_tables import Copy
from kb.serving.kv_cache import PagedKVCache
from kb.serving.tiers.host import require_memory

# glibc's names for what malloc does with freed memory, and the largest number that it takes for the second.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEPT_BYTES, _MMAP_BYTES = -1, -3, 2**28, 2**25


class ModelRunner:
    """A model and its paged cache, and blocks of host memory for swapping.

    Args:
        model: In inference mode, on one device.
        cache: On the same device, of the model's dtype.
        host_blocks: Blocks of host memory, pinned where the device is a GPU.

    On a CPU under Linux the whole process keeps more of its freed memory from then on, and that cannot be undone.

    Raises:
        ValueError: the angles of the model's rotary embedding depend on the length of the sequence: tokens of different
            sequences could not share a pass.
    """

    def __init__(self, model: DecoderLM, cache: PagedKVCache, *, host_blocks: int = 0) -> None:
        if model.config.rope.varies_with_length:
            raise ValueError(
                f"rope_type {model.config.rope.type!r} gives a position other angles in longer sequences: such a model "
                "cannot run sequences of different lengths in one pass"
            )
        self.model, self.cache = model, cache
        self.device = model.embed_tokens.weight.device
        if self.device.type == "cpu":
            _keep_freed_memory()
        page = cache.page(0)
        require_memory("swap_space", host_blocks * page.nbytes)
        pin = self.device.type == "cuda"
        self.host_pages = torch.empty((host_blocks, *page.shape), dtype=page.dtype, pin_memory=pin)

    def swap_out(self, moves: Sequence[Copy]) -> None:
        """Copy device blocks to host blocks."""
        for block, host in moves:
            self.host_pages[host].copy_(self.cache.page(block))

    def swap_in(self, moves: Sequence[Copy]) -> None:
        """Copy host blocks to device blocks."""
        for host, block in moves:
            self.cache.load_page(block, self.host_pages[host])

    def seconds_per_block(self) -> float:
        """Measured seconds of copying one block between device and host, one way; 0 without host blocks."""
        if not len(self.host_pages):
            return 0.0
        here = [Copy(0, 0)]
        self.swap_out(here)  # the first touch of the memory is slower
        runtime.synchronize(self.device)
        start = time.perf_counter()
        self.swap_out(here)
        self.swap_in(here)
        runtime.synchronize(self.device)
        return (time.perf_counter() - start) / 2

    def run(
        self, tokens: list[int], chunks: Sequence[tuple[list[int], int, int]], *, last_only: bool = False
    ) -> Tensor:
        """Hidden states [T, D] of all tokens of a step, whose keys and values are then in the cache.

        Args:
            tokens: Ids of all chunks, one chunk after the other.
            chunks: (block table, start, end) of each.
            last_only: Whether to give those of the last token of each chunk alone, which is faster.
        """
        batch = PagedBatch(self.cache, chunks)
        rows_R = None
        if last_only and len(chunks) < len(tokens):
            rows_R = torch.tensor(batch.last_rows, device=self.device)
        x_BTD = self.model.hidden(torch.tensor([tokens], device=self.device), batch, rows_R)
        batch.advance(len(tokens))
        return x_BTD[0]

    def logits(self, x_TD: Tensor, rows: Sequence[int]) -> Tensor:
        """Float32 logits [R, V] after the tokens at ``rows`` of a step."""
        return self.model.logits(x_TD[torch.tensor(rows, device=x_TD.device)]).float()


def _keep_freed_memory() -> None:
    """Let this process keep freed memory, 256 MiB at the end of each of malloc's arenas, where malloc is glibc's.

    A step's activations are freed and asked for again in every layer. Handed back to the system in between, each page
    of them costs a fault and is filled with zeros anew, together a tenth of the time of reading prompts.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
