"""What a serving engine is asked for, in vLLM's words, and the engine that is made of it.

Arguments have vLLM's names and meaning where there is one. Unusual: ``model`` may also be a ``kb.lm.DecoderLM``, a
cache whose size is not given is a modest one, and ``dtype="auto"`` is the checkpoint's own.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kb.arguments import is_number, require_count
from kb.lm import DecoderLM
from kb.nn import pack_linears
from kb.nn.processor import panels_are_fast
from kb.serving.engine import Engine
from kb.serving.engine_config import EngineConfig
from kb.serving.loading import ServedModel, cache_blocks, load_model, open_tiers
from kb.serving.plan import SchedulerConfig
from kb.serving.preemption import Preemption

_GIB = 2**30
_STEP_TOKENS = 2048


@dataclass(frozen=True)
class EngineArgs:
    """Arguments of :class:`kb.serving.LLM`.

    Args:
        model: Name of a pinned checkpoint, a Hugging Face folder, or a ``DecoderLM``, which is served as it is.
        tokenizer: A folder, or an object with ``encode`` and ``decode``; the model's own if not given.
        skip_tokenizer_init: Do without: prompts and outputs are ids alone.
        dtype: Of weights and cache: "auto" (the checkpoint's), "float32", "bfloat16", "float16".
        seed: For the requests that come without one.
        max_model_len: Most tokens of a sequence; what model and cache allow if not given.
        gpu_memory_utilization: Share of a GPU's memory for model and cache together.
        kv_cache_memory_bytes: Bytes of the cache; on a CPU 1 GiB if not given.
        num_gpu_blocks_override: Blocks of the cache, instead of what fits its bytes.
        block_size: Tokens of a block.
        enable_prefix_caching: Whether blocks of earlier prompts are found again.
        enable_chunked_prefill: Whether a prompt may be spread over several steps.
        max_num_batched_tokens: Most tokens of a step.
        max_num_seqs: Most sequences that run at once.
        max_logprobs: Most log-probabilities that a request may ask for.
        swap_space: GiB of host memory for preempted sequences; 0 means that they are computed again.
        preemption: "auto" takes what was measured to be cheaper; or "recompute", "swap". Not in vLLM.
        kv_offloading_size: GiB of host memory for blocks that the prefix cache gives up.
        kv_offloading_folder: Folder of the tier below; blocks in it are found again by the next process, those in
            host memory are not. Not in vLLM.
        kv_offloading_disk_size: GiB that it may take. Not in vLLM.
        device: "cpu" or "cuda"; as ``kb.runtime.device`` chooses if not given. Not in vLLM.
        tensor_parallel_size: 1.
        enforce_eager, disable_log_stats, trust_remote_code: Of no effect here.

    Raises:
        ValueError: a size is out of range; see also :meth:`make_engine`.
    """

    model: str | Path | DecoderLM
    tokenizer: Any = None
    skip_tokenizer_init: bool = False
    dtype: str | torch.dtype = "auto"
    seed: int = 0
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    kv_cache_memory_bytes: int | None = None
    num_gpu_blocks_override: int | None = None
    block_size: int = 16
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    max_num_batched_tokens: int | None = None
    max_num_seqs: int = 256
    max_logprobs: int = 20
    swap_space: float = 0
    preemption: Preemption = "auto"
    kv_offloading_size: float = 0
    kv_offloading_folder: str | Path | None = None
    kv_offloading_disk_size: float = 0
    device: str | None = None
    tensor_parallel_size: int = 1
    enforce_eager: bool = False
    disable_log_stats: bool = True
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name in ("swap_space", "kv_offloading_size", "kv_offloading_disk_size"):
            size = getattr(self, name)
            if not is_number(size) or size < 0:
                raise ValueError(f"{name} must be a number of GiB, at least 0, got {size!r}")
        for name in ("block_size", "max_num_seqs"):
            require_count(name, getattr(self, name))
        for name in ("max_model_len", "kv_cache_memory_bytes", "num_gpu_blocks_override", "max_num_batched_tokens"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        if self.tensor_parallel_size != 1:
            raise ValueError(f"tensor_parallel_size must be 1 here, got {self.tensor_parallel_size!r}")

    def make_engine(self) -> tuple[Engine, ServedModel]:
        """Load the model and make its engine.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: no such model, or sizes that do not fit it or the memory.
            TierError: the offloading folder cannot be used.
        """
        served = load_model(
            self.model,
            tokenizer=self.tokenizer,
            skip_tokenizer=self.skip_tokenizer_init,
            dtype=self.dtype,
            device=self.device,
        )
        config = self._config(served.model)
        config.longest(served.model.config.context_length)  # before memory is taken or a folder made
        tiers = open_tiers(
            served.model,
            self.block_size,
            host_bytes=self.kv_offloading_size * _GIB,
            folder=self.kv_offloading_folder,
            disk_bytes=self.kv_offloading_disk_size * _GIB,
        )
        if not isinstance(self.model, DecoderLM):
            _speed_up(served.model)
        try:
            return Engine(served.model, config, tokenizer=served.tokenizer, tiers=tiers), served
        except BaseException:
            if tiers is not None:
                tiers.close()  # else nobody else could use the folder as long as this process lives
            raise

    def _config(self, model: DecoderLM) -> EngineConfig:
        longest = self.max_model_len or model.config.context_length
        blocks = self.num_gpu_blocks_override or cache_blocks(
            model,
            self.block_size,
            memory_bytes=self.kv_cache_memory_bytes,
            utilization=self.gpu_memory_utilization,
            useful=self.max_num_seqs * -(-longest // self.block_size),
        )
        step_tokens = self.max_num_batched_tokens or max(
            _STEP_TOKENS, self.max_num_seqs, 0 if self.enable_chunked_prefill else longest
        )
        per_block = model.config.kv_elements_per_token * self.block_size * model.embed_tokens.weight.dtype.itemsize
        limits = SchedulerConfig(step_tokens, self.max_num_seqs, self.enable_chunked_prefill, self.preemption)
        config = EngineConfig(blocks, self.block_size, self.max_model_len, scheduler=limits)
        return replace(
            config,
            enable_prefix_caching=self.enable_prefix_caching,
            host_blocks=int(self.swap_space * _GIB // per_block),
            max_logprobs=self.max_logprobs,
            seed=self.seed,
        )


def _speed_up(model: DecoderLM) -> None:
    """Replace what has faster kernels here, by layers of the same function."""
    if panels_are_fast():
        from kb.serving.fused_block import fuse_blocks

        fuse_blocks(model)
    pack_linears(model)
