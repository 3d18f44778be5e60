"""The scheduler: who gets tokens and blocks in a step, by hand and over random traffic; no tensor is made."""

import statistics
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.serving.block_pool import BlockPool
from kb.serving.block_tables import BlockTables
from kb.serving.plan import Plan, SchedulerConfig
from kb.serving.preemption import PreemptionCosts
from kb.serving.scheduler import Scheduler
from kb.serving.sequence import Sequence, Status


def make(blocks: int = 100, size: int = 4, *, host: int = 0, prefix_caching: bool = False, **limits: Any) -> Scheduler:
    config = SchedulerConfig(**{"max_num_batched_tokens": 16, "max_num_seqs": 8, "watermark": 0.0, **limits})
    tables = BlockTables(blocks, size, prefix_caching=prefix_caching)
    return Scheduler(tables, config, host=BlockPool(host) if host else None)


def add(scheduler: Scheduler, *lengths: int, first: int = 0, width: int = 1) -> list[Sequence]:
    made = [
        Sequence(first + i, (first + i, 0), list(range(100 * (first + i), 100 * (first + i) + length)), length, width)
        for i, length in enumerate(lengths)
    ]
    for sequence in made:
        scheduler.add(sequence)
    return made


def chunks(plan: Plan) -> list[tuple[int, int, int]]:
    return [(sequence.id, start, end) for sequence, start, end in plan.chunks]


def step(scheduler: Scheduler) -> list[tuple[int, int, int]]:
    """Plan a step, and let every sequence whose tokens are all computed choose a token."""
    plan = scheduler.schedule()
    for sequence, _, end in plan.chunks:
        if end == len(sequence.tokens):
            sequence.tokens.append(7)
    return chunks(plan)


def test_prompts_share_the_budget_and_the_last_is_cut() -> None:
    scheduler = make()
    add(scheduler, 6, 7, 9)
    assert step(scheduler) == [(0, 0, 6), (1, 0, 7), (2, 0, 3)]
    assert step(scheduler) == [(0, 6, 7), (1, 7, 8), (2, 3, 9)]
    assert step(scheduler) == [(0, 7, 8), (1, 8, 9), (2, 9, 10)]


def test_a_prompt_leaves_a_token_to_everyone_that_decodes_behind_it() -> None:
    scheduler = make(max_num_batched_tokens=8)
    first, second = add(scheduler, 3, 4)
    assert step(scheduler) == [(0, 0, 3), (1, 0, 4)]
    first.tokens += range(20)  # as if it had been preempted, and has to compute much again
    assert step(scheduler) == [(0, 3, 10), (1, 4, 5)]
    assert second.remaining == 1


def test_without_chunked_prefill_a_prompt_waits_for_a_step_that_takes_it_whole() -> None:
    scheduler = make(enable_chunked_prefill=False)
    add(scheduler, 6, 12, 3)
    assert step(scheduler) == [(0, 0, 6)]  # 12 do not fit beside 6, and 3 must not overtake
    assert step(scheduler) == [(0, 6, 7), (1, 0, 12), (2, 0, 3)]


def test_no_more_sequences_than_allowed_and_a_wide_one_counts_in_full() -> None:
    scheduler = make(max_num_seqs=4, max_num_batched_tokens=64)
    add(scheduler, 3, 3)
    add(scheduler, 3, first=2, width=3)
    add(scheduler, 3, first=3)
    assert [place[0] for place in step(scheduler)] == [0, 1]  # 2 + 3 are too many, and nobody overtakes
    scheduler.finish(scheduler.running[0])
    assert [place[0] for place in step(scheduler)] == [1, 2]


