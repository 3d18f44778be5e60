"""Expert parallelism through NCCL, which takes one rank a GPU: on one GPU, a rank that sends to itself."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kb.moe import MoELayer, RouterConfig
from kb.moe.parallel import ExpertParallel, sum_replicated_gradients

pytestmark = pytest.mark.gpu

ROUTINGS = {
    "top 2": RouterConfig(8, 2),
    "dropping": RouterConfig(8, 2, capacity_factor=0.7),
    "experts choose": RouterConfig(8, 2, choice="expert"),
}
WAYS = {"straight": {}, "in chunks": {"overlap": 3}, "by node": {"node_size": 1, "timeout": timedelta(seconds=60)}}


@pytest.fixture
def one_rank(device: torch.device, tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ROUTINGS)
def test_one_rank_gives_the_plain_layers_values_and_gradients(device: torch.device, name: str, way: str) -> None:
    torch.manual_seed(0)
    plain = MoELayer.swiglu(64, 96, ROUTINGS[name], shared_inner=32).to(device)
    parallel = ExpertParallel.shard(deepcopy(plain), **WAYS[way])  # type: ignore[arg-type]
    x_TD = torch.randn(211, 64, device=device)
    answers = []
    for layer in (plain, parallel):
        x = x_TD.clone().requires_grad_()
        out, _ = layer(x)
        out.sin().sum().backward()
        answers.append([out.detach(), x.grad])
    sum_replicated_gradients(parallel)
    theirs = dict(parallel.named_parameters())
    pairs = [*zip(*answers, strict=True), *((p.grad, theirs[n].grad) for n, p in plain.named_parameters())]
    for wanted, ours in pairs:
        assert wanted is not None
        assert ours is not None
        assert float((ours - wanted).abs().max()) <= 2e-5 * float(wanted.abs().max())
