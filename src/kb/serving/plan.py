"""What the scheduler may do in one step, and what it has decided to do. Ints only."""

from dataclasses import dataclass, field
from typing import NamedTuple

from kb.arguments import is_number, require_count
from kb.serving.block_tables import Copy
from kb.serving.preemption import Preemption
from kb.serving.sequence import Sequence, Status


@dataclass(frozen=True)
class SchedulerConfig:
    """Limits of one step.

    Args:
        max_num_batched_tokens: Most tokens computed in a step.
        max_num_seqs: Most sequences that run at once.
        enable_chunked_prefill: Whether a prompt may be cut into chunks; else it waits until it fits a step whole.
        preemption: How a sequence that must make room is brought back; "auto" takes what was measured to be cheaper.
        watermark: Share of all blocks that a new sequence must leave free while others run, so that they can grow.

    Raises:
        ValueError: a limit is not a positive integer, fewer tokens than sequences fit a step, or a bad switch.
    """

    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    enable_chunked_prefill: bool = True
    preemption: Preemption = "auto"
    watermark: float = 0.01

    def __post_init__(self) -> None:
        require_count("max_num_batched_tokens", self.max_num_batched_tokens)
        require_count("max_num_seqs", self.max_num_seqs)
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens {self.max_num_batched_tokens} is under max_num_seqs {self.max_num_seqs}: "
                "not every running sequence could get a token"
            )
        if self.preemption not in ("auto", "recompute", "swap"):
            raise ValueError(f"preemption must be 'auto', 'recompute' or 'swap', got {self.preemption!r}")
        if not isinstance(self.enable_chunked_prefill, bool):
            raise TypeError(f"enable_chunked_prefill must be True or False, got {self.enable_chunked_prefill!r}")
        if not is_number(self.watermark) or not 0 <= self.watermark < 1:
            raise ValueError(f"watermark must be a number from 0 to below 1, got {self.watermark!r}")


class Chunk(NamedTuple):
    """Tokens [start, end) of a sequence are computed; if ``end`` is its last, the next one can be chosen."""

    sequence: Sequence
    start: int
    end: int


class Load(NamedTuple):
    """Blocks of a sequence, from number ``first`` of its table on, that a slower tier holds."""

    sequence: Sequence
    first: int
    blocks: list[int]


@dataclass
class Plan:
    """One step, in the order in which it has to be carried out: evicted and swapped-out blocks are read first.

    Copies within the device come next, then what is brought in; all of it before any token is computed.
    """

    evicted: list[tuple[int, bytes]] = field(default_factory=list)  # (block, digest of its content)
    swap_out: list[Copy] = field(default_factory=list)  # device block to host block
    copies: list[Copy] = field(default_factory=list)
    swap_in: list[Copy] = field(default_factory=list)  # host block to device block
    loads: list[Load] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    preempted: list[tuple[Sequence, Status]] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens computed in this step."""
        return sum(end - start for _, start, end in self.chunks)
