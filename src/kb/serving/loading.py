"""What an engine is made of, from what a caller names: a model ready to serve, a cache that fits, tiers below it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kb import checkpoints, runtime
from kb.arguments import is_number
from kb.lm import DecoderLM
from kb.nn.packed_linear import Packed
from kb.serving.inputs import TextTokenizer
from kb.serving.tiers.disk import DiskTier
from kb.serving.tiers.store import TieredStore

_CPU_CACHE_BYTES = 2**30
_DTYPES = {
    "auto": None,
    "float32": torch.float32,
    "float": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "half": torch.float16,
}


@dataclass(frozen=True)
class ServedModel:
    """A model, and what its folder says besides.

    Args:
        model: In inference mode.
        tokenizer: None where there is none.
        generation: The ``generation_config.json``; empty for a model that was handed over.
    """

    model: DecoderLM
    tokenizer: TextTokenizer | None
    generation: Mapping[str, Any] = field(default_factory=dict)


def load_model(
    model: str | Path | DecoderLM, *, tokenizer: Any, skip_tokenizer: bool, dtype: str | torch.dtype, device: str | None
) -> ServedModel:
    """Load a checkpoint for serving, its linear layers packed where that is possible; or take a model as it is.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: no such checkpoint, tokenizer, dtype or device.
    """
    if isinstance(model, DecoderLM):
        return ServedModel(model, None if skip_tokenizer else _tokenizer(tokenizer))
    if not isinstance(model, str | Path):
        raise TypeError(f"model must be a name, a folder or a DecoderLM, got {type(model).__name__}")
    if isinstance(dtype, str) and dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)} or a torch.dtype, got {dtype!r}")
    wanted = _DTYPES[dtype] if isinstance(dtype, str) else dtype
    checkpoint = checkpoints.load(model, dtype=wanted, device=runtime.device(device))
    # The checkpoint is let go at once, so its tensors need no second copy.
    served = DecoderLM.from_checkpoint(checkpoint, share=True)
    found: TextTokenizer | None = None
    if not skip_tokenizer:
        found = checkpoint.tokenizer if tokenizer is None else _tokenizer(tokenizer)
    return ServedModel(served, found, checkpoint.generation)


def _tokenizer(tokenizer: Any) -> TextTokenizer | None:
    if isinstance(tokenizer, str | Path):
        return checkpoints.Tokenizer.from_folder(tokenizer)
    if tokenizer is not None and not (hasattr(tokenizer, "encode") and hasattr(tokenizer, "decode")):
        raise TypeError(f"tokenizer must be a folder or have encode and decode, got {type(tokenizer).__name__}")
    found: TextTokenizer | None = tokenizer
    return found


def cache_blocks(
    model: DecoderLM, block_size: int, *, memory_bytes: int | None, utilization: float, useful: int
) -> int:
    """Blocks of the paged cache.

    Args:
        model: Whose keys and values they hold.
        block_size: Tokens of a block.
        memory_bytes: What they may take; if not given, on a CPU 1 GiB, on a GPU what ``utilization`` leaves.
        utilization: Share of a GPU's memory that model and cache may take together.
        useful: More blocks could never be used at once.

    Raises:
        ValueError: not even one block fits.
    """
    weight = model.embed_tokens.weight
    per_block = model.config.kv_elements_per_token * block_size * weight.dtype.itemsize
    if not is_number(utilization) or not 0 < utilization <= 1:
        raise ValueError(f"gpu_memory_utilization must be above 0 and at most 1, got {utilization!r}")
    if memory_bytes is None:
        memory_bytes = _CPU_CACHE_BYTES
        if weight.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(weight.device)
            memory_bytes = int(free - (1 - utilization) * total)
    blocks = min(int(memory_bytes) // per_block, useful)
    if blocks < 1:
        raise ValueError(
            f"one block of {block_size} tokens takes {per_block} bytes, and the cache may have {memory_bytes}"
        )
    return blocks


def open_tiers(
    model: DecoderLM, block_size: int, *, host_bytes: float, folder: str | Path | None, disk_bytes: float
) -> TieredStore | None:
    """Host memory and disk for blocks that the prefix cache gives up; None where neither is wanted.

    Raises:
        ValueError: a size is negative, smaller than one block, or given without a folder.
        TierError: the folder cannot be used.
    """
    config, weight = model.config, model.embed_tokens.weight
    shape = (2, config.num_layers, block_size, config.num_kv_heads, config.head_dim)
    per_block = config.kv_elements_per_token * block_size * weight.dtype.itemsize
    if bool(disk_bytes) is not (folder is not None):
        raise ValueError("kv_offloading_folder and kv_offloading_disk_size need each other: give both or none")
    if not host_bytes and not disk_bytes:
        return None
    pages = [int(size // per_block) for size in (host_bytes, disk_bytes)]
    for size, count in zip((host_bytes, disk_bytes), pages, strict=True):
        if size and count < 1:
            raise ValueError(f"a tier of {size:.0f} bytes is smaller than one block, {per_block} bytes")
    disk = None
    if folder is not None and pages[1]:
        identity = _identity(model, block_size)
        disk = DiskTier(folder, page_nbytes=per_block, capacity_pages=pages[1], fingerprint=identity)
    return OffloadingStore(shape, weight.dtype, host_pages=pages[0], disk=disk, pin=weight.device.type == "cuda")


class OffloadingStore(TieredStore):
    """A store that lets go of its folder when it is closed."""

    def close(self) -> None:
        """Finish what is on its way; another process may then use the folder."""
        super().close()
        if self._disk is not None:
            self._disk.close()


def _identity(model: DecoderLM, block_size: int) -> str:
    """Names the function that the pages were computed with: every weight, the sizes, the layout."""
    if any(isinstance(module, Packed) for module in model.modules()):
        raise ValueError("kv_offloading_folder needs a model whose linear layers are not packed: its weights name it")
    found = hashlib.blake2b(repr((model.config, block_size, torch.__version__)).encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
