"""What the engine knows of each of its steps."""

import time
from dataclasses import dataclass

from kb.serving.plan import Plan
from kb.serving.scheduler import Scheduler
from kb.serving.sequence import Status


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

    @classmethod
    def of(cls, plan: Plan, scheduler: Scheduler, *, step: int, start: float, planned: float) -> "StepStatistics":
        """Those of a step that has just been taken, begun and planned at these times of ``time.perf_counter``."""
        tables = scheduler.tables
        decode = sum(end - begin == 1 for _, begin, end in plan.chunks)
        swapped = sum(one.status is Status.SWAPPED for one in scheduler.waiting)
        return cls(
            step=step,
            seconds=time.perf_counter() - start,
            scheduling_seconds=planned - start,
            running=len(scheduler.running),
            waiting=len(scheduler.waiting) - swapped,
            swapped=swapped,
            prefill_tokens=plan.num_tokens - decode,
            decode_tokens=decode,
            preempted=len(plan.preempted),
            blocks=tables.pool.num_blocks,
            used_blocks=tables.num_used,
            shared_blocks=tables.num_shared,
            waste=tables.waste({one.id: one.computed for one in scheduler.running}),
            hit_rate=tables.statistics.hit_rate,
        )

    def __str__(self) -> str:
        return (
            f"step {self.step}: {self.running} running, {self.waiting} waiting, {self.swapped} swapped; "
            f"{self.prefill_tokens} + {self.decode_tokens} tokens in {1e3 * self.seconds:.1f} ms; "
            f"{self.used_blocks} of {self.blocks} blocks, {self.waste:.1%} wasted; hit rate {self.hit_rate:.0%}"
        )
