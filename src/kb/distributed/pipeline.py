"""Pipeline parallelism: a rank has a run of the layers; micro-batches pass from rank to rank, as a schedule says.

What travels is the tokens' state at the cut, [b, T, D], forwards, and its gradient backwards. A stage keeps, of each
micro-batch on its way, what came and what left: autograd's record hangs on them, and is freed when it has gone
backwards. Gradients of the parameters add up over micro-batches, so the optimizer's step is that of the whole batch.

Unusual: sends run in the background and are waited for at the end, each under a tag of its own, so that no order of
two stages' actions can lock them against each other.

Source: Huang et al. 2019, GPipe, section 2.2; Narayanan et al. 2021, section 2.2.
Shapes: b sequences of a micro-batch, T tokens, D width, V vocabulary; m micro-batches.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kb.distributed.collectives import Collectives, wait
from kb.distributed.schedules import Schedule, Span, check_schedule
from kb.lm.cache import NoCache
from kb.lm.model import DecoderLM
from kb.nn import inverse_frequencies, rotary_tables

MicroLoss = Callable[[Tensor, Tensor], Tensor]  # of what the last stage gives, and of the micro-batch


@dataclass(frozen=True)
class StepReport:
    """What a stage saw of one step.

    Args:
        loss: The mean over micro-batches on the last stage; None elsewhere.
        peak_live: Most micro-batches whose record it held at once.
        spans: When each action ran, in seconds of ``time.perf_counter``, without waiting for messages.
    """

    loss: float | None
    peak_live: int
    spans: list[Span] = field(default_factory=list)


class LMStage(nn.Module):
    """A run of a language model's layers, with the embedding on the first stage and the head on the last.

    Args:
        model: The whole model; its share is copied.
        stage: Number of this stage.
        stages: p.

    Raises:
        ValueError: there are more stages than layers, no such stage, or the embeddings are tied: first and last stage
            would then have to sum their gradients.
    """

    def __init__(self, model: DecoderLM, stage: int, stages: int) -> None:
        super().__init__()
        if not 0 <= stage < stages <= len(model.layers):
            raise ValueError(f"stage {stage} of {stages} cannot be cut from {len(model.layers)} layers")
        if model.config.tie_embeddings:
            raise ValueError("model must not tie its embeddings: they would lie on two stages")
        bounds = [len(model.layers) * s // stages for s in (stage, stage + 1)]
        first, last = stage == 0, stage == stages - 1
        self.embed_tokens = copy.deepcopy(model.embed_tokens) if first else None
        self.layers = nn.ModuleList(copy.deepcopy(block) for block in model.layers[slice(*bounds)])
        self.norm = copy.deepcopy(model.norm) if last else None
        self.lm_head = copy.deepcopy(model.lm_head) if last else None
        self.rope, self.head_dim = model.config.rope, model.config.head_dim

    def forward(self, x: Tensor) -> Tensor:
        """Ids [b, T] on the first stage, else [b, T, D]; to [b, T, D], on the last stage logits [b, T, V]."""
        cache = NoCache()
        x_BTD = x if self.embed_tokens is None else self.embed_tokens(x)
        B, T = x_BTD.shape[:2]
        positions_BT = cache.positions(B, T, x_BTD.device)
        frequencies, factor = inverse_frequencies(self.rope, self.head_dim, length=int(positions_BT.max()) + 1)
        cos_BTP, sin_BTP = rotary_tables(positions_BT, frequencies, factor)
        tables = cos_BTP.to(x_BTD.dtype), sin_BTP.to(x_BTD.dtype)
        for block in self.layers:
            x_BTD = block(x_BTD, tables, cache)
        return x_BTD if self.lm_head is None or self.norm is None else self.lm_head(self.norm(x_BTD))


class _Run:
    """One step of one stage under way: what it holds, what it has sent, what it has seen."""

    def __init__(self, stage: nn.Module, boundary: Tensor, loss: Callable[[Tensor, int], Tensor], comm: Collectives):
        self.stage, self.boundary, self.loss, self.comm = stage, boundary, loss, comm
        self.first, self.last = comm.rank == 0, comm.rank == comm.ranks - 1
        self.live: dict[int, tuple[Tensor, Tensor]] = {}
        self.sends: list[tuple[Any, Tensor]] = []  # a tensor under way must live
        self.losses: list[float] = []
        self.peak = 0

    def forward(self, k: int, tokens: Tensor) -> tuple[float, float]:
        """Micro-batch k from the stage before to the one after; when the work itself began and ended."""
        given = tokens if self.first else self._receive(self.comm.rank - 1, 2 * k).requires_grad_()
        start = time.perf_counter()
        out = self.stage(given)
        if self.last:
            out = self.loss(out, k)
            self.losses.append(float(out.detach()))
        end = time.perf_counter()
        if not self.last:
            self._send(out.detach().contiguous(), self.comm.rank + 1, 2 * k)
        self.live[k] = (given, out)
        self.peak = max(self.peak, len(self.live))
        return start, end

    def backward(self, k: int) -> tuple[float, float]:
        """The gradient of micro-batch k from the stage after to the one before."""
        gradient = None if self.last else self._receive(self.comm.rank + 1, 2 * k + 1)
        start = time.perf_counter()
        given, out = self.live.pop(k)
        torch.autograd.backward(out, gradient)
        end = time.perf_counter()
        if given.grad is not None:
            self._send(given.grad, self.comm.rank - 1, 2 * k + 1)
        return start, end

    def _receive(self, source: int, tag: int) -> Tensor:
        return self.comm.receive(torch.empty_like(self.boundary), source, tag)

    def _send(self, x: Tensor, to: int, tag: int) -> None:
        self.sends.append((self.comm.send(x, to, tag), x))


def run_step(
    stage: nn.Module,
    schedule: Schedule,
    micro_batches: Sequence[Tensor],
    boundary: Tensor,
    loss: MicroLoss,
    comm: Collectives,
) -> StepReport:
    """Forwards and backwards of all micro-batches; gradients of their mean loss are added to the parameters'.

    Args:
        stage: This rank's module; rank r of the group is stage r.
        schedule: Of as many stages as there are ranks.
        micro_batches: What the first stage takes, and the loss looks at; equal on all ranks.
        boundary: A tensor of the shape [b, T, D] and dtype of what travels between stages.
        loss: Mean over a micro-batch, which all have equally many tokens.
        comm: Of the ranks.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        ValueError: schedule, ranks and micro-batches do not fit each other.
    """
    if len(schedule) != comm.ranks or check_schedule(schedule) != len(micro_batches):
        raise ValueError(
            f"schedule is of {len(schedule)} stages and {len(schedule[0]) // 2} micro-batches, "
            f"got {comm.ranks} ranks and {len(micro_batches)} micro-batches"
        )
    m = len(micro_batches)
    run = _Run(stage, boundary, lambda out, k: loss(out, micro_batches[k]) / m, comm)
    spans = []
    for action in schedule[comm.rank]:
        k = action.micro
        times = run.forward(k, micro_batches[k]) if action.kind == "F" else run.backward(k)
        spans.append(Span(comm.rank, action, *times))
    for work, _ in run.sends:
        wait(work)
    return StepReport(sum(run.losses) if run.last else None, run.peak, spans)