def test_the_youngest_makes_room_and_comes_back_first() -> None:
    scheduler = make(blocks=4, max_num_batched_tokens=64)
    old, young, third = add(scheduler, 7, 7, 2)
    assert step(scheduler) == [(0, 0, 7), (1, 0, 7)]
    assert step(scheduler) == [(0, 7, 8), (1, 7, 8)]
    plan = scheduler.schedule()  # both need a third block
    assert chunks(plan) == [(0, 8, 9)]
    assert plan.preempted == [(young, Status.WAITING)]
    assert (young.computed, scheduler.waiting) == (0, [young, third])
    old.tokens.append(7)
    assert step(scheduler) == [(0, 9, 10)]  # 9 tokens of the young one need 3 blocks: only 1 is free
    scheduler.finish(old)
    assert step(scheduler) == [(1, 0, 9), (2, 0, 2)]


def test_swapping_keeps_what_was_computed() -> None:
    scheduler = make(blocks=4, host=4, preemption="swap", max_num_batched_tokens=64)
    old, young = add(scheduler, 7, 7)
    step(scheduler)
    step(scheduler)
    table = scheduler.tables.blocks(young.id)
    plan = scheduler.schedule()
    assert plan.preempted == [(young, Status.SWAPPED)]
    assert plan.swap_out == list(zip(table, young.host_blocks, strict=True))
    hosts = list(young.host_blocks)
    assert (young.computed, scheduler.host is not None and scheduler.host.num_free) == (8, 2)
    scheduler.finish(old)
    plan = scheduler.schedule()
    assert plan.swap_in == list(zip(hosts, scheduler.tables.blocks(young.id)[:2], strict=True))
    assert chunks(plan) == [(1, 8, 9)]
    assert (young.host_blocks, scheduler.host is not None and scheduler.host.num_free) == ([], 4)


def test_a_full_host_means_recompute() -> None:
    scheduler = make(blocks=4, host=1, preemption="swap", max_num_batched_tokens=64)
    add(scheduler, 7, 7)
    step(scheduler)
    step(scheduler)
    assert [status for _, status in scheduler.schedule().preempted] == [Status.WAITING]


@pytest.mark.parametrize(
    ("token", "block", "swaps"), [(1e-3, 1e-3, True), (1e-3, 3e-3, False), (None, 1e-3, False), (1e-3, None, False)]
)
def test_auto_takes_what_was_measured_to_be_cheaper(token: float | None, block: float | None, swaps: bool) -> None:
    scheduler = make(blocks=4, host=4, max_num_batched_tokens=64)
    scheduler.costs = PreemptionCosts(token, block)
    add(scheduler, 7, 7)
    step(scheduler)
    step(scheduler)
    ((_, status),) = scheduler.schedule().preempted  # 8 tokens in 2 blocks: 8 ms against 4 copies
    assert (status is Status.SWAPPED) is swaps


def test_costs_follow_what_is_measured() -> None:
    costs = PreemptionCosts()
    costs.computed(100, 1.0)
    costs.copied(10, 0.1)
    assert (costs.seconds_per_token, costs.seconds_per_block) == (0.01, 0.01)
    for _ in range(60):
        costs.computed(100, 3.0)
    assert costs.seconds_per_token == pytest.approx(0.03, rel=1e-6)


def test_a_cached_prefix_is_not_computed_again() -> None:
    scheduler = make(prefix_caching=True)
    (first,) = add(scheduler, 10)
    assert step(scheduler) == [(0, 0, 10)]
    twin = Sequence(1, (1, 0), [*first.tokens[:8], 5, 5], 10)
    other = Sequence(2, (2, 0), list(twin.tokens), 10, salt="another")
    scheduler.add(twin)
    scheduler.add(other)
    assert step(scheduler) == [(0, 10, 11), (1, 8, 10), (2, 0, 10)]
    assert scheduler.tables.blocks(0)[:2] == scheduler.tables.blocks(1)[:2]


