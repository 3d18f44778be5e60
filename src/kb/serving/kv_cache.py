"""The pool of pages in which the keys and values of all sequences lie, in all layers.

A page is one block: the keys and values of ``block_size`` consecutive tokens of one sequence. A slot is one token's
place, slot = block * block_size + offset. Nothing here knows whose block is whose: that is the block tables' business.
Unusual: keys and values are two views of one tensor, so that a page is copied, swapped out or stored by one operation.

Source: Kwon et al. 2023, section 4.1 (blocks) and 4.3 (copy-on-write).
Shapes: L layers, P pages, S slots of a page, G key-value heads, H head width, T tokens, C pages that are copied.
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from kb.arguments import is_integer, require_count
from kb.lm import ModelConfig


class PagedKVCache:
    """Keys and values of ``num_blocks`` pages, allocated at once; what is in a page before it is written is undefined.

    For inference: pages are written in place, so no gradient flows through them.

    Args:
        config: The model's.
        num_blocks: P, pages in the pool.
        block_size: S, tokens of a page.
        dtype: Of the model's activations.
        device: Of the model.

    Raises:
        ValueError: a count is not a positive integer, or the pool is larger than the device's memory.
        TypeError: the dtype is not a floating one.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        require_count("num_blocks", num_blocks)
        require_count("block_size", block_size)
        if not dtype.is_floating_point:
            raise TypeError(f"dtype must be a floating one, got {dtype}")
        shape = (config.num_layers, num_blocks, block_size, config.num_kv_heads, config.head_dim)
        _require_memory(num_blocks, config.kv_elements_per_token * block_size * dtype.itemsize, torch.device(device))
        # A tensor that was made in inference mode could not be written outside of it.
        with torch.inference_mode(False):
            # Written once, so that the system hands the memory over now and not bit by bit while requests wait: a fresh
            # page of memory costs many times what it takes to write it.
            self._pages_2LPSGH = torch.empty(2, *shape, dtype=dtype, device=device).fill_(0)
            self.keys_LPSGH, self.values_LPSGH = self._pages_2LPSGH
            self._slots = [pages.flatten(0, 1).flatten(1) for layer in self._pages_2LPSGH.unbind(1) for pages in layer]

    @property
    def num_layers(self) -> int:
        """L, layers of the model that the pool was made for."""
        return self.keys_LPSGH.shape[0]

    @property
    def num_blocks(self) -> int:
        """P, pages in the pool."""
        return self.keys_LPSGH.shape[1]

    @property
    def block_size(self) -> int:
        """S, tokens of a page."""
        return self.keys_LPSGH.shape[2]

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        return self.keys_LPSGH.dtype

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.keys_LPSGH.device

    @property
    def nbytes(self) -> int:
        """Bytes of the pool, filled or not."""
        return self._pages_2LPSGH.nbytes

    @property
    def nbytes_per_block(self) -> int:
        """Bytes of one page: keys and values of ``block_size`` tokens in all layers."""
        return self.nbytes // self.num_blocks

    def write(self, layer: int, slots_T: Tensor, k_TGH: Tensor, v_TGH: Tensor) -> None:
        """Put the keys and values of T tokens into their slots of one layer.

        Args:
            layer: Index of the layer.
            slots_T: int64 slots, all different.
            k_TGH: Keys.
            v_TGH: Values.

        Raises:
            ValueError: the pool was made for another model, or a slot is outside of it (on CUDA that is a device
                assertion: to look would be to wait for the GPU).
        """
        self._check_tokens(layer, slots_T, k_TGH, v_TGH)
        try:
            for slots, rows in zip(self._slots[2 * layer : 2 * layer + 2], (k_TGH, v_TGH), strict=True):
                slots.index_copy_(0, slots_T, rows.detach().flatten(1))
        except IndexError as error:
            raise ValueError(f"slots must be in 0 to {self.num_blocks * self.block_size - 1}, got {slots_T}") from error

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole pages, all layers: copy-on-write. All sources are read before any target is written.

        Args:
            pairs: (source, target) block ids. A block may be the source of many, the target of one; in a chain or a
                swap each target gets what its source held before.

        Raises:
            ValueError: an id is not one of a block, or two pairs have the same target.
        """
        if not pairs:
            return
        for pair in pairs:
            for block in pair:
                self._check_block(block)
        sources_C, targets_C = torch.tensor(pairs).to(self.device).unbind(1)
        if len({target for _, target in pairs}) < len(pairs):
            raise ValueError(f"pairs must have different targets, got {list(pairs)}")
        self._pages_2LPSGH.index_copy_(2, targets_C, self._pages_2LPSGH.index_select(2, sources_C))

    def page(self, block: int) -> Tensor:
        """A copy of one page, [2, L, S, G, H], keys first, on the pool's device.

        Raises:
            ValueError: there is no such block.
        """
        self._check_block(block)
        return self._pages_2LPSGH[:, :, block].clone(memory_format=torch.contiguous_format)

    def load_page(self, block: int, page_2LSGH: Tensor) -> None:
        """Overwrite one page with what :meth:`page` gave, from any device.

        Raises:
            ValueError: there is no such block, or the page is of another shape or dtype.
        """
        self._check_block(block)
        target = self._pages_2LPSGH[:, :, block]
        if page_2LSGH.shape != target.shape or page_2LSGH.dtype != target.dtype:
            raise ValueError(
                f"page must be {tuple(target.shape)} of {target.dtype}, "
                f"got {tuple(page_2LSGH.shape)} of {page_2LSGH.dtype}"
            )
        target.copy_(page_2LSGH.detach())

    def _check_block(self, block: int) -> None:
        if not is_integer(block) or not 0 <= block < self.num_blocks:
            raise ValueError(f"block ids must be integers in 0 to {self.num_blocks - 1}, got {block!r}")

    def _check_tokens(self, layer: int, slots_T: Tensor, k_TGH: Tensor, v_TGH: Tensor) -> None:
        ours = self.keys_LPSGH
        if not is_integer(layer) or not 0 <= layer < len(ours):
            raise ValueError(f"this pool was made for {len(ours)} layers, got keys of layer {layer!r}")
        if k_TGH.shape != v_TGH.shape or k_TGH.dim() != 3 or slots_T.shape != k_TGH.shape[:1]:
            raise ValueError(
                f"slots {tuple(slots_T.shape)}, k {tuple(k_TGH.shape)}, v {tuple(v_TGH.shape)}: wanted slots [T] and "
                "k, v [T, G, H]"
            )
        for given in (k_TGH, v_TGH):
            if given.shape[1:] != ours.shape[3:] or given.dtype != ours.dtype or given.device != ours.device:
                raise ValueError(
                    f"this pool was made for {ours.shape[3]} KV heads of {ours.shape[4]} in {ours.dtype} on "
                    f"{ours.device}, got {given.shape[1]} of {given.shape[2]} in {given.dtype} on {given.device}"
                )


def _require_memory(num_blocks: int, nbytes_per_block: int, device: torch.device) -> None:
    """Refuse a pool that cannot be: the system would promise the memory and kill the process when it is used."""
    if device.type == "cuda":
        memory = torch.cuda.mem_get_info(device)[0]
    elif device.type == "cpu" and hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return
    if num_blocks * nbytes_per_block > memory:
        raise ValueError(
            f"num_blocks {num_blocks} of {nbytes_per_block} bytes each need {num_blocks * nbytes_per_block} bytes, but "
            f"{device} has {memory}: at most {memory // nbytes_per_block} blocks"
        )
