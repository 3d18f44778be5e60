"""The cost model: by hand, against simulated choices, and against the rows that a plan sends."""

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.moe.parallel import cost
from kb.moe.parallel.plan import by_node, direct

CPU = torch.device("cpu")


def test_four_ranks_in_two_nodes_by_hand() -> None:
    # 8 experts on 4 ranks, 2 for a token. Of its 2 copies 1/4 stay, 1/4 go to the neighbour, 2/4 to the other node.
    layout = cost.Layout(4, 2, 8, 2)
    assert cost.flat(layout) == cost.Traffic(0.5, 1.0, 1, 2)
    assert cost.two_hops(layout) == cost.Traffic(1.0, 1.0, 1, 1)
    # Both experts in one node: 2 x C(4, 2) of C(8, 2) choices, 12 of 28; so 1 + 16/28 nodes, half of them elsewhere.
    assert layout.nodes_of_a_token() == pytest.approx(1 + 16 / 28)
    assert cost.once_a_node(layout).across == pytest.approx((1 + 16 / 28) / 2)
    assert cost.once_a_node(cost.Layout(4, 2, 8, 2, most_nodes=1)).across == pytest.approx(0.5)
    # Of the 2 copies, wherever they are handed out, one goes to the number that the token did not come to.
    assert cost.once_a_node(layout).within == pytest.approx(1.0)


def test_seconds_by_hand() -> None:
    within, across = cost.Link(1e-6, 100e9), cost.Link(10e-6, 50e9)
    traffic = cost.Traffic(1.0, 0.5, 1, 2)
    # 1,000 tokens of 2,000 bytes: 2 MB at 100 GB/s and 1 MB at 50 GB/s are 20 us each; and 1 us, and 2 x 10 us.
    assert cost.exchange_seconds(traffic, 1000, 2000, within, across) == pytest.approx(61e-6)
    assert cost.exchange_seconds(traffic, 1000, 2000, within, across, beside=True) == pytest.approx(40e-6)
    assert cost.expert_operations(10, 2, 3, 4) == 6 * 10 * 2 * 3 * 4


@settings(max_examples=15)
@given(
    nodes=st.integers(1, 5),
    on_a_node=st.integers(1, 5),
    top_k=st.integers(1, 5),
    most=st.one_of(st.none(), st.integers(1, 5)),
    seed=st.integers(0, 1000),
)
def test_nodes_of_a_token_are_those_of_simulated_choices(
    nodes: int, on_a_node: int, top_k: int, most: int | None, seed: int
) -> None:
    limit = min(most or nodes, nodes)
    top_k = min(top_k, limit * on_a_node)
    layout = cost.Layout(nodes, 1, nodes * on_a_node, top_k, most)
    draw = random.Random(seed)
    tokens = 500
    found = 0
    for _ in range(tokens):
        allowed = [(node, e) for node in draw.sample(range(nodes), limit) for e in range(on_a_node)]
        found += len({node for node, _ in draw.sample(allowed, top_k)})
    # Five standard errors of a mean of 500 numbers between 1 and 5, whose deviation is at most 2.
    assert found / tokens == pytest.approx(layout.nodes_of_a_token(), abs=5 * 2 / tokens**0.5)
    assert 1 - 1e-12 <= layout.nodes_of_a_token() <= min(limit, top_k) + 1e-12


