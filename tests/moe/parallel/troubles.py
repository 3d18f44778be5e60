"""What goes wrong on some rank, as functions that run on every one and return what each was told."""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kb.moe import ModuleExperts, MoELayer, Router, RouterConfig
from kb.moe.parallel import ExpertParallel, LostRankError, rank_slice, shard_experts
from tests.moe.parallel.cases import WIDTH, layer_of, with_timeout

GOOD = (3, WIDTH)
INPUTS: dict[str, Callable[[], Tensor]] = {
    "width": lambda: torch.zeros(3, WIDTH + 1),
    "number": lambda: torch.tensor(1.0),
    "nan": lambda: torch.full(GOOD, torch.nan),
    "integers": lambda: torch.ones(GOOD, dtype=torch.int64),
    "dtype": lambda: torch.zeros(GOOD, dtype=torch.bfloat16),
    "recording": lambda: torch.zeros(GOOD),
    "not a tensor": lambda: [1.0],  # type: ignore[return-value, dict-item]
}


def told(function: Callable[[], Any]) -> str:
    """The error that a function raises, or what it returns."""
    try:
        return str(function())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def bad_input(kind: str, culprit: int, **options: Any) -> list[str]:
    """One rank's input is bad; then all are good: a call that failed leaves nothing behind."""
    parallel = ExpertParallel.shard(layer_of(4, top_k=2, dtype=torch.float32), **with_timeout(options))
    x = INPUTS[kind]() if dist.get_rank() == culprit else torch.zeros(GOOD)
    with torch.set_grad_enabled(kind != "recording" or dist.get_rank() != culprit):
        first = told(lambda: parallel(x))
    return [first, told(lambda: tuple(parallel(torch.zeros(GOOD))[0].shape))]


def bad_layers(change: str, culprit: int | None) -> str:
    """One rank, or every one for None, makes its layer otherwise."""
    changed = culprit is None or dist.get_rank() == culprit
    experts = {"num_experts": 8, "indivisible": 6}.get(change, 4) if changed else 4
    layer = layer_of(experts, top_k=1 if changed and change == "top_k" else 2)
    bank = shard_experts(layer.experts) if experts != 6 else layer.experts
    options: dict[str, Any] = {}
    if changed:
        options = {
            "overlap": {"overlap": 3},
            "no overlap": {"overlap": 0},
            "nodes": with_timeout({"node_size": 2}),
            "odd nodes": with_timeout({"node_size": 3}),
            "no timeout": {"node_size": 2},
            "loop": {"implementation": "loop"},
            "gate": {"shared_gate": nn.Linear(WIDTH, 1)},
        }.get(change, {})
    return told(lambda: type(ExpertParallel(layer.router, bank, **options)).__name__)


def indivisible() -> list[str]:
    x_TD = torch.arange(10.0)[:, None]
    layer = layer_of(6, top_k=2)
    return [
        told(lambda: rank_slice(x_TD)),
        told(lambda: rank_slice(torch.tensor(1.0))),
        told(lambda: shard_experts(layer.experts)),
        told(lambda: rank_slice(x_TD[:8])[:, 0].tolist()),
    ]


class Doomed(nn.Module):
    """An expert that ends or stops its process when the counter runs out: the others wait for its rows."""

    def __init__(self, culprit: int, calls: int, number: signal.Signals) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.culprit, self.calls, self.number = culprit, calls, number

    def forward(self, x_ND: Tensor) -> Tensor:
        self.calls -= 1
        if dist.get_rank() == self.culprit and self.calls < 0:
            os.kill(os.getpid(), self.number)
        return x_ND * self.weight


def lose_a_rank(culprit: int, number: signal.Signals, seconds: float, **options: Any) -> tuple[str, float, int]:
    """Train until a rank is lost: what this one is told, after how many seconds of waiting, in which step."""
    torch.manual_seed(0)
    modules = [Doomed(culprit, 2, number) for _ in range(dist.get_world_size())]
    layer = MoELayer(Router(WIDTH, RouterConfig(len(modules), len(modules))), ModuleExperts(modules))
    parallel = ExpertParallel.shard(layer, timeout=timedelta(seconds=seconds), **options)
    step = 0
    while True:
        start = time.perf_counter()
        try:
            out_TD, _ = parallel(torch.ones(3, WIDTH))
            out_TD.sum().backward()
        except LostRankError as error:
            return str(error), time.perf_counter() - start, step
        step += 1
