"""What a rank does in which order: exchanges that start and end, what is computed between, and who talks to whom."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kb.moe import ModuleExperts, MoELayer, Router, RouterConfig, SwiGLUExperts
from kb.moe.parallel import ExpertParallel, shard_experts, sum_replicated_gradients
from kb.moe.parallel.timings import seconds_of
from tests.moe.parallel.cases import WIDTH, layer_of, tokens_of


class Told(nn.Module):
    """Says when it runs forwards and backwards."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__()
        self.linear, self.name, self.log = nn.Linear(WIDTH, WIDTH), name, log

    def forward(self, x_ND: Tensor) -> Tensor:
        self.log.append(self.name)
        out_ND = self.linear(x_ND)
        if out_ND.requires_grad:
            out_ND.register_hook(lambda _: self.log.append(self.name))
        return out_ND


class _Work:
    def __init__(self, work: Any, number: int, log: list[str]) -> None:
        self.work, self.number, self.log = work, number, log

    def wait(self) -> None:
        self.work.wait()
        self.log.append(f"end {self.number}")


@contextmanager
def logged(log: list[str]) -> Iterator[None]:
    """Say when an exchange in the background starts and is waited for."""
    real, number = dist.all_to_all_single, 0

    def all_to_all_single(*arguments: Any, **named: Any) -> Any:
        nonlocal number
        if named["input_split_sizes"] is None:  # of counts
            return real(*arguments, **named)
        log.append(f"start {number}")
        work = _Work(real(*arguments, **named), number, log)
        number += 1
        return work

    with mock.patch.object(dist, "all_to_all_single", all_to_all_single):
        yield


def events(overlap: int, tokens: int) -> tuple[list[str], list[str]]:
    """Forwards and backwards, of a layer with one expert a rank and a shared one."""
    log: list[str] = []
    experts = ModuleExperts(Told("experts", log) for _ in range(dist.get_world_size()))
    router = Router(WIDTH, RouterConfig(len(experts), len(experts)))
    layer = MoELayer(router, experts, shared=Told("shared", log))
    parallel = ExpertParallel.shard(layer, overlap=overlap)
    with logged(log):
        out_TD, _ = parallel(torch.ones(tokens, WIDTH, requires_grad=True))
        forwards = list(log)
        log.clear()
        out_TD.sum().backward()
    return forwards, log


def hops(node_size: int | None) -> list[int]:
    """How many other ranks get rows or counts from this one in each exchange of a forward pass."""
    sizes: list[int] = []
    real = dist.all_to_all_single

    def all_to_all_single(*arguments: Any, **named: Any) -> Any:
        sizes.append(dist.get_world_size(named["group"]) - 1)
        return real(*arguments, **named)

    timeout = timedelta(seconds=60) if node_size else None
    parallel = ExpertParallel.shard(layer_of(8, top_k=2), node_size=node_size, timeout=timeout)
    with mock.patch.object(dist, "all_to_all_single", all_to_all_single):
        parallel(torch.ones(4, WIDTH, dtype=torch.float64))
    return [*sizes, parallel.groups.messages()]


def in_half_the_ranks() -> dict[str, float]:
    """Two groups of two ranks side by side, each with all experts: the gradient of one group's tokens."""
    rank = dist.get_rank()
    halves = [dist.new_group([first, first + 1], timedelta(seconds=60)) for first in (0, 2)]
    group = halves[rank // 2]
    oracle = layer_of(4, top_k=2)
    parallel = ExpertParallel.shard(copy.deepcopy(oracle), group, node_size=1, timeout=timedelta(seconds=60))
    xs = tokens_of([3, 5, 2, 6])
    out, _ = parallel(xs[rank])
    out.sin().sum().backward()
    sum_replicated_gradients(parallel, group)
    first = rank // 2 * 2
    wanted, _ = oracle(torch.cat(xs[first : first + 2]))
    wanted.sin().sum().backward()
    mine = wanted[: len(xs[first])] if rank == first else wanted[len(xs[first]) :]
    share = slice(rank % 2 * 2, rank % 2 * 2 + 2)
    pairs = {
        "output": (out, mine),
        "router": (parallel.router.weight.grad, oracle.router.weight.grad),
        "experts": (parallel.experts.down_proj.grad, oracle.experts.down_proj.grad[share]),
    }
    return {name: float((ours - wanted).detach().abs().max()) for name, (ours, wanted) in pairs.items()}


def sums() -> list[list[float] | None]:
    """Gradients of parameters that have one on all ranks, on one, on none; of another dtype; and frozen."""
    rank = dist.get_rank()
    model = nn.ParameterList([torch.zeros(2) for _ in range(3)] + [torch.zeros(1, dtype=torch.float64)])
    model[0].grad = torch.tensor([1.0, rank])
    if rank == 1:
        model[1].grad = torch.tensor([5.0, 6.0])
    model[3].grad = torch.tensor([0.5], dtype=torch.float64)
    model.append(nn.Parameter(torch.zeros(1), requires_grad=False))
    sum_replicated_gradients(model)
    return [None if p.grad is None else p.grad.tolist() for p in model]


def share_of_a_bank() -> bool:
    """Whether a rank's share of GELU experts gives what those of the whole bank give."""
    torch.manual_seed(0)
    bank = SwiGLUExperts(4, WIDTH, 3, activation="gelu")
    share = shard_experts(bank)
    x_ND, first = torch.randn(6, WIDTH), dist.get_rank() * len(share)
    pairs = zip(share.functions(), bank.functions()[first : first + len(share)], strict=True)
    return all(ours(x_ND).equal(theirs(x_ND)) for ours, theirs in pairs)


def time_of_a_rank_that_waits(seconds: float) -> float:
    """What is measured where rank 0 alone takes so long."""
    return seconds_of(lambda: time.sleep(seconds if dist.get_rank() == 0 else 0.0))


def without_a_graph() -> bool:
    """Whether a layer under no_grad gives the same, and no graph."""
    parallel = ExpertParallel.shard(layer_of(4, top_k=2, shared=True), overlap=2)
    x_TD = tokens_of([4] * dist.get_world_size())[dist.get_rank()]
    wanted, _ = parallel(x_TD)
    with torch.no_grad():
        out, _ = parallel(x_TD)
    return out.equal(wanted) and not out.requires_grad


def learning_in_one_place(what: str) -> list[float]:
    """Gradients where one expert alone can learn, or one rank's tokens alone need one; and by one process."""
    layer = layer_of(4, top_k=2, bank="modules").requires_grad_(False)
    rank = dist.get_rank()
    xs = [x_TD.detach() for x_TD in tokens_of([3, 4])]
    leaf: Tensor = xs[1].requires_grad_() if what == "tokens" else layer.experts.experts[3][0].weight.requires_grad_()
    wanted = torch.autograd.grad(layer(torch.cat(xs))[0].sin().sum(), leaf)[0]
    parallel = ExpertParallel.shard(layer, overlap=2)
    out_TO, _ = parallel(xs[rank])
    if out_TO.requires_grad:
        out_TO.sin().sum().backward()
    return [-1.0] if leaf.grad is None else [float((leaf.grad - wanted).abs().max())]
