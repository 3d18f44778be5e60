"""Training by each way of sharing, on ranks of which one is lost in the middle of a step: run on every rank."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from kb.distributed import DataParallel, LMStage, LostRankError, Zero, gpipe, run_step
from kb.distributed.collectives import Collectives
from kb.distributed.demo import TOKENS, adam, batch_of, next_token_loss, tiny_model, units_of
from kb.distributed.tensor_parallel_model import tensor_parallel_lm, tensor_parallel_loss

Step = Callable[[int], Any]


def _data() -> tuple[nn.Module, Step]:
    model = tiny_model(layers=2)
    wrapped = DataParallel(model)
    return model.layers[1], lambda step: next_token_loss(wrapped(batch_of(step)), batch_of(step)).backward()


def _tensor() -> tuple[nn.Module, Step]:
    comm = Collectives()
    part = tensor_parallel_lm(tiny_model(layers=2), comm)
    return part.layers[1], lambda step: tensor_parallel_loss(part, batch_of(step), comm).backward()


def _pipeline() -> tuple[nn.Module, Step]:
    comm = Collectives()
    stage = LMStage(tiny_model(layers=2), comm.rank, comm.ranks)
    plan, boundary = gpipe(comm.ranks, 4), torch.empty(2, TOKENS, 16, dtype=torch.float64)
    return stage.layers[0], lambda step: run_step(
        stage, plan, list(batch_of(step).chunk(4)), boundary, next_token_loss, comm
    )


def _zero() -> tuple[nn.Module, Step]:
    model = tiny_model(layers=2)
    zero = Zero(model, units_of(model), adam, 3, master_dtype=torch.float64)

    def step_of(step: int) -> None:
        next_token_loss(model(batch_of(step)), batch_of(step)).backward()
        zero.step()

    return model.layers[1], step_of


WAYS = {"data": _data, "tensor": _tensor, "pipeline": _pipeline, "zero": _zero}


def ready() -> bool:
    """Answered once a rank has started and imported this module, which is not what is timed."""
    return True


def train_until_lost(way: str, culprit: int, number: signal.Signals, passes: int) -> tuple[str, float]:
    """What this rank is told when the culprit ends or stops after so many passes, and after how many seconds."""
    layer, step_of = WAYS[way]()
    done = 0

    def look(*_: object) -> None:
        nonlocal done
        done += 1
        if dist.get_rank() == culprit and done > passes:
            os.kill(os.getpid(), number)

    layer.register_forward_pre_hook(look)
    for step in range(1000):
        start = time.perf_counter()
        try:
            step_of(step)
        except LostRankError as error:
            return str(error), time.perf_counter() - start
    raise AssertionError("no rank was lost")
