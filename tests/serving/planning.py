"""A scheduler without a model: sequences of known tokens, and steps in which each chooses one."""

from typing import Any

from kb.serving.block_pool import BlockPool
from kb.serving.block_tables import BlockTables
from kb.serving.plan import Plan, SchedulerConfig
from kb.serving.scheduler import Scheduler
from kb.serving.sequence import Sequence


def make(blocks: int = 100, size: int = 4, *, host: int = 0, prefix_caching: bool = False, **limits: Any) -> Scheduler:
    """A scheduler of so many blocks of ``size`` tokens; ``host`` blocks are there to swap to."""
    config = SchedulerConfig(**{"max_num_batched_tokens": 16, "max_num_seqs": 8, "watermark": 0.0, **limits})
    tables = BlockTables(blocks, size, prefix_caching=prefix_caching)
    return Scheduler(tables, config, host=BlockPool(host) if host else None)


def add(scheduler: Scheduler, *lengths: int, first: int = 0, width: int = 1) -> list[Sequence]:
    """Sequences of these lengths, numbered from ``first``, that wait in this order."""
    made = [
        Sequence(first + i, (first + i, 0), list(range(100 * (first + i), 100 * (first + i) + length)), length, width)
        for i, length in enumerate(lengths)
    ]
    for sequence in made:
        scheduler.add(sequence)
    return made


def chunks(plan: Plan) -> list[tuple[int, int, int]]:
    """The number of each sequence in the step, and its tokens from where to where."""
    return [(sequence.id, start, end) for sequence, start, end in plan.chunks]


def step(scheduler: Scheduler) -> list[tuple[int, int, int]]:
    """Plan a step, and let every sequence whose tokens are all computed choose a token."""
    plan = scheduler.schedule()
    for sequence, _, end in plan.chunks:
        if end == len(sequence.tokens):
            sequence.tokens.append(7)
    return chunks(plan)
