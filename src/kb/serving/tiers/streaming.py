"""A cache of keys and values for one sequence that is longer than the device's memory, by streaming pages through it.

Any :class:`~kb.lm.DecoderLM` runs on it unchanged and gives the tokens that it gives on ``kb.lm.KVCache``: attention is
exact. That is also its price. Every step reads every page of every layer once (of a layer with a window, the pages
inside it), so what does not fit on the device is moved at every token, and the bandwidth of the slowest tier in use
sets the pace. While a layer computes on one chunk of pages the next is on its way, and the next layer's first.

Source: Sheng et al. 2023, FlexGen, section 3 (a cache that lies on GPU, CPU and disk, moved while computing).
Shapes: B = 1 sequence, T new tokens, N query heads, G key-value heads, H head width.
"""

import torch
from torch import Tensor

from kb.lm import ModelConfig
from kb.serving.tiers.disk import DiskTier
from kb.serving.tiers.online_softmax import Partial, merge, partial_attention
from kb.serving.tiers.tiered_layer import TieredLayer
from kb.serving.tiers.tiered_memory import TieredMemory


class TieredKVCache:
    """A :class:`kb.lm.Cache` for one sequence. In float32, logits are those of ``KVCache`` within 1e-5 of the largest.

    A pass that failed has added nothing: the next one takes back what single layers had kept. For inference.

    Args:
        config: The model's.
        page_tokens: Tokens of a page, of one layer.
        device_pages: Pages on the device, of all layers together: one for each layer's newest tokens, two chunks
            through which the others are streamed, and what is more keeps the first pages of each layer.
        host_pages: Pages in host memory.
        disk: The tier below, or None; closed by whoever opened it. Its pages are deleted by :meth:`close`.
        chunk_pages: Pages that are computed on at a time.
        dtype: Of the model's activations.
        device: Of the model.
        timeout: Seconds that any wait may take.

    Raises:
        TypeError, ValueError: an argument is wrong, or there are too few device pages.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        page_tokens: int = 16,
        device_pages: int,
        host_pages: int,
        disk: DiskTier | None = None,
        chunk_pages: int = 4,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        timeout: float = 60.0,
    ) -> None:
        self.config, self.length = config, 0
        self.memory = TieredMemory(
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            page_tokens=page_tokens,
            device_pages=device_pages,
            host_pages=host_pages,
            disk=disk,
            layers=config.num_layers,
            chunk_pages=chunk_pages,
            dtype=dtype,
            device=device,
            timeout=timeout,
        )
        self._layers = [TieredLayer(self.memory, layer) for layer in range(config.num_layers)]

    def positions(self, B: int, T: int, device: torch.device) -> Tensor:
        """The next T positions, [1, T].

        Raises:
            ValueError: more than one sequence, or T tokens do not fit into the tiers any more.
        """
        if B != 1:
            raise ValueError(f"this cache holds 1 sequence, got tokens of {B}")
        for layer in self._layers:
            layer.rewind(min(layer.length, self.length))  # of a pass that failed
        needed, room = sum(layer.pages_below(T) for layer in self._layers), self.memory.room
        if needed > room:
            raise ValueError(
                f"{T} new tokens after {self.length} need {needed} more pages in host memory and on disk; of "
                f"{self.memory.below_pages} there, {room} are free"
            )
        return torch.arange(self.length, self.length + T, device=device).expand(B, T)

    def attend(
        self, layer: int, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, *, window: int | None = None
    ) -> Tensor:
        """Attend to all that is kept and to the new tokens, each query up to its own position; then keep these.

        Raises:
            ValueError: the cache was made for another model.
            PageLostError: a page was damaged; the sequence must be computed again, on a new cache.
            TierError: a tier failed or is stuck.
        """
        self._check(layer, k_BTGH)
        q_TNH, k_TGH, v_TGH = q_BTNH[0].detach(), k_BTGH[0].detach(), v_BTGH[0].detach()
        old = self._layers[layer].attend(q_TNH, first_query=self.length, window=window, then=self._then(layer))
        out_TNH = merge(old, self._among_new(q_TNH, k_TGH, v_TGH, window)).out
        self._layers[layer].append(k_TGH, v_TGH)
        return out_TNH.to(q_BTNH.dtype)[None]

    def advance(self, T: int) -> None:
        """Count T tokens as kept; pages that no window reaches any more are given up."""
        self.length += T
        for number, layer in enumerate(self._layers):
            window = self.config.window(number)
            if window is not None:
                layer.forget_before(self.length - window + 1)

    def close(self) -> None:
        """Delete the pages and stop."""
        self.memory.close()

    def __enter__(self) -> "TieredKVCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _then(self, layer: int) -> list[tuple[bytes, ...]]:
        """What the next layer will read; after the last layer, the first one in the next step."""
        following = (layer + 1) % len(self._layers)
        return self._layers[following].chunks(self.length, self.config.window(following))

    def _among_new(self, q_TNH: Tensor, k_TGH: Tensor, v_TGH: Tensor, window: int | None) -> Partial:
        """Attention of the new tokens among themselves, a chunk of keys at a time and none for queries before it."""
        T, step = len(q_TNH), self.memory.chunk_pages * self.memory.page_tokens
        result = partial_attention(q_TNH, k_TGH[:step], v_TGH[:step], first_query=0, window=window)
        for start in range(step, T, step):
            end = start + step
            part = partial_attention(
                q_TNH[start:], k_TGH[start:end], v_TGH[start:end], first_query=start, first_key=start, window=window
            )
            joined = merge(Partial(result.out[start:], result.lse[start:]), part)
            result.out[start:], result.lse[start:] = joined
        return result

    def _check(self, layer: int, k_BTGH: Tensor) -> None:
        pool = self.memory.pool_2DPGH
        if layer >= len(self._layers):
            raise ValueError(f"this cache was made for {len(self._layers)} layers, got keys of layer {layer}")
        if pool.shape[3:] != k_BTGH.shape[2:] or pool.dtype != k_BTGH.dtype or pool.device != k_BTGH.device:
            raise ValueError(
                f"this cache was made for {pool.shape[3]} KV heads of {pool.shape[4]} in {pool.dtype} on "
                f"{pool.device}, got {k_BTGH.shape[2]} of {k_BTGH.shape[3]} in {k_BTGH.dtype} on {k_BTGH.device}"
            )
