"""The scheduler: who gets tokens and blocks in a step, by hand; no tensor is made."""

from typing import Any

import pytest

from kb.serving.plan import SchedulerConfig
from kb.serving.sequence import Sequence
from tests.serving.planning import add, chunks, make, step


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
