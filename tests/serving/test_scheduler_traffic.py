"""The scheduler over random traffic, and what a step of many sequences costs; no tensor is made."""

import statistics
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kb.serving.preemption import PreemptionCosts
from kb.serving.scheduler import Scheduler
from kb.serving.sequence import Sequence
from tests.serving.planning import add, make


@settings(max_examples=150)
@given(
    jobs=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(0, 6)), min_size=1, max_size=12),
    blocks=st.integers(9, 30),
    size=st.integers(4, 6),
    budget=st.integers(4, 24),
    seqs=st.integers(1, 4),
    host=st.integers(0, 12),
    way=st.sampled_from(["recompute", "swap", "auto"]),
    prefix_caching=st.booleans(),
)
def test_random_traffic_ends_in_order_and_nobody_starves(
    jobs: list[tuple[int, int, int]],
    blocks: int,
    size: int,
    budget: int,
    seqs: int,
    host: int,
    way: Any,
    prefix_caching: bool,
) -> None:
    limits = {"max_num_batched_tokens": budget, "max_num_seqs": seqs}
    way = way if host else "recompute"
    scheduler = make(blocks, size, host=host, prefix_caching=prefix_caching, preemption=way, **limits)
    scheduler.costs = PreemptionCosts(1.0, 1.5)
    arriving = [
        (at, Sequence(i, (i, 0), [t % 3 for t in range(length)], length), length + new)
        for i, (length, new, at) in enumerate(jobs)
    ]
    arriving.sort(key=lambda job: job[1].rank)
    clock = max(at for at, _, _ in arriving)
    pending = [(clock, one, final) for _, one, final in arriving][::-1]
    wanted = {one.id: final for _, one, final in arriving}
    work = sum(wanted.values())
    for _ in range(20 * work):
        if pending:
            scheduler.add(pending.pop()[1])
        oldest = min([*scheduler.running, *scheduler.waiting], key=lambda one: one.rank, default=None)
        if oldest is None:
            break
        plan = scheduler.schedule()
        assert plan.num_tokens <= budget
        assert len(scheduler.running) <= seqs
        assert [one.rank for one in scheduler.running] == sorted(one.rank for one in scheduler.running)
        written = [block for one, start, end in plan.chunks for block in blocks_of(scheduler, one, start, end)]
        assert len(written) == len(set(written)), "two sequences would write one block"
        # Whoever came first is served in every step, but for one in which it made room for itself.
        assert oldest in [one for one, _, _ in plan.chunks] or oldest in [one for one, _ in plan.preempted]
        for sequence, _, end in plan.chunks:
            assert end <= len(sequence.tokens)
            if end == len(sequence.tokens):
                sequence.tokens.append(sequence.id % 3)
                if len(sequence.tokens) > wanted[sequence.id]:
                    scheduler.finish(sequence)
    assert (scheduler.running, scheduler.waiting, pending) == ([], [], [])
    assert scheduler.tables.num_free == blocks
    assert scheduler.host is None or scheduler.host.num_free == host


def blocks_of(scheduler: Scheduler, sequence: Sequence, start: int, end: int) -> list[int]:
    size = scheduler.tables.block_size
    return scheduler.tables.blocks(sequence.id)[start // size : -(-end // size)]


def test_a_step_of_256_sequences_is_planned_in_two_milliseconds() -> None:
    scheduler = make(8192, 16, prefix_caching=True, max_num_batched_tokens=512, max_num_seqs=256)
    sequences = add(scheduler, *[1 + i % 7 for i in range(256)])
    while scheduler.waiting or any(one.remaining for one in sequences):
        scheduler.schedule()
    times = []
    for token in range(60):
        for one in sequences:
            one.tokens.append(token)
        start = time.perf_counter()
        plan = scheduler.schedule()
        times.append(time.perf_counter() - start)
        assert len(plan.chunks) == 256
    assert statistics.median(times) < 2e-3
