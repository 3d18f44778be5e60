"""Times of exchanges and of whole layers, as functions for :class:`~kb.moe.parallel.Ranks` to run on every rank.

Each sample is timed from a barrier on, and is the time of the slowest rank: an exchange is over when it is over for
all. Between processes of one machine the "network" is its own cores, which copy; a :class:`SlowLinks` stands in for a
network that takes time and no cores.

Shapes: R ranks, L experts of a rank, T tokens of a rank, D width, P rows.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from kb.moe.layer import MoELayer
from kb.moe.parallel.agreement import Header, exchange_counts
from kb.moe.parallel.cost import Link
from kb.moe.parallel.exchange import exchange
from kb.moe.parallel.groups import Groups, Work
from kb.moe.parallel.layer import ExpertParallel
from kb.moe.parallel.plan import Route, by_node, direct
from kb.moe.router_config import RouterConfig


def seconds_of(work: Callable[[], object]) -> float:
    """Of the slowest rank, from a barrier on."""
    dist.barrier()
    start = time.perf_counter()
    work()
    slowest = torch.tensor(time.perf_counter() - start, dtype=torch.float64)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return float(slowest)


class _Late:
    """Work that is over no sooner than a link would be."""

    def __init__(self, work: Work, end: float) -> None:
        self.work, self.end = work, end

    def wait(self) -> None:
        self.work.wait()
        time.sleep(max(0.0, self.end - time.perf_counter()))


@dataclass(frozen=True)
class SlowLinks(Groups):
    """Groups whose exchanges take as long as over a slower link: who waits for one sleeps.

    One message goes after the other, of whichever exchange.

    Args:
        link: Of each rank to all others.
        free: When it will have carried what it has, by ``time.perf_counter``; one number.
    """

    link: Link = field(kw_only=True)
    free: list[float] = field(default_factory=lambda: [0.0])

    def all_to_all(
        self,
        number: int,
        out_QD: Tensor,
        x_PD: Tensor,
        receive: Sequence[int] | None = None,
        send: Sequence[int] | None = None,
    ) -> Work:
        """As the parent's, and not over before the link would have carried what leaves this rank."""
        group = self.groups[number]
        ranks = dist.get_world_size(group)
        stays = len(x_PD) // ranks if send is None else send[dist.get_rank(group)]
        leaving = (len(x_PD) - stays) * x_PD[:1].nbytes
        self.free[0] = max(self.free[0], time.perf_counter()) + self.link.seconds(ranks - 1, leaving)
        return _Late(super().all_to_all(number, out_QD, x_PD, receive, send), self.free[0])


def even_route(rows: int, groups: Groups) -> Route:
    """The route where every rank sends as many rows to each."""
    sent_RL = torch.full((groups.ranks, 1), rows // groups.ranks)
    counts = exchange_counts(groups, sent_RL[None], Header(), None)
    if counts.between_CGN is None:
        return direct(sent_RL, counts.received_CRL[0], torch.device("cpu"))
    return by_node(sent_RL, counts.between_CGN[0], counts.received_CRL[0], torch.device("cpu"))


def time_exchanges(rows: Sequence[int], width: int, repeats: int, node_size: int | None = None) -> list[list[float]]:
    """Seconds of exchanges of so many rows of float32 a rank, as many for each rank; samples are taken in turn.

    Args:
        rows: Of each exchange; multiples of the ranks.
        width: D.
        repeats: Samples of each, after one that does not count.
        node_size: Ranks of a node, for two hops.
    """
    groups = Groups.of(None, node_size, timedelta(seconds=60) if node_size else None)
    routes = [even_route(number, groups) for number in rows]
    inputs = [torch.ones(number, width) for number in rows]
    samples: list[list[float]] = [[] for _ in rows]
    for _ in range(repeats + 1):
        for taken, route, x_PD in zip(samples, routes, inputs, strict=True):
            taken.append(seconds_of(partial(_there, x_PD, route, groups)))
    return [taken[1:] for taken in samples]


def _there(x_PD: Tensor, route: Route, groups: Groups) -> None:
    exchange(x_PD, route, groups).arrive()


def time_layers(
    tokens: int,
    width: int,
    inner: int,
    config: RouterConfig,
    repeats: int,
    *,
    overlaps: Sequence[int] = (1,),
    node_size: int | None = None,
    shared_inner: int | None = None,
    link: Link | None = None,
) -> dict[int, list[float]]:
    """Seconds of a layer forwards and backwards, by the number of chunks; samples are taken in turn.

    Args:
        tokens: T of this rank.
        width: D.
        inner: Of each expert.
        config: Of the router.
        repeats: Samples of each, after one that does not count.
        overlaps: Numbers of chunks.
        node_size: Ranks of a node, for two hops.
        shared_inner: Of a shared network; None for none.
        link: What stands in for a network; None for this machine's own.
    """
    torch.manual_seed(0)
    layer = MoELayer.swiglu(width, inner, config, shared_inner=shared_inner)
    timeout = timedelta(seconds=60) if node_size else None
    layers = {
        chunks: ExpertParallel.shard(layer, overlap=chunks, node_size=node_size, timeout=timeout) for chunks in overlaps
    }
    if link is not None:
        for parallel in layers.values():
            parts = parallel.groups
            parallel.groups = SlowLinks(parts.groups, parts.rank, parts.ranks, parts.node_size, link=link)
    torch.manual_seed(1 + dist.get_rank())
    x_TD = torch.randn(tokens, width, requires_grad=True)
    samples: dict[int, list[float]] = {chunks: [] for chunks in overlaps}
    for _ in range(repeats + 1):
        for chunks, parallel in layers.items():
            samples[chunks].append(seconds_of(partial(_step, parallel, x_TD)))
    return {chunks: taken[1:] for chunks, taken in samples.items()}


def _step(parallel: ExpertParallel, x_TD: Tensor) -> None:
    out_TD, _ = parallel(x_TD)
    parallel.zero_grad()
    out_TD.backward(torch.ones_like(out_TD))
