"""What an engine is made with: sizes, limits and switches in one frozen dataclass."""

from dataclasses import dataclass, field

from kb.arguments import is_integer, require_count
from kb.serving.plan import SchedulerConfig


@dataclass(frozen=True)
class EngineConfig:
    """Sizes and switches of one engine.

    Args:
        num_blocks: Blocks of the paged cache.
        block_size: Tokens of a block.
        max_model_len: Most tokens of a sequence, prompt and output; the model's context, or what all blocks hold where
            that is less, if not given.
        enable_prefix_caching: Whether blocks of earlier requests are found again.
        host_blocks: Blocks of host memory for sequences that are swapped out.
        max_logprobs: Most log-probabilities that a request may ask for a token; -1 for the whole vocabulary.
        seed: Requests without a seed draw theirs from a generator with this one.
        scheduler: Limits of a step.

    Raises:
        ValueError: a size is not a positive integer.
    """

    num_blocks: int
    block_size: int = 16
    max_model_len: int | None = None
    enable_prefix_caching: bool = True
    host_blocks: int = 0
    max_logprobs: int = 20
    seed: int = 0
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)

    def __post_init__(self) -> None:
        require_count("num_blocks", self.num_blocks)
        require_count("block_size", self.block_size)
        require_count("host_blocks", self.host_blocks, least=0)
        require_count("max_logprobs", self.max_logprobs, least=-1)
        if self.max_model_len is not None:
            require_count("max_model_len", self.max_model_len)
        if not isinstance(self.enable_prefix_caching, bool):
            raise TypeError(f"enable_prefix_caching must be True or False, got {self.enable_prefix_caching!r}")
        if not is_integer(self.seed):
            raise TypeError(f"seed must be an integer, got {self.seed!r}")

    def longest(self, context: int) -> int:
        """Most tokens of a sequence, for a model with a context of ``context``.

        Raises:
            ValueError: ``max_model_len`` is beyond the context or what all blocks hold, or a prompt of that length
                could not be read at once, as it has to without chunked prefill.
        """
        room = self.num_blocks * self.block_size
        longest = min(context, room) if self.max_model_len is None else self.max_model_len
        if longest > context:
            raise ValueError(f"max_model_len must be at most the model's context of {context}, got {longest}")
        if longest > room:
            raise ValueError(
                f"max_model_len {longest} needs {-(-longest // self.block_size)} blocks of {self.block_size} tokens, "
                f"and there are {self.num_blocks}: lower max_model_len, or give the cache more memory"
            )
        step = self.scheduler.max_num_batched_tokens
        if not self.scheduler.enable_chunked_prefill and step < longest:
            raise ValueError(
                f"without chunked prefill a step must take a prompt of max_model_len {longest} tokens whole, and "
                f"max_num_batched_tokens is {step}"
            )
        return longest
