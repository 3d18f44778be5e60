"""What the tests run on every rank: functions of plain values, which return plain values."""

import copy
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kb.moe import ModuleExperts, MoELayer, Router, RouterConfig
from kb.moe.parallel import ExpertParallel, sum_replicated_gradients

WIDTH, INNER = 5, 7


def layer_of(
    experts: int, *, dtype: torch.dtype = torch.float64, bank: str = "swiglu", shared: bool = False, **config: Any
) -> MoELayer:
    """The same layer on every rank."""
    torch.manual_seed(3)
    routing = RouterConfig(experts, **config)
    if bank == "swiglu":
        layer = MoELayer.swiglu(WIDTH, INNER, routing, shared_inner=4 if shared else None, gate_shared=shared)
    else:
        # Another width out than in, and a module that is not linear in its rows.
        modules = [nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, 3)) for _ in range(experts)]
        layer = MoELayer(Router(WIDTH, routing), ModuleExperts(modules), shared=nn.Linear(WIDTH, 3) if shared else None)
    return layer.to(dtype)


def tokens_of(tokens: Sequence[int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """What each rank holds, known to all."""
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(t, WIDTH, dtype=torch.float64, generator=generator) for t in tokens]
    return [x_TD.to(dtype).requires_grad_() for x_TD in drawn]


def with_timeout(options: dict[str, Any]) -> dict[str, Any]:
    """Nodes want one."""
    return {"timeout": timedelta(seconds=60), **options} if "node_size" in options else options


def differences(
    tokens: Sequence[int],
    experts: int,
    *,
    options: dict[str, Any] | None = None,
    favourite: int | None = None,
    whole: bool = True,
    **layer: Any,
) -> dict[str, float]:
    """How far output, routing and every gradient lie from one process, of their largest magnitude.

    ``whole``: that process has all tokens in one batch; else a batch a rank, as capacity is counted.
    """
    dtype = layer.get("dtype", torch.float64)
    oracle = layer_of(experts, **layer)
    if favourite is not None:
        with torch.no_grad():
            oracle.router.weight.zero_()
            oracle.router.weight[favourite] = 50
    xs = tokens_of(tokens, dtype)
    if favourite is not None:
        xs = [x_TD.detach().abs().requires_grad_() for x_TD in xs]
    parallel = ExpertParallel.shard(copy.deepcopy(oracle), **with_timeout(options or {}))
    oracle.implementation = "loop"
    rank = dist.get_rank()
    out, routing = parallel(x := xs[rank].detach().clone().requires_grad_())
    _loss(out).backward()
    sum_replicated_gradients(parallel)
    if whole:
        all_out, all_routing = oracle(torch.cat(xs))
        wanted, weights = all_out.split(list(tokens)), all_routing.weights_TK.split(list(tokens))
    else:
        pairs = [oracle(each) for each in xs]
        wanted, weights = [out for out, _ in pairs], [routing.weights_TK for _, routing in pairs]
    sum(_loss(each) for each in wanted).backward()
    found = {
        "output": (out, wanted[rank]),
        "weights": (routing.weights_TK, weights[rank]),
        "x": (x.grad, xs[rank].grad),
    }
    share = experts // dist.get_world_size()
    for name, parameter in parallel.named_parameters():
        found[name] = parameter.grad, _gradient(oracle, name, slice(rank * share, (rank + 1) * share))
    return {name: _difference(*pair) for name, pair in found.items()}


def _loss(out: Tensor) -> Tensor:
    return out.sin().sum()


def _gradient(oracle: MoELayer, name: str, mine: slice) -> Tensor | None:
    if isinstance(oracle.experts, ModuleExperts) and name.startswith("experts."):
        start, local, rest = name.split(".", 2)[0] + ".experts", *name.split(".", 3)[2:]
        name, mine = f"{start}.{int(local) + mine.start}.{rest}", slice(None)
    elif not name.startswith("experts."):
        mine = slice(None)
    gradient = oracle.get_parameter(name).grad
    return None if gradient is None else gradient[mine]


def _difference(ours: Tensor | None, wanted: Tensor | None) -> float:
    """Of the largest magnitude; a gradient that is missing is one of zeros."""
    if ours is None and wanted is None:
        return 0.0
    ours = torch.zeros_like(wanted) if ours is None else ours
    wanted = torch.zeros_like(ours) if wanted is None else wanted
    if ours.shape != wanted.shape or ours.dtype != wanted.dtype:
        return float("inf")
    if not ours.numel():
        return 0.0
    largest = max(float(wanted.abs().max()), 1e-30)
    return float((ours - wanted).detach().abs().max()) / max(largest, 1.0)
