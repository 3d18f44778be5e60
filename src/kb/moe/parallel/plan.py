"""Which rows go where: orders of blocks and sizes of messages, worked out from counts alone.

Rows are sorted by expert, and ranks own runs of experts, so what goes to one rank is one run of rows. What arrives is
sorted by the rank it came from, then by expert; one change of the order of blocks makes it "by expert, then by rank",
which is the order in which one process would have the same tokens. With nodes, the rows go in two hops: to the rank of
the same node that has the local number of the destination, then across nodes.

Nothing here communicates: :mod:`kb.moe.parallel.exchange` does.

Shapes: R ranks, L experts of one rank, N nodes, G ranks of a node (R = N G; rank n G + g), P rows.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Order:
    """A permutation of rows and its inverse, int64, on the device of the rows."""

    rows_P: Tensor
    inverse_P: Tensor

    def back(self) -> "Order":
        """The order that undoes this one."""
        return Order(self.inverse_P, self.rows_P)


@dataclass(frozen=True)
class Hop:
    """One all-to-all: how many rows go to each rank of a group, and how many come from each.

    Args:
        group: Number of the group in :class:`~kb.moe.parallel.groups.Groups`: where the ranks are.
        send: Rows to each of its ranks.
        receive: Rows from each.
    """

    group: int
    send: tuple[int, ...]
    receive: tuple[int, ...]

    def back(self) -> "Hop":
        """The same rows the other way."""
        return Hop(self.group, self.receive, self.send)


@dataclass(frozen=True)
class Route:
    """Orders and hops in turn: orders[0], hops[0], orders[1], ...; None for an order that changes nothing.

    Args:
        orders: One more than there are hops.
        hops: One, or two where there are nodes.
    """

    orders: tuple[Order | None, ...]
    hops: tuple[Hop, ...]

    def back(self) -> "Route":
        """The way home: every row to the place that it came from."""
        orders = tuple(None if order is None else order.back() for order in reversed(self.orders))
        return Route(orders, tuple(hop.back() for hop in reversed(self.hops)))

    @property
    def departing(self) -> int:
        """Rows here before."""
        return sum(self.hops[0].send)

    @property
    def arriving(self) -> int:
        """Rows here after."""
        return sum(self.hops[-1].receive)


def swapped(sizes_AB: Tensor, device: torch.device) -> Order | None:
    """The order that turns blocks sorted by a, then b, into blocks sorted by b, then a.

    Args:
        sizes_AB: int64 on the CPU, rows of each block.
        device: Of the rows.
    """
    if min(sizes_AB.shape) == 1:
        return None
    return Order(_swapping(sizes_AB).to(device), _swapping(sizes_AB.t()).to(device))


def _swapping(sizes_AB: Tensor) -> Tensor:
    starts_AB = (sizes_AB.flatten().cumsum(0) - sizes_AB.flatten()).view_as(sizes_AB)
    sizes = sizes_AB.t().flatten()
    shift = starts_AB.t().flatten() - (sizes.cumsum(0) - sizes)
    return shift.repeat_interleave(sizes) + torch.arange(int(sizes.sum()))


def direct(sent_RL: Tensor, received_RL: Tensor, device: torch.device) -> Route:
    """Every row straight to the rank of its expert.

    Args:
        sent_RL: int64 on the CPU, rows from here to each expert of each rank.
        received_RL: Rows from each rank to each expert of here.
        device: Of the rows.
    """
    hop = Hop(0, _sums(sent_RL), _sums(received_RL))
    return Route((None, swapped(received_RL, device)), (hop,))


def by_node(sent_RL: Tensor, between_GN: Tensor, received_RL: Tensor, device: torch.device) -> Route:
    """Within the node first, to the rank with the destination's number there; then to the same number of its node.

    Args:
        sent_RL: int64 on the CPU, rows from here to each expert of each rank.
        between_GN: Rows that each rank of this node hands over here, for this number in each node.
        received_RL: Rows that come to each expert of here from each rank of all.
        device: Of the rows.
    """
    G, N = between_GN.shape
    sent_NG = sent_RL.sum(1).view(N, G)
    within = Hop(1, _sums(sent_NG.t()), _sums(between_GN))
    across = Hop(2, _sums(between_GN.t()), _sums(received_RL.reshape(N, -1)))
    orders = (swapped(sent_NG, device), swapped(between_GN, device), swapped(received_RL, device))
    return Route(orders, (within, across))


def _sums(sizes_AB: Tensor) -> tuple[int, ...]:
    return tuple(sizes_AB.sum(1).tolist())


def spans(total: int, parts: int) -> list[tuple[int, int]]:
    """So many things in runs as even as can be, the longer ones first: the first and one past the last of each."""
    size, longer = divmod(total, parts)
    ends = [size * (i + 1) + min(i + 1, longer) for i in range(parts)]
    return list(zip([0, *ends[:-1]], ends, strict=True))
