"""Functions that the tests run on every rank; each returns what it found."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from kb.distributed import (
    Collectives,
    ColumnParallelLinear,
    DataParallel,
    LMStage,
    RowParallelLinear,
    VocabParallelEmbedding,
    Zero,
    gpipe,
    ring_all_reduce,
    ring_attention,
    run_step,
    tensor_parallel_lm,
    token_mean_loss,
    vocab_parallel_cross_entropy,
)
from kb.distributed.demo import adam, next_token_loss, tiny_model, units_of
from kb.nn import grouped_query_attention


def told(function: Callable[[], Any]) -> str:
    """The error that a function raises, or what it returns."""
    try:
        return str(function())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def ring(size: int, dtype: torch.dtype) -> tuple[float, int, bool]:
    """Difference from torch's all-reduce, bytes sent, and whether all ranks have the same bits."""
    comm = Collectives()
    x = normal(size, seed=1 + comm.rank, dtype=dtype)
    ours, theirs = ring_all_reduce(x, comm=comm), x.clone()
    dist.all_reduce(theirs)
    all_ours = [torch.empty_like(ours) for _ in range(comm.ranks)]
    dist.all_gather(all_ours, ours)
    same = all(torch.equal(other, ours) for other in all_ours)
    return float((ours - theirs).abs().max()) if size else 0.0, comm.total, same


