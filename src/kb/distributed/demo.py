"""One language model trained by every scheme of this package, beside the same model trained by one process.

The functions are what :class:`~kb.distributed.Ranks` runs on every rank: a process finds only what a module holds.
Each gives the losses of the steps, and how far losses and weights lie from one process that had the whole batch.

Shapes: B sequences, T tokens, V vocabulary; R ranks.
"""

import copy
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kb.distributed.collectives import Collectives
from kb.distributed.context_parallel import ring_attention
from kb.distributed.data_parallel import DataParallel, average_gradients
from kb.distributed.lost import LostRankError
from kb.distributed.pipeline import LMStage, run_step
from kb.distributed.ring import ring_all_reduce
from kb.distributed.schedules import gpipe, one_forward_one_backward
from kb.distributed.tensor_parallel import share_of
from kb.distributed.tensor_parallel_model import tensor_parallel_lm, tensor_parallel_loss
from kb.distributed.zero import Zero
from kb.lm import DecoderLM, ModelConfig
from kb.nn import grouped_query_attention

VOCABULARY, SEQUENCES, TOKENS, RATE = 32, 8, 13, 0.01
SCHEDULES = {"gpipe": gpipe, "1f1b": one_forward_one_backward}


@dataclass(frozen=True)
class Trained:
    """What one rank tells of a run.

    Args:
        losses: Of the steps.
        loss_difference: The largest from one process.
        weight_difference: The largest of any weight that this rank holds, after the last step.
        sent: Bytes that this rank sent, by kind of call; empty where they were not counted.
    """

    losses: list[float]
    loss_difference: float
    weight_difference: float
    sent: dict[str, int]


def tiny_model(layers: int = 4, dtype: torch.dtype = torch.float64) -> DecoderLM:
    """The same language model on every rank, whose norms take their statistics in its own dtype."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_layers=layers,
        num_heads=4,
        num_kv_heads=4,
        head_dim=4,
        max_positions=64,
    )
    model = DecoderLM(config)
    for block in model.layers:
        block.input_layernorm, block.post_attention_layernorm = nn.RMSNorm(16, 1e-5), nn.RMSNorm(16, 1e-5)
    model.norm = nn.RMSNorm(16, 1e-5)  # type: ignore[assignment]
    return model.to(dtype)


def batch_of(step: int, sequences: int = SEQUENCES) -> Tensor:
    """The whole batch of a step, [B, T], known to every rank."""
    return torch.randint(VOCABULARY, (sequences, TOKENS), generator=torch.Generator().manual_seed(step))


def next_token_loss(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """The mean cross-entropy of each next token; the last token has none."""
    return F.cross_entropy(logits_BTV[:, : tokens_BT.shape[1] - 1].flatten(0, 1), tokens_BT[:, 1:].flatten())


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of every run."""
    return torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)


def one_process(steps: int, max_norm: float | None = None) -> tuple[DecoderLM, list[float]]:
    """The run that all others are compared with: the whole batch, plain AdamW."""
    model = tiny_model()
    optimizer, losses = adam(model.parameters()), []
    for step in range(steps):
        optimizer.zero_grad()
        loss = next_token_loss(model(batch_of(step)), batch_of(step))
        loss.backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
    return model, losses


def train_data_parallel(steps: int, kind: str = "ours", bucket_bytes: int = 8192, accumulate: int = 1) -> Trained:
    """Each rank has B / R sequences, in ``accumulate`` passes a step; ``kind``: "ours", "loop" or "torch"."""
    comm = Collectives()
    model = tiny_model()
    wrapped: nn.Module = model
    if kind == "ours":
        wrapped = DataParallel(model, bucket_bytes=bucket_bytes)
        comm = wrapped.comm
    elif kind == "torch":
        wrapped = DistributedDataParallel(model)
    optimizer, losses = adam(model.parameters()), []
    for step in range(steps):
        optimizer.zero_grad()
        parts = batch_of(step)[share_of("sequences", SEQUENCES, comm)].chunk(accumulate)
        total = torch.zeros((), dtype=torch.float64)
        for part in parts[:-1]:
            with wrapped.no_sync():  # type: ignore[operator]
                total += _backward(wrapped, part, accumulate)
        total += _backward(wrapped, parts[-1], accumulate)
        if kind == "loop":
            average_gradients(list(model.parameters()), comm)
        optimizer.step()
        losses.append(_mean(total))
    return _told(steps, losses, model, lambda whole: whole, comm)


def _backward(model: nn.Module, tokens_BT: Tensor, passes: int) -> Tensor:
    loss = next_token_loss(model(tokens_BT), tokens_BT) / passes
    loss.backward()
    return loss.detach()


def _mean(loss: Tensor) -> float:
    """Over ranks, for the report alone: not counted as traffic."""
    total = loss.detach().clone()
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()


def train_tensor_parallel(steps: int) -> Trained:
    """All ranks see the whole batch, and each has its share of every matrix."""
    comm = Collectives()
    part = tensor_parallel_lm(tiny_model(), comm)
    optimizer, losses = adam(part.parameters()), []
    for step in range(steps):
        optimizer.zero_grad()
        loss = tensor_parallel_loss(part, batch_of(step), comm)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return _told(steps, losses, part, lambda whole: tensor_parallel_lm(whole, comm), comm)


