"""The pool of blocks: its queue, its counts, and what it refuses."""

import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.serving.block_pool import BlockPool


def test_blocks_come_in_order_and_return_to_the_tail() -> None:
    pool = BlockPool(4)
    assert [pool.allocate() for _ in range(3)] == [0, 1, 2]
    pool.release(1)
    pool.release(0)
    assert pool.free_order() == [3, 1, 0]
    assert [pool.allocate() for _ in range(3)] == [3, 1, 0]
    assert pool.free_order() == []


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_free_block_leaves_the_queue_wherever_it_stands(taken: int) -> None:
    pool = BlockPool(4)
    pool.share(taken)
    assert pool.free_order() == [block for block in range(4) if block != taken]
    assert pool.references(taken) == 1
    pool.release(taken)
    assert pool.free_order()[-1] == taken


@given(st.lists(st.tuples(st.sampled_from(["allocate", "share", "release"]), st.integers(0, 4)), max_size=60))
def test_equals_a_list_and_a_dict(steps: list[tuple[str, int]]) -> None:
    pool, queue, counts = BlockPool(5), list(range(5)), dict.fromkeys(range(5), 0)
    for step, block in steps:
        if step == "allocate" and queue:
            assert pool.allocate() == queue[0]
            counts[queue.pop(0)] = 1
        elif step == "share":
            pool.share(block)
            counts[block] += 1
            queue = [free for free in queue if free != block]
        elif step == "release" and counts[block]:
            pool.release(block)
            counts[block] -= 1
            queue += [block] if counts[block] == 0 else []
        assert pool.free_order() == queue
        assert pool.num_free == len(queue)
        assert {block: pool.references(block) for block in counts} == counts
        assert pool.num_shared == sum(count > 1 for count in counts.values())


def test_the_callback_hears_of_a_block_while_it_is_still_free() -> None:
    heard = []
    pool = BlockPool(3, on_evict=lambda block: heard.append((block, pool.references(block), pool.num_free)))
    pool.share(1)
    assert pool.take(2) == [0, 2]
    assert heard == [(0, 0, 2), (2, 0, 1)]


def test_a_callback_that_raises_leaves_everything_counted() -> None:
    def refuse(block: int) -> None:
        if block == 2:
            raise OSError("no space left")

    pool = BlockPool(4, on_evict=refuse)
    with pytest.raises(OSError, match="no space left"):
        pool.take(4)
    assert sorted(pool.free_order()) == [0, 1, 2, 3]
    assert pool.free_order()[0] == 2
    assert [pool.references(block) for block in range(4)] == [0, 0, 0, 0]


def test_taking_from_the_middle_does_not_search() -> None:
    pool, order = BlockPool(200_000), list(range(200_000))
    random.Random(0).shuffle(order)
    start = time.process_time()
    for block in order:
        pool.share(block)
    for block in order:
        pool.release(block)
    assert time.process_time() - start < 5  # half a second; a search would pass 10^10 blocks
    assert pool.free_order() == order


def test_refuses_to_free_twice() -> None:
    pool = BlockPool(2)
    block = pool.allocate()
    pool.release(block)
    with pytest.raises(ValueError, match="block 0 is free already"):
        pool.release(block)
    assert pool.free_order() == [1, 0]


def test_refuses_to_hand_out_what_is_not_there() -> None:
    pool = BlockPool(2)
    with pytest.raises(ValueError, match="cannot take 3 blocks: 2 of 2 are free"):
        pool.take(3)
    assert pool.take(2) == [0, 1]
    with pytest.raises(ValueError, match="all 2 are referenced"):
        pool.allocate()


@pytest.mark.parametrize("block", [-1, 2, 1.0, True, None, "0"])
def test_refuses_what_is_no_block(block: Any) -> None:
    pool = BlockPool(2)
    for method in (pool.share, pool.release, pool.references):
        with pytest.raises(ValueError, match="from 0 to 1, got"):
            method(block)
    assert pool.free_order() == [0, 1]


@pytest.mark.parametrize("num_blocks", [0, -3, 2.0, True, "8"])
def test_refuses_an_empty_pool(num_blocks: Any) -> None:
    with pytest.raises(ValueError, match="num_blocks must be an integer of at least 1"):
        BlockPool(num_blocks)
