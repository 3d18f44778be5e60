"""One step of many sequences as a cache of ``kb.lm``: the model runs one row of tokens and knows of no pages.

The model that passes its tokens through :class:`PagedBatch` is the same one that runs a single prompt, so a step gives
each sequence the logits that it would get alone. Unusual: all new keys and values of a layer are written before any
query looks, so one request may read a page that another fills in the same step.

Exact but for models whose rotary angles depend on the length (``RopeParameters.varies_with_length``): one row of tokens
has one set of angles, whatever the lengths of its sequences.

Source: Yu et al. 2022 (Orca), section 3.2, selective batching.
Shapes: B = 1 row, T new tokens of all requests, N query heads, G key-value heads, H head width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kb.serving.attention import paged_attention
from kb.serving.kv_cache import PagedKVCache
from kb.serving.step_layout import Chunk, StepLayout


class PagedBatch:
    """The chunks of one step, a ``kb.lm.Cache`` for one forward pass of their tokens [1, T], laid end to end.

    Args:
        cache: The pool of pages.
        chunks: (block table, start, end) of each request: tokens [start, end) of its sequence are computed, those
            before lie in its pages already.

    Raises:
        TypeError: a start, an end or a block id is not an integer.
        ValueError: there is no chunk, one is empty or does not fit its table, a block id is not one of the pool, or two
            tokens would be written to the same slot.
    """

    def __init__(self, cache: PagedKVCache, chunks: Sequence[Chunk]) -> None:
        if not chunks:
            raise ValueError("chunks must hold at least one chunk, got none")
        self.cache = cache
        self.layout = StepLayout.from_chunks(
            chunks, block_size=cache.block_size, num_blocks=cache.num_blocks, device=cache.device
        )
        self._done = False

    @property
    def last_rows(self) -> list[int]:
        """The row of each chunk's last token, whose logits are those of the token after the chunk."""
        return [offset - 1 for offset in self.layout.offsets[1:]]

    def positions(self, B: int, T: int, device: torch.device) -> Tensor:
        """Position of each token in its own sequence, [1, T].

        Raises:
            ValueError: the tokens are not one row of those that the chunks name, lie elsewhere than the pool, or the
                step has been taken already.
        """
        wanted = self.layout.offsets[-1]
        if B != 1 or wanted != T:
            raise ValueError(f"this step computes tokens [1, {wanted}], got [{B}, {T}]")
        if device != self.layout.positions_T.device:
            raise ValueError(f"the pool lies on {self.layout.positions_T.device}, got tokens on {device}")
        if self._done:
            raise ValueError("this step has been taken: make a PagedBatch of the next step's chunks")
        return self.layout.positions_T[None]

    def attend(
        self, layer: int, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, *, window: int | None = None
    ) -> Tensor:
        """Write the new keys and values of this layer, then attend, each query to its own sequence."""
        cache = self.cache
        cache.write(layer, self.layout.slots_T, k_BTGH[0], v_BTGH[0])
        return paged_attention(
            q_BTNH[0], cache.keys_LPSGH[layer], cache.values_LPSGH[layer], self.layout, window=window
        )[None]

    def advance(self, T: int) -> None:
        """All layers have kept the T new tokens; the step is over."""
        self._done = True
