"""A layer on several processes beside the same layer on one, to be run and looked at.

``python -m kb.moe.parallel.demo`` starts four processes, and prints who sends how many rows where and how far outputs
and gradients lie from one process. The functions are what :class:`~kb.distributed.Ranks` runs on each rank.

Shapes: R ranks, T tokens of a rank, D width, E experts of which each rank has L.
"""

import copy
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kb.distributed.lost import LostRankError
from kb.distributed.ranks import Ranks
from kb.moe.layer import MoELayer
from kb.moe.parallel.agreement import PeerError
from kb.moe.parallel.layer import ExpertParallel
from kb.moe.parallel.shards import rank_slice, sum_replicated_gradients
from kb.moe.router_config import RouterConfig

WIDTH, INNER = 16, 32


def tokens_of(tokens: Sequence[int]) -> list[Tensor]:
    """What each rank holds, float64; every rank knows of all."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(t, WIDTH, dtype=torch.float64, generator=generator) for t in tokens]


def layer_of(config: RouterConfig) -> MoELayer:
    """The same layer on every rank, float64."""
    torch.manual_seed(0)
    return MoELayer.swiglu(WIDTH, INNER, config, shared_inner=INNER).double()


def rows_sent(tokens: Sequence[int], config: RouterConfig, favour: float = 0.0) -> list[int]:
    """How many rows this rank sends to each rank; ``favour`` is added to the first expert's score when choosing."""
    layer = layer_of(replace(config, bias=True))
    if layer.router.bias is not None:
        layer.router.bias[0] += favour
    routing = layer.router(tokens_of(tokens)[dist.get_rank()])
    share = config.num_experts // dist.get_world_size()
    return torch.bincount(routing.experts_TK.flatten() // share, minlength=dist.get_world_size()).tolist()


def against_one_process(
    tokens: Sequence[int], config: RouterConfig, *, overlap: int = 1, node_size: int | None = None
) -> dict[str, float]:
    """The largest difference of output and gradients from one process that has all tokens.

    Args:
        tokens: Of each rank.
        config: Of the router.
        overlap: Chunks.
        node_size: Ranks of a node, for two hops.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    one = layer_of(config)
    timeout = timedelta(seconds=60) if node_size else None
    parallel = ExpertParallel.shard(copy.deepcopy(one), overlap=overlap, node_size=node_size, timeout=timeout)
    xs = [x_TD.requires_grad_() for x_TD in tokens_of(tokens)]
    mine_TD = xs[rank].detach().clone().requires_grad_()
    out_TD, _ = parallel(mine_TD)
    out_TD.square().sum().backward()
    sum_replicated_gradients(parallel)
    wanted_TD, _ = one(torch.cat(xs))
    wanted_TD.square().sum().backward()
    share = slice(rank * config.num_experts // ranks, (rank + 1) * config.num_experts // ranks)
    pairs = {
        "output": (out_TD, wanted_TD.split(list(tokens))[rank]),
        "tokens": (mine_TD.grad, xs[rank].grad),
        "router": (parallel.router.weight.grad, one.router.weight.grad),
        "experts": (_gradient(parallel.experts), _gradient(one.experts, share)),
        "shared": (_gradient(parallel.shared), _gradient(one.shared)),
    }
    return {name: _largest(*pair) for name, pair in pairs.items()}


def _gradient(module: nn.Module | None, part: slice = slice(None)) -> Tensor | None:
    """All gradients of a module side by side, of a run of experts."""
    parameters = [] if module is None else list(module.parameters())
    return torch.cat([p.grad[part].flatten() for p in parameters if p.grad is not None])


def _largest(ours: Tensor | None, wanted: Tensor | None) -> float:
    if ours is None or wanted is None or ours.shape != wanted.shape:
        return float("inf")
    return float((ours - wanted).detach().abs().max()) if ours.numel() else 0.0


def train_and_die(culprit: int, steps: int) -> tuple[int, float, str]:
    """Train until one rank kills its process after so many steps: the steps done, the seconds waited, the error.

    The others are left waiting for it in the middle of an exchange.
    """
    config = RouterConfig(dist.get_world_size(), 1)
    parallel = ExpertParallel.shard(layer_of(config))
    x_TD = torch.ones(4, WIDTH, dtype=torch.float64)
    done = 0
    while True:
        start = time.perf_counter()
        try:
            out_TD, _ = parallel(x_TD)
            if done == steps and dist.get_rank() == culprit:
                os.kill(os.getpid(), signal.SIGKILL)
            out_TD.sum().backward()
        except LostRankError as error:
            return done, time.perf_counter() - start, type(error).__name__
        done += 1


def one_bad_rank(culprit: int) -> str:
    """What each rank is told when one has a token that is no number."""
    parallel = ExpertParallel.shard(layer_of(RouterConfig(8, 2)))
    x_TD = torch.full((2, WIDTH), torch.nan if dist.get_rank() == culprit else 1.0, dtype=torch.float64)
    return _told(lambda: parallel(x_TD))


def cut(tokens: int) -> str:
    """How many tokens of a batch that all ranks hold are this rank's, or why it cannot be cut."""
    return _told(lambda: len(rank_slice(torch.zeros(tokens, WIDTH))))


def _told(function: Callable[[], object]) -> str:
    try:
        return str(function())
    except (ValueError, PeerError) as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Print the rows that four ranks send, and how far they are from one process."""
    tokens, config = (5, 3, 0, 8), RouterConfig(8, 2)
    with Ranks(len(tokens)) as ranks:
        print("rows from rank to rank")
        for rank, row in enumerate(ranks.call(rows_sent, tokens, config)):
            print(f"  {rank}: {row}")
        for kind in ({}, {"overlap": 2}, {"node_size": 2}):
            found = ranks.call(against_one_process, tokens, config, **kind)
            worst = max(max(each.values()) for each in found)
            print(f"{kind or 'one chunk, one hop'}: equal to one process within 1e-10: {worst < 1e-10}")


if __name__ == "__main__":
    main()
