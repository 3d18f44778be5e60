"""Rows from rank to rank along a route, in the background, with gradients that take the same way home.

An exchange is two nodes of the graph: it departs in one and arrives in the other, and whatever is computed between
them runs beside it. Backwards the roles swap: the gradient departs where the rows arrived. Autograd takes the nodes in
the reverse of the order in which they were made, so what hid an exchange forwards hides its gradient backwards, and all
ranks, whose nodes were made in one order, exchange in one order.

Unusual: what stands between the two nodes is a tensor of zeros without memory of its own; the rows being written
in the background are in nobody's reach until they have arrived.

Shapes: P rows here before, Q after, D width.
"""

from typing import Any

import torch
from torch import Tensor

from kb.distributed.lost import lost_ranks_named
from kb.moe.parallel.groups import Groups
from kb.moe.parallel.plan import Order, Route


def exchange(x_PD: Tensor, route: Route, groups: Groups) -> "Exchange":
    """Send rows off; :meth:`Exchange.arrive` waits for those that come."""
    return Exchange(x_PD, route, groups)


class Exchange:
    """Rows that are under way.

    Args:
        x_PD: As many rows as the route takes from here.
        route: Theirs; all ranks have one that fits.
        groups: Where the hops of the route go.
    """

    def __init__(self, x_PD: Tensor, route: Route, groups: Groups) -> None:
        self._flight = _Flight(route, groups)
        self._between_QD: Tensor = _Depart.apply(x_PD, self._flight)

    def arrive(self) -> Tensor:
        """Wait for the rows [Q, D]; to be called once.

        Raises:
            LostRankError: a rank died, or did not answer within the timeout of its group.
        """
        out_QD: Tensor = _Arrive.apply(self._between_QD, self._flight)
        return out_QD


class _Flight:
    """What the two nodes of an exchange share: the journey under way, forwards or backwards."""

    def __init__(self, route: Route, groups: Groups) -> None:
        self.route, self.groups = route, groups
        self.journey: _Journey | None = None

    def depart(self, x_PD: Tensor, route: Route) -> None:
        self.journey = _Journey(x_PD, route, self.groups)

    def arrive(self) -> Tensor:
        if self.journey is None:
            raise RuntimeError("the rows of this exchange have arrived already")
        journey, self.journey = self.journey, None
        return journey.finish()


class _Journey:
    """The hops of one route; the first is under way once this is made."""

    def __init__(self, x_PD: Tensor, route: Route, groups: Groups) -> None:
        self.route, self.groups = route, groups
        self._start(0, _ordered(x_PD, route.orders[0]))

    def _start(self, number: int, x_PD: Tensor) -> None:
        hop = self.route.hops[number]
        # Kept until they have arrived: both are read or written in the background.
        self.sent_PD = x_PD.contiguous()
        self.out_QD = x_PD.new_empty(sum(hop.receive), *x_PD.shape[1:])
        self.work = self.groups.all_to_all(hop.group, self.out_QD, self.sent_PD, hop.receive, hop.send)

    def finish(self) -> Tensor:
        """[Q, D], when the last hop is over."""
        for number in range(len(self.route.hops)):
            if number:
                self._start(number, _ordered(self.out_QD, self.route.orders[number]))
            with lost_ranks_named():
                self.work.wait()
        return _ordered(self.out_QD, self.route.orders[-1])


class _Depart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_PD: Tensor, flight: _Flight) -> Tensor:
        ctx.flight = flight
        flight.depart(x_PD, flight.route)
        return x_PD.new_zeros(()).expand(flight.route.arriving, *x_PD.shape[1:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_QD: Tensor) -> tuple[Tensor, None]:
        return ctx.flight.arrive(), None


class _Arrive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, between_QD: Tensor, flight: _Flight) -> Tensor:
        ctx.flight = flight
        return flight.arrive()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_QD: Tensor) -> tuple[Tensor, None]:
        ctx.flight.depart(grad_QD, ctx.flight.route.back())
        return grad_QD.new_zeros(()).expand_as(grad_QD), None


def _ordered(x_PD: Tensor, order: Order | None) -> Tensor:
    return x_PD if order is None else x_PD.index_select(0, order.rows_P)
