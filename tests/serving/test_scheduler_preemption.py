"""Who makes room when blocks run out, in which way, and what comes back."""

import pytest

from kb.serving.preemption import PreemptionCosts
from kb.serving.sequence import Status
from tests.serving.planning import add, chunks, make, step


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


def test_swapping_needs_a_host() -> None:
    with pytest.raises(ValueError, match="needs blocks in host memory"):
        make(preemption="swap")
