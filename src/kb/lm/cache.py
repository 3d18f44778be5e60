"""Where a model keeps the keys and values of the tokens that it has seen: nowhere, or in one contiguous buffer.

A model asks its cache for attention and knows no layout. Whatever keeps keys and values elsewhere (in pages, on a
disk) implements :class:`Cache` and runs the same model.

Shapes: B sequences, T new tokens, S tokens kept, N query heads, G key-value heads, H head width, L layers, C capacity.
"""

from typing import Protocol

import torch
from torch import Tensor

from kb.arguments import is_integer, require_count
from kb.lm.config import ModelConfig
from kb.nn import grouped_query_attention


class Cache(Protocol):
    """What a model needs of a cache, in the order of the calls of one forward pass."""

    def positions(self, B: int, T: int, device: torch.device) -> Tensor:
        """Positions [B, T] of the new tokens; refuses what does not fit before anything is computed."""

    def attend(
        self, layer: int, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, *, window: int | None = None
    ) -> Tensor:
        """Keep the new keys and values of this layer, then attend to all that is kept: [B, T, N, H]."""

    def advance(self, T: int) -> None:
        """All layers have kept T new tokens."""


class NoCache:
    """Forgets: every forward pass gets the whole sequence, as in training."""

    def positions(self, B: int, T: int, device: torch.device) -> Tensor:
        """0 to T - 1 for every sequence, [B, T]."""
        return torch.arange(T, device=device).expand(B, T)

    def attend(
        self, layer: int, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, *, window: int | None = None
    ) -> Tensor:
        """Causal attention among the tokens given."""
        return grouped_query_attention(q_BTNH, k_BTGH, v_BTGH, window=window)

    def advance(self, T: int) -> None:
        """Nothing is kept."""


class KVCache:
    """One contiguous buffer of ``capacity`` tokens for each of ``batch`` sequences, all layers.

    What comes out is what comes out without a cache, but for two cases. Where a scaling of RoPE makes the angles depend
    on the length (``RopeParameters.varies_with_length``), a kept key keeps its angle. And sums are taken in another
    order: float32 logits agree within 1e-5 of the largest, while in bfloat16 and float16 near ties may part.

    For inference: the buffer is written in place, so no gradient flows through it.

    Args:
        config: The model's.
        batch: B, sequences that advance together.
        capacity: C, the most tokens a sequence may reach. The whole buffer is allocated at once.
        dtype: Of the model's activations.
        device: Of the model.

    Raises:
        ValueError: ``batch`` or ``capacity`` is not a positive integer.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch: int = 1,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        require_count("batch", batch)
        require_count("capacity", capacity)
        shape = (config.num_layers, batch, capacity, config.num_kv_heads, config.head_dim)
        self.keys_LBCGH = torch.empty(shape, dtype=dtype, device=device)
        self.values_LBCGH = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Tokens that a sequence may reach."""
        return self.keys_LBCGH.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of the buffer, filled or not."""
        return self.keys_LBCGH.nbytes + self.values_LBCGH.nbytes

    def positions(self, B: int, T: int, device: torch.device) -> Tensor:
        """The next T positions, the same for every sequence, [B, T].

        Raises:
            ValueError: another number of sequences than the cache was made for, or T tokens do not fit any more.
        """
        if self.keys_LBCGH.shape[1] != B:
            raise ValueError(f"this cache holds {self.keys_LBCGH.shape[1]} sequences, got tokens of {B}")
        if self.length + T > self.capacity:
            raise ValueError(
                f"{T} new tokens after {self.length} exceed the cache's capacity of {self.capacity} tokens"
            )
        return torch.arange(self.length, self.length + T, device=device).expand(B, T)

    def attend(
        self, layer: int, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, *, window: int | None = None
    ) -> Tensor:
        """Append keys and values, then attend to all, each query up to its own position."""
        self._check(layer, k_BTGH)
        end = self.length + k_BTGH.shape[1]
        self.keys_LBCGH[layer, :, self.length : end] = k_BTGH
        self.values_LBCGH[layer, :, self.length : end] = v_BTGH
        return grouped_query_attention(
            q_BTNH, self.keys_LBCGH[layer, :, :end], self.values_LBCGH[layer, :, :end], window=window
        )

    def advance(self, T: int) -> None:
        """Count T tokens as kept; called once a forward pass, after the last layer."""
        self.length += T

    def truncate(self, length: int) -> None:
        """Forget all tokens from position ``length`` on.

        Raises:
            ValueError: ``length`` is negative or beyond what is kept.
        """
        if not is_integer(length) or not 0 <= length <= self.length:
            raise ValueError(f"length must be between 0 and the {self.length} tokens kept, got {length!r}")
        self.length = length

    def select(self, rows_R: Tensor) -> None:
        """Hold the sequences at ``rows_R``, int64 [R], in that order from now on, some of them repeatedly or never.

        What beam search does when one beam has two successors and another none. The kept tokens are copied.

        Raises:
            ValueError: ``rows_R`` is no non-empty vector of int64.
        """
        if rows_R.dim() != 1 or rows_R.numel() == 0 or rows_R.dtype != torch.int64:
            raise ValueError(f"rows must be a non-empty int64 [R], got {tuple(rows_R.shape)} {rows_R.dtype}")
        self.keys_LBCGH = self._selected(self.keys_LBCGH, rows_R)
        self.values_LBCGH = self._selected(self.values_LBCGH, rows_R)

    def _selected(self, buffer_LBCGH: Tensor, rows_R: Tensor) -> Tensor:
        kept = buffer_LBCGH[:, rows_R, : self.length]
        if len(rows_R) != buffer_LBCGH.shape[1]:
            L, _, *rest = buffer_LBCGH.shape
            buffer_LBCGH = buffer_LBCGH.new_empty((L, len(rows_R), *rest))
        buffer_LBCGH[:, :, : self.length] = kept
        return buffer_LBCGH

    def _check(self, layer: int, k_BTGH: Tensor) -> None:
        ours, given = self.keys_LBCGH, k_BTGH
        if layer >= len(ours):
            raise ValueError(f"this cache was made for {len(ours)} layers, got keys of layer {layer}")
        if ours.shape[-2:] != given.shape[-2:] or ours.dtype != given.dtype or ours.device != given.device:
            raise ValueError(
                f"this cache was made for {ours.shape[-2]} KV heads of {ours.shape[-1]} in {ours.dtype} on "
                f"{ours.device}, got {given.shape[-2]} of {given.shape[-1]} in {given.dtype} on {given.device}"
            )
