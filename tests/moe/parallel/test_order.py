"""Exchanges run beside computation, forwards and backwards, in one order on all ranks; in two hops there are fewer."""

import pytest

from kb.moe.parallel import Ranks
from tests.moe.parallel import order


def test_the_shared_expert_runs_while_rows_travel(some: Ranks) -> None:
    for forwards, backwards in some.call(order.events, 1, 3):
        assert forwards == ["start 0", "shared", "end 0", "experts", "start 1", "end 1"]
        assert backwards == ["start 2", "end 2", "experts", "start 3", "shared", "end 3"]


def test_rows_of_the_next_chunk_travel_while_the_experts_run(two: Ranks) -> None:
    forwards = "start 0, shared, end 0, start 1, experts, start 2, end 1, experts, start 3, end 2, end 3"
    # Backwards: both chunks' gradients set out, and while the first chunk's experts run, those of the second go home.
    backwards = "start 4, start 5, end 4, experts, start 6, end 5, experts, end 6, start 7, shared, end 7"
    for found in two.call(order.events, 2, 4):
        assert [", ".join(each) for each in found] == [forwards, backwards]


def test_fewer_messages_in_two_hops(four: Ranks) -> None:
    # Counts, rows, and rows home: three ranks each, or one in the node and one across.
    assert four.call(order.hops, None) == [[3, 3, 3, 3]] * 4
    assert four.call(order.hops, 2) == [[1, 1, 1, 1, 1, 1, 2]] * 4


def test_two_groups_side_by_side(four: Ranks) -> None:
    assert all(max(found.values()) < 1e-10 for found in four.call(order.in_half_the_ranks))


def test_gradients_of_what_all_ranks_hold_are_summed(two: Ranks) -> None:
    assert two.call(order.sums) == [[[2.0, 1.0], [5.0, 6.0], None, [1.0], None]] * 2


def test_a_share_of_a_bank_keeps_its_activation(two: Ranks) -> None:
    assert two.call(order.share_of_a_bank) == [True, True]


def test_the_time_is_that_of_the_slowest_rank_on_all(two: Ranks) -> None:
    first, second = two.call(order.time_of_a_rank_that_waits, 0.2)
    assert first == second >= 0.2


def test_without_a_graph_the_output_is_the_same(two: Ranks) -> None:
    assert two.call(order.without_a_graph) == [True, True]


@pytest.mark.parametrize("what", ["tokens", "expert"])
def test_where_one_rank_has_nothing_to_learn_it_still_passes_gradients_on(two: Ranks, what: str) -> None:
    nothing, found = two.call(order.learning_in_one_place, what)
    assert nothing == [-1.0]
    assert 0 <= found[0] < 1e-10