def linears() -> float:
    """Column- then row-parallel against the whole layers: the largest difference of output and of every gradient."""
    comm = Collectives()
    torch.manual_seed(0)
    up, down = nn.Linear(6, 8).double(), nn.Linear(8, 6).double()
    x = normal(3, 6).requires_grad_()
    wanted = down(torch.tanh(up(x)))
    (wanted_x,) = torch.autograd.grad(wanted.square().sum(), [x], retain_graph=True)
    wanted.square().sum().backward()
    column, row = ColumnParallelLinear(up, comm), RowParallelLinear(down, comm)
    y = normal(3, 6).requires_grad_()
    out = row(torch.tanh(column(y)))
    out.square().sum().backward()
    mine = slice(comm.rank * 8 // comm.ranks, (comm.rank + 1) * 8 // comm.ranks)
    assert up.weight.grad is not None
    assert down.weight.grad is not None
    assert up.bias.grad is not None
    assert column.bias is not None
    assert row.bias is not None
    assert down.bias.grad is not None
    pairs = [
        (out, wanted),
        (y.grad, wanted_x),
        (column.weight.grad, up.weight.grad[mine]),
        (column.bias.grad, up.bias.grad[mine]),
        (row.weight.grad, down.weight.grad[:, mine]),
        (row.bias.grad, down.bias.grad),
    ]
    return max(float((a - b).abs().max()) for a, b in pairs if a is not None)


def vocabulary(scale: float = 1.0) -> float:
    """Embedding and cross-entropy cut by vocabulary against torch's, with logits of any size."""
    comm = Collectives()
    V, N = 12, 7
    tokens = torch.randint(V, (N,), generator=torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    whole = nn.Embedding(V, 4).double()
    part = VocabParallelEmbedding(whole, comm)
    upstream = normal(N, 4, seed=5)
    out, wanted = part(tokens), whole(tokens)
    (out * upstream).sum().backward()
    (wanted * upstream).sum().backward()
    mine = slice(comm.rank * V // comm.ranks, (comm.rank + 1) * V // comm.ranks)
    logits = (normal(N, V, seed=4) * scale).requires_grad_()
    local = logits.detach()[:, mine].clone().requires_grad_()
    ours, theirs = vocab_parallel_cross_entropy(local, tokens, comm), F.cross_entropy(logits, tokens, reduction="none")
    weights = normal(N, seed=6)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert logits.grad is not None
    assert local.grad is not None
    assert whole.weight.grad is not None
    assert part.weight.grad is not None
    pairs = [
        (out, wanted),
        (part.weight.grad, whole.weight.grad[mine]),
        (ours, theirs),
        (local.grad, logits.grad[:, mine]),
    ]
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def attention(causal: bool) -> float:
    comm = Collectives()
    q, k, v = (normal(2, 8, 3, 4, seed=seed) for seed in range(3))
    if causal:
        wanted = grouped_query_attention(q, k, v)
    else:
        wanted = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    mine = slice(comm.rank * 8 // comm.ranks, (comm.rank + 1) * 8 // comm.ranks)
    ours = ring_attention(q[:, mine], k[:, mine], v[:, mine], causal=causal)
    return float((ours - wanted[:, mine]).abs().max())


def unused() -> tuple[list[float | None], list[float | None]]:
    """Gradients of a model of which rank 0 alone uses the second half: ours, and averaged by hand."""
    torch.manual_seed(0)
    parts = nn.ModuleList([nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)]).double()
    x = torch.ones(1, 2, dtype=torch.float64)
    DataParallel(parts)
    out = parts[0](x)
    if dist.get_rank() == 0:
        out = out + parts[1](x)
    out.sum().backward()
    found = [None if p.grad is None else float(p.grad.sum()) for p in parts.parameters()]
    return found, [2.0, 2.0 / dist.get_world_size()]


def uneven(tokens: list[int]) -> tuple[float, float, float]:
    """Gradient of a mean over unequal ranks: by averaging means, by :func:`token_mean_loss`, and of one process."""
    comm = Collectives()
    data = [normal(n, seed=i + 1) for i, n in enumerate(tokens)]
    found = []
    for way in ("mean of means", "tokens"):
        model = nn.Linear(1, 1, bias=False).double()
        nn.init.ones_(model.weight)
        parallel = DataParallel(model)
        losses = parallel(data[comm.rank][:, None]).square()
        loss = losses.mean() if way == "mean of means" else token_mean_loss(losses.sum(), len(losses), comm)
        loss.backward()
        found.append(float(model.weight.grad))  # type: ignore[arg-type]
    return found[0], found[1], float(2 * torch.cat(data).square().mean())


def checkpoint(stage: int) -> tuple[bool, float]:
    """Whether parameters are there only within ``whole``, and how a saved and loaded model differs from the sharded."""
    model = tiny_model(layers=1)
    zero = Zero(model, units_of(model), adam, stage, master_dtype=torch.float64)
    tokens = torch.arange(8)[None]
    wanted = model(tokens)
    empty = model.lm_head.weight.untyped_storage().nbytes() == 0
    with zero.whole():
        saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again = tiny_model(layers=1)
    again.load_state_dict(saved)
    return empty, float((again(tokens) - wanted).detach().abs().max())


def accumulated(stage: int) -> float:
    """ZeRO with gradients of two passes against one pass of both halves: the largest difference of a weight."""
    models = []
    for passes in (1, 2):
        model = tiny_model(layers=1)
        zero = Zero(model, units_of(model), adam, stage, master_dtype=torch.float64)
        tokens = torch.randint(32, (4, 6), generator=torch.Generator().manual_seed(dist.get_rank()))
        for part in tokens.chunk(passes):
            (next_token_loss(model(part), part) / passes).backward()
        zero.step()
        with zero.whole():
            models.append(copy.deepcopy([p.detach() for p in model.parameters()]))
    return max(float((a - b).abs().max()) for a, b in zip(*models, strict=True))


class _PartlyUsed(nn.Module):
    """A unit of which one parameter never gets a gradient, and one is ready before another is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.bias_alone = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.used(x)) + self.bias_alone.bias


def partly_used(stage: int) -> tuple[float, int]:
    """ZeRO over two passes a step with units that are used in part: difference from one process; bytes left over."""
    torch.manual_seed(0)
    model = nn.Sequential(_PartlyUsed(), _PartlyUsed()).double()
    whole = copy.deepcopy(model)
    zero = Zero(model, list(model), _sgd, stage, master_dtype=torch.float64)
    optimizer, left = _sgd(list(whole.parameters())), 0
    for step in range(2):
        x = normal(4, 3, seed=step)
        (whole(x).square().sum() / 2).backward()
        for part in x.chunk(2):
            mine = part[dist.get_rank() :: dist.get_world_size()]
            (model(mine).square().sum() * dist.get_world_size() / 2).backward()
            left = max(left, zero.held_bytes().gradients - sum(unit.master.nbytes for unit in zero.units))
        zero.step()
        optimizer.step()
        optimizer.zero_grad()
    with zero.whole():
        pairs = zip(model.parameters(), whole.parameters(), strict=True)
        return max(float((a - b).detach().abs().max()) for a, b in pairs), left


def _sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


class _FailsBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise RuntimeError("out of memory, say")


def after_a_failed_pass() -> tuple[str, float]:
    """What a backward pass that fails midway on every rank says, and the gradient of the next pass."""
    model = nn.Linear(2, 1, bias=False).double()
    parallel = DataParallel(model)
    x = torch.ones(1, 2, dtype=torch.float64).requires_grad_()
    said = told(lambda: parallel(_FailsBackwards.apply(x)).sum().backward())
    model.zero_grad()
    parallel(torch.full((1, 2), float(dist.get_rank()), dtype=torch.float64)).sum().backward()
    return said, float(model.weight.grad.sum())  # type: ignore[union-attr]


def refused() -> dict[str, str]:
    """What is said to bad arguments, on every rank alike and before any exchange."""
    comm = Collectives()
    model, tied = tiny_model(layers=1), tiny_model(layers=1)
    tied.lm_head.weight = tied.embed_tokens.weight
    frozen = nn.Linear(2, 2)
    frozen.weight.requires_grad_(False)
    logits, targets = torch.zeros(3, 4), torch.tensor([0, 1, 9])
    micros = [torch.zeros(1, 2)]
    return {
        "columns": told(lambda: ColumnParallelLinear(nn.Linear(2, 3), comm)),
        "rows": told(lambda: RowParallelLinear(nn.Linear(3, 2), comm)),
        "vocabulary": told(lambda: VocabParallelEmbedding(nn.Embedding(3, 2), comm)),
        "ids": told(lambda: VocabParallelEmbedding(nn.Embedding(4, 2), comm)(torch.tensor([4]))),
        "targets": told(lambda: vocab_parallel_cross_entropy(logits, targets, comm)),
        "kind of targets": told(lambda: vocab_parallel_cross_entropy(logits, targets.int(), comm)),
        "padding": told(lambda: VocabParallelEmbedding(nn.Embedding(4, 2, padding_idx=0), comm)),
        "count": told(lambda: token_mean_loss(torch.ones(()), -3, comm)),
        "shapes": told(lambda: vocab_parallel_cross_entropy(logits, targets[:2], comm)),
        "stage": told(lambda: Zero(model, units_of(model), adam, 4)),
        "shared": told(lambda: Zero(tied, units_of(tied), adam, 1)),
        "missing": told(lambda: Zero(model, units_of(model)[:-1], adam, 1)),
        "frozen": told(lambda: Zero(frozen, [frozen], adam, 1)),
        "norm": told(lambda: Zero(model, units_of(model), adam, 0).step(-1.0)),
        "bucket": told(lambda: DataParallel(model, bucket_bytes=0)),
        "layers": told(lambda: LMStage(model, 0, 2)),
        "schedule": told(lambda: run_step(model, gpipe(comm.ranks, 2), micros, micros[0], next_token_loss, comm)),
        "attention": told(lambda: ring_attention(logits, logits, logits)),
        "scatter": told(lambda: comm.reduce_scatter(torch.zeros(3))),
        "heads": told(lambda: tensor_parallel_lm(_odd_heads(), comm)),
        "tied": told(lambda: tensor_parallel_lm(_tied(), comm)),
    }


def _odd_heads() -> Any:
    from kb.lm import DecoderLM, ModelConfig

    return DecoderLM(ModelConfig(8, 6, 8, 1, 3, 3, 2, 16))


def _tied() -> Any:
    from kb.lm import DecoderLM, ModelConfig

    return DecoderLM(ModelConfig(8, 8, 8, 1, 4, 4, 2, 16, tie_embeddings=True))
