"""One sequence of tokens on its way through the engine: which tokens it has, and how many of them are computed.

Ints only. A request with n samples is n sequences; they begin as one, whose ``width`` says how many it will become once
the prompt that they share is computed.
"""

from dataclasses import dataclass, field
from enum import Enum


class Status(Enum):
    """Where a sequence is."""

    WAITING = "waiting"  # holds no block; its tokens have to be computed (again)
    SWAPPED = "swapped"  # its blocks lie in host memory
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Sequence:
    """Tokens and progress of one sequence.

    Args:
        id: Unlike that of any other sequence of the engine.
        rank: (arrival of its request, index in it): who comes first is served first, and is preempted last.
        tokens: Prompt, then what was chosen so far.
        prompt_length: How many of ``tokens`` are the prompt.
        width: How many sequences it stands for.
        salt: Sequences with different salts share no cached block.
        computed: Tokens whose keys and values are in its blocks.
        status: Where it is.
        host_blocks: Where its blocks lie while it is swapped out.
    """

    id: int
    rank: tuple[int, int]
    tokens: list[int]
    prompt_length: int
    width: int = 1
    salt: str | None = None
    computed: int = 0
    status: Status = Status.WAITING
    host_blocks: list[int] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        """Tokens that have to be computed before the next one can be chosen; 0 while it waits for that choice."""
        return len(self.tokens) - self.computed

    @property
    def output(self) -> list[int]:
        """The tokens after the prompt."""
        return self.tokens[self.prompt_length :]