def test_traffic_is_what_a_plan_sends_when_experts_are_chosen_evenly() -> None:
    N, G, L = 3, 2, 2
    R = N * G
    layout = cost.Layout(R, G, R * L, 6)
    tokens = R * L
    # As many rows from each rank to each expert; what a hop keeps for the sender itself does not travel.
    rows_RRL = torch.full((R, R, L), tokens * layout.top_k // (R * L))
    for rank in range(R):
        node, number = divmod(rank, G)
        (hop,) = direct(rows_RRL[rank], rows_RRL[:, rank], CPU).hops
        here = sum(hop.send[node * G : (node + 1) * G])
        assert (here - hop.send[rank]) / tokens == pytest.approx(cost.flat(layout).within)
        assert (sum(hop.send) - here) / tokens == pytest.approx(cost.flat(layout).across)
        between_GN = torch.stack([rows_RRL[node * G + g, number::G].sum(-1) for g in range(G)])
        first, second = by_node(rows_RRL[rank], between_GN, rows_RRL[:, rank], CPU).hops
        assert (sum(first.send) - first.send[number]) / tokens == pytest.approx(cost.two_hops(layout).within)
        assert (sum(second.send) - second.send[node]) / tokens == pytest.approx(cost.two_hops(layout).across)


@given(latency=st.floats(1e-7, 1e-3), bandwidth=st.floats(1e6, 1e12), messages=st.integers(1, 100))
def test_a_link_is_found_again_from_its_times(latency: float, bandwidth: float, messages: int) -> None:
    link = cost.Link(latency, bandwidth)
    # Sizes around that at which both parts weigh the same: elsewhere one of them drowns in rounding.
    middle = latency * messages * bandwidth
    sizes = [middle / 4, middle, 4 * middle]
    found = cost.fit_link([messages] * 3, sizes, [link.seconds(messages, size) for size in sizes])
    assert found.latency == pytest.approx(latency, rel=1e-6)
    assert found.bandwidth == pytest.approx(bandwidth, rel=1e-6)


def test_a_link_that_no_times_fit_exactly_has_the_least_relative_error() -> None:
    messages, sizes, times = [1, 1, 2, 3], [1e3, 1e6, 2e6, 5e7], [2e-4, 8e-4, 1.9e-3, 2e-2]
    times_1 = torch.tensor(times, dtype=torch.float64)[:, None]
    rows = torch.tensor([messages, sizes], dtype=torch.float64).t() / times_1
    wanted = torch.linalg.lstsq(rows, torch.ones(4, 1, dtype=torch.float64)).solution[:, 0].tolist()
    found = cost.fit_link(messages, sizes, times)
    assert [found.latency, 1 / found.bandwidth] == pytest.approx(wanted, rel=1e-6)


def test_with_few_nodes_a_limit_saves_nothing_and_with_many_it_caps() -> None:
    def across(ranks: int, most: int | None) -> float:
        return cost.once_a_node(cost.Layout(ranks, 8, max(256, ranks), 8, most)).across

    assert across(32, 4) == across(32, None)
    assert [across(ranks, 4) < across(ranks, None) for ranks in (64, 256, 2048)] == [True] * 3
    assert across(2048, 4) < 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranks": 0}, "ranks must be an integer of at least 1, got 0"),
        ({"top_k": True}, "top_k must be an integer"),
        ({"node_size": 3}, "node_size 3 must divide ranks 8"),
        ({"experts": 7}, "nodes experts 7"),
        ({"top_k": 9, "most_nodes": 1}, "top_k 9 is more than the experts of 1 nodes"),
        ({"most_nodes": 0}, "most_nodes must be"),
    ],
)
def test_bad_layouts(change: dict[str, Any], message: str) -> None:
    good = {"ranks": 8, "node_size": 4, "experts": 16, "top_k": 2}
    with pytest.raises(ValueError, match=message):
        cost.Layout(**{**good, **change})


@pytest.mark.parametrize(("latency", "bandwidth"), [(-1.0, 1.0), (0.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_bad_links(latency: float, bandwidth: float) -> None:
    with pytest.raises(ValueError, match="latency must be at least 0"):
        cost.Link(latency, bandwidth)


@pytest.mark.parametrize(
    ("messages", "sizes", "seconds", "message"),
    [
        ([1], [1], [1.0], "two at least"),
        ([1, 1], [1, 2], [1.0, 0.0], "all positive"),
        ([1, 2], [10, 20], [1.0, 2.0], "proportional"),
        ([1, 1], [1, 2], [2.0, 1.0], "fit no link"),
    ],
)
def test_times_that_fit_no_link(messages: list[int], sizes: list[int], seconds: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost.fit_link(messages, sizes, seconds)