def train_pipeline(steps: int, schedule: str, micro_batches: int) -> Trained:
    """Each rank has a run of the layers; a schedule of :data:`SCHEDULES`."""
    comm = Collectives()
    stage = LMStage(tiny_model(), comm.rank, comm.ranks)
    plan = SCHEDULES[schedule](comm.ranks, micro_batches)
    optimizer, losses = adam(stage.parameters()), []
    for step in range(steps):
        optimizer.zero_grad()
        micros = list(batch_of(step).chunk(micro_batches))
        boundary = torch.empty(len(micros[0]), TOKENS, 16, dtype=torch.float64)
        report = run_step(stage, plan, micros, boundary, next_token_loss, comm)
        optimizer.step()
        loss = torch.tensor(report.loss or 0.0, dtype=torch.float64)
        losses.append(_mean(loss * comm.ranks))  # the last stage alone knows it
    return _told(steps, losses, stage, lambda whole: LMStage(whole, comm.rank, comm.ranks), comm)


def units_of(model: DecoderLM) -> list[nn.Module]:
    """What ZeRO gathers at once: embedding, each layer, last norm, head."""
    return [model.embed_tokens, *model.layers, model.norm, model.lm_head]


def train_zero(steps: int, stage: int, max_norm: float | None = None) -> Trained:
    """Each rank has B / R sequences, and what the stage leaves it of the states."""
    model = tiny_model()
    zero = Zero(model, units_of(model), adam, stage, master_dtype=torch.float64)
    losses = []
    for step in range(steps):
        part = batch_of(step)[share_of("sequences", SEQUENCES, zero.comm)]
        losses.append(_mean(_backward(model, part, 1)))
        zero.step(max_norm)
    sent = copy.deepcopy(zero.comm)
    with zero.whole():
        return _told(steps, losses, model, lambda whole: whole, sent, max_norm)


def train_fsdp2(steps: int) -> Trained:
    """The same by torch's own ``fully_shard``, which is ZeRO 3 with a shard of each parameter."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    model, comm = tiny_model(), Collectives()
    mesh = init_device_mesh("cpu", (comm.ranks,))
    for block in model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer, losses = adam(model.parameters()), []
    for step in range(steps):
        optimizer.zero_grad()
        losses.append(_mean(_backward(model, batch_of(step)[share_of("sequences", SEQUENCES, comm)], 1)))
        optimizer.step()
    whole = tiny_model()
    with torch.no_grad():
        for mine, theirs in zip(whole.parameters(), model.parameters(), strict=True):
            mine.copy_(theirs.full_tensor() if isinstance(theirs, DTensor) else theirs)
    return _told(steps, losses, whole, lambda reference: reference, comm)


def ring_beside_torch(size: int) -> tuple[float, int]:
    """How far the sum by a ring lies from torch's all-reduce of the same numbers, and the bytes this rank sent."""
    comm = Collectives()
    x = torch.randn(size, generator=torch.Generator().manual_seed(comm.rank), dtype=torch.float64)
    ours = ring_all_reduce(x, comm=comm)
    dist.all_reduce(x)
    return float((ours - x).abs().max()), comm.total


def ring_attention_beside_whole(tokens: int) -> float:
    """How far causal attention by a ring lies from that of one process which has all tokens."""
    comm = Collectives()
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, tokens, 4, 8, generator=generator, dtype=torch.float64)
    mine = share_of("tokens", tokens, comm)
    ours = ring_attention(q[:, mine], k[:, mine], v[:, mine])
    return float((ours - grouped_query_attention(q, k, v)[:, mine]).abs().max())


def _told(
    steps: int,
    losses: list[float],
    mine: nn.Module,
    cut: Callable[[DecoderLM], nn.Module],
    comm: Collectives,
    max_norm: float | None = None,
) -> Trained:
    """Compare with one process, whose trained model is cut as this rank's was."""
    sent = dict(comm.sent)
    model, wanted = one_process(steps, max_norm)
    pairs = zip(mine.parameters(), cut(model).parameters(), strict=True)
    with torch.no_grad():
        weights = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
    difference = max(abs(a - b) for a, b in zip(losses, wanted, strict=True))
    return Trained(losses, difference, weights, sent)


def die(culprit: int, kind: str) -> str:
    """One rank ends its process in the middle of a forward pass of ``kind``; what the others are told."""
    runs: dict[str, Callable[[], object]] = {
        "data": partial(train_data_parallel, 50),
        "tensor": partial(train_tensor_parallel, 50),
        "pipeline": partial(train_pipeline, 50, "1f1b", 4),
        "zero": partial(train_zero, 50, 3),
    }
    if dist.get_rank() == culprit:
        _exit_after(60)
    try:
        runs[kind]()
    except LostRankError as error:
        return f"LostRankError: {error}"
    return "nothing"


def _exit_after(calls: int) -> None:
    """End this process when so many modules have been called: a forward pass of the model calls about fifty."""
    left = [calls]

    def leave(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    nn.modules.module.register_module_forward_pre_hook(leave)