def test_blocks_of_a_slower_tier_are_loaded_and_those_that_fail_are_computed() -> None:
    scheduler = make()
    scheduler.outside = lambda tokens, salt, blocks: 3 - blocks
    (sequence,) = add(scheduler, 14)
    plan = scheduler.schedule()
    (load,) = plan.loads
    assert (load.sequence, load.first, load.blocks) == (sequence, 0, scheduler.tables.blocks(0)[:3])
    assert chunks(plan) == [(0, 12, 14)]
    scheduler.retreat(sequence, 4)  # the second of the three blocks was damaged
    assert chunks(plan) == [(0, 4, 14)]


def test_a_fork_shares_blocks_and_copies_the_one_it_writes_to() -> None:
    scheduler = make()
    (parent,) = add(scheduler, 6, width=2)
    scheduler.schedule()
    child = Sequence(5, (0, 1), list(parent.tokens), 6)
    scheduler.fork(parent, child)
    assert scheduler.running == [parent, child]
    shared = scheduler.tables.blocks(0)
    parent.tokens.append(1)
    child.tokens.append(2)
    plan = scheduler.schedule()
    assert chunks(plan) == [(0, 6, 7), (5, 6, 7)]
    assert [copy.source for copy in plan.copies] == [shared[1]]
    assert scheduler.tables.blocks(0)[0] == scheduler.tables.blocks(5)[0] == shared[0]
    assert scheduler.tables.blocks(0)[1] != scheduler.tables.blocks(5)[1]


def test_the_watermark_keeps_room_for_those_that_make_progress_and_for_nobody_else() -> None:
    scheduler = make(blocks=4, watermark=0.5, max_num_batched_tokens=64)
    (first,) = add(scheduler, 7)
    step(scheduler)
    add(scheduler, 4, first=1)
    assert step(scheduler) == [(0, 7, 8)]  # one more block would leave one of the two that are to stay free
    scheduler.schedule()
    assert first.remaining == 0
    assert chunks(scheduler.schedule()) == [(1, 0, 4)]  # the first waits, as a beam does for others of its search


def test_a_step_that_failed_is_planned_again_from_nothing() -> None:
    scheduler = make(blocks=4, host=4, preemption="swap", prefix_caching=True, max_num_batched_tokens=64)
    old, young = add(scheduler, 7, 7)
    step(scheduler)
    step(scheduler)
    assert len(scheduler.schedule().swap_out) == 2
    scheduler.abandon()
    assert scheduler.waiting == [old, young]
    assert (old.computed, young.computed, scheduler.tables.num_free) == (0, 0, 4)
    assert scheduler.host is not None
    assert scheduler.host.num_free == 4
    assert scheduler.tables.cached_prefix(old.tokens) == []
    assert step(scheduler) == [(0, 0, 9)]


def test_finishing_gives_everything_back_from_every_state() -> None:
    scheduler = make(blocks=4, host=4, preemption="swap", max_num_batched_tokens=64)
    old, young, waiting = add(scheduler, 7, 7, 7)
    step(scheduler)
    step(scheduler)
    scheduler.schedule()
    assert [one.status for one in (old, young, waiting)] == [Status.RUNNING, Status.SWAPPED, Status.WAITING]
    for sequence in (young, old, waiting, waiting):  # a second time changes nothing
        scheduler.finish(sequence)
    assert (scheduler.running, scheduler.waiting, scheduler.tables.num_free) == ([], [], 4)
    assert scheduler.host is not None
    assert scheduler.host.num_free == 4


@settings(max_examples=150, deadline=None)
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens must be an integer of at least 1, got 0"),
        ({"max_num_seqs": True}, "max_num_seqs must be an integer"),
        ({"max_num_batched_tokens": 4, "max_num_seqs": 5}, "not every running sequence"),
        ({"preemption": "kill"}, "preemption must be"),
        ({"watermark": 1.0}, "watermark must be a number from 0 to below 1, got 1.0"),
        ({"watermark": float("nan")}, "watermark must be"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SchedulerConfig(**options)


def test_swapping_needs_a_host() -> None:
    with pytest.raises(ValueError, match="needs blocks in host memory"):
        make(preemption="swap")
