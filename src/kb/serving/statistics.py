"""What the engine knows of each of its steps."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepStatistics:
    """One step, as it was when its tokens had been chosen.

    Args:
        step: Number of the step, from 0.
        seconds: Of the whole step.
        scheduling_seconds: Of planning it.
        running: Sequences that run.
        waiting: Sequences that wait for their first or another turn, without blocks.
        swapped: Sequences whose blocks lie in host memory.
        prefill_tokens: Prompt tokens computed, or computed again after a preemption.
        decode_tokens: Tokens computed one a sequence.
        preempted: Sequences that had to make room.
        blocks: Blocks in all.
        used_blocks: Blocks that a sequence holds.
        shared_blocks: Blocks that several hold.
        waste: Share of the slots in used blocks that hold no token.
        hit_rate: Share of all prompt tokens so far that the prefix cache had.
    """

    step: int
    seconds: float
    scheduling_seconds: float
    running: int
    waiting: int
    swapped: int
    prefill_tokens: int
    decode_tokens: int
    preempted: int
    blocks: int
    used_blocks: int
    shared_blocks: int
    waste: float
    hit_rate: float

    def __str__(self) -> str:
        return (
            f"step {self.step}: {self.running} running, {self.waiting} waiting, {self.swapped} swapped; "
            f"{self.prefill_tokens} + {self.decode_tokens} tokens in {1e3 * self.seconds:.1f} ms; "
            f"{self.used_blocks} of {self.blocks} blocks, {self.waste:.1%} wasted; hit rate {self.hit_rate:.0%}"
        )
