"""What this machine does and holds, measured on every rank: bytes of ZeRO's stages, seconds of pipeline schedules.

Shapes: b sequences of a micro-batch, T tokens, D width.
"""

import gc
import time

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kb.distributed.collectives import Collectives
from kb.distributed.demo import SCHEDULES, adam, batch_of, next_token_loss, tiny_model, units_of
from kb.distributed.pipeline import run_step
from kb.distributed.tensor_parallel import share_of
from kb.distributed.zero import HeldBytes, Zero


def live_tensor_bytes() -> int:
    """Bytes of all tensors of this process that Python can reach, each storage once."""
    gc.collect()
    # By type: isinstance would ask lazy objects of other libraries for their class, and wake them.
    found = [x for x in gc.get_objects() if issubclass(type(x), Tensor)]
    found += [x.grad for x in found if x.is_leaf and x.grad is not None]
    return sum({x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in found}.values())


def zero_held(stage: int) -> tuple[int, HeldBytes, int, int]:
    """A model in bfloat16, stepped in float32: parameters; held by kind; live bytes; most at once of weights.

    Looked at after the second backward pass, before its step: weights, gradients and states are all there.
    """
    before = live_tensor_bytes()
    model = tiny_model(dtype=torch.bfloat16)
    count = sum(parameter.numel() for parameter in model.parameters())
    zero = Zero(model, units_of(model), adam, stage)
    most = 0

    def look(*_: object) -> None:
        nonlocal most
        most = max(most, zero.held_bytes().parameters)

    handles = [block.get_submodule("self_attn").register_forward_hook(look) for block in model.layers]
    for step in range(2):
        tokens = batch_of(step)[share_of("sequences", len(batch_of(step)), zero.comm)]
        loss = next_token_loss(model(tokens).float(), tokens)
        loss.backward()
        if step == 0:
            zero.step()
    for handle in handles:
        handle.remove()
    del loss, tokens
    return count, zero.held_bytes(), live_tensor_bytes() - before, most


class Work(nn.Module):
    """Layers that take some time and nothing else: a stand-in for a stage."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        """[b, T, D] to [b, T, D]."""
        out: Tensor = self.layers(x)
        return out


def time_pipeline(
    micro_batches: list[int], repeats: int, *, schedule: str = "1f1b", tokens: int = 256, width: int = 256
) -> list[tuple[list[float], float, list[list[tuple[str, float, float]]]]]:
    """Steps of equal stages with so many equal micro-batches each.

    Returns:
        For each number: the bubbles of the repeats (share of all ranks' time in which they did not compute), seconds
        of the quickest step, and that step's spans of every rank (action, start, end; seconds from the first start).
    """
    comm = Collectives()
    stage = Work(width, 8)
    boundary = torch.empty(1, tokens, width)
    found = []
    for m in micro_batches:
        plan = SCHEDULES[schedule](comm.ranks, m)
        micros = [torch.ones(1, tokens, width) for _ in range(m)]
        taken = []
        for repeat in range(repeats + 1):
            dist.barrier()
            start = time.perf_counter()
            report = run_step(stage, plan, micros, boundary, lambda out, given: out.square().mean(), comm)
            mine = [(str(span.action), span.start, span.end) for span in report.spans]
            ranks: list[list[tuple[str, float, float]]] = [[] for _ in range(comm.ranks)]
            dist.all_gather_object(ranks, mine)
            if repeat:
                taken.append(_step_of(ranks, start))
        best = min(taken, key=lambda each: each[1])
        found.append(([each[0] for each in taken], best[1], best[2]))
    return found


def _step_of(
    ranks: list[list[tuple[str, float, float]]], start: float
) -> tuple[float, float, list[list[tuple[str, float, float]]]]:
    """Bubble, seconds and spans of one step; clocks of one machine's processes are one clock."""
    first = min(span[1] for spans in ranks for span in spans)
    seconds = max(span[2] for spans in ranks for span in spans) - first
    busy = sum(end - begin for spans in ranks for _, begin, end in spans)
    shifted = [[(name, begin - first, end - first) for name, begin, end in spans] for spans in ranks]
    return 1 - busy / (seconds * len(ranks)), seconds, shifted
