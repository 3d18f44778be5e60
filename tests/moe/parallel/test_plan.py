"""Plans without processes: every rank's plan is followed by hand, and rows must lie where they belong."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.moe.parallel.groups import check_nodes
from kb.moe.parallel.plan import Order, Route, by_node, direct, spans, swapped

CPU = torch.device("cpu")
Row = tuple[int, int, int, int]  # from rank, to rank, its expert there, number among those


@st.composite
def worlds(draw: st.DrawFn) -> tuple[int, Tensor]:
    """Ranks of a node, and [from, to, expert] rows; often none."""
    G, N, L = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    R = N * G
    counts = draw(st.lists(st.sampled_from([0, 0, 1, 2, 5]), min_size=R * R * L, max_size=R * R * L))
    return G, torch.tensor(counts).view(R, R, L)


def reorder(rows: list[Row], order: Order | None) -> list[Row]:
    if order is None:
        return rows
    assert sorted(order.rows_P.tolist()) == list(range(len(rows)))
    return [rows[i] for i in order.rows_P.tolist()]


def follow(rows: list[list[Row]], routes: list[Route], members: Callable[[int, int], list[int]]) -> list[list[Row]]:
    """All ranks' rows along their routes; ``members`` are the ranks of a group, as one rank sees it."""
    for number in range(len(routes[0].hops)):
        rows = [reorder(held, route.orders[number]) for held, route in zip(rows, routes, strict=True)]
        hops = [route.hops[number] for route in routes]
        boxes: dict[tuple[int, int], list[Row]] = {}
        for rank, hop in enumerate(hops):
            assert sum(hop.send) == len(rows[rank])
            start = 0
            for other, size in zip(members(rank, hop.group), hop.send, strict=True):
                boxes[rank, other] = rows[rank][start : start + size]
                start += size
        arrived = []
        for rank, hop in enumerate(hops):
            senders = members(rank, hop.group)
            assert [len(boxes[sender, rank]) for sender in senders] == list(hop.receive)
            arrived.append([row for sender in senders for row in boxes[sender, rank]])
        rows = arrived
    return [reorder(held, route.orders[-1]) for held, route in zip(rows, routes, strict=True)]


@settings(max_examples=150)
@given(world=worlds(), nodes=st.booleans())
def test_rows_come_to_their_expert_in_the_order_of_ranks_and_go_home(world: tuple[int, Tensor], nodes: bool) -> None:
    G, counts_RRL = world
    R = len(counts_RRL)
    N = R // G

    def members(rank: int, group: int) -> list[int]:
        node, number = divmod(rank, G)
        return [list(range(R)), [node * G + g for g in range(G)], [n * G + number for n in range(N)]][group]

    routes = []
    for rank in range(R):
        sent_RL, received_RL = counts_RRL[rank], counts_RRL[:, rank]
        node, number = divmod(rank, G)
        between_GN = torch.stack([counts_RRL[node * G + g, number::G].sum(-1) for g in range(G)])
        routes.append(by_node(sent_RL, between_GN, received_RL, CPU) if nodes else direct(sent_RL, received_RL, CPU))
    rows = [
        [(s, r, e, i) for r in range(R) for e in range(counts_RRL.shape[2]) for i in range(counts_RRL[s, r, e])]
        for s in range(R)
    ]
    there = follow(rows, routes, members)
    for rank, held in enumerate(there):
        wanted = [row for sender in rows for row in sender if row[1] == rank]
        assert held == sorted(wanted, key=lambda row: (row[2], row[0], row[3]))
        assert routes[rank].departing == len(rows[rank])
        assert routes[rank].arriving == len(held)
    assert follow(there, [route.back() for route in routes], members) == rows


def test_four_rows_from_two_ranks_for_two_experts_by_hand() -> None:
    # From rank 0 one row for expert 0 and two for expert 1; from rank 1 one for expert 0: a, b c | d becomes a d, b c.
    order = swapped(torch.tensor([[1, 2], [1, 0]]), CPU)
    assert order is not None
    assert order.rows_P.tolist() == [0, 3, 1, 2]
    assert order.inverse_P.tolist() == [0, 2, 3, 1]


@given(total=st.integers(0, 50), parts=st.integers(1, 9))
def test_spans_cover_all_and_differ_by_one(total: int, parts: int) -> None:
    runs = spans(total, parts)
    assert [i for start, end in runs for i in range(start, end)] == list(range(total))
    sizes = [end - start for start, end in runs]
    assert len(runs) == parts
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_one_row_or_column_of_blocks_needs_no_order(shape: tuple[int, int]) -> None:
    assert swapped(torch.ones(shape, dtype=torch.int64), CPU) is None


def test_a_node_size_of_numpy_must_divide_as_any() -> None:
    with pytest.raises(ValueError, match="node_size 3 must divide the 4 ranks"):
        check_nodes(4, np.int64(3), None)
