"""Data parallelism: every rank has the whole model and its own part of the batch; gradients are averaged.

Gradients travel in buckets, so that few long messages go, and while the backward pass still runs: the parameters of
the last layers have theirs first, and so buckets are filled from the last parameter on. Buckets leave in one order on
all ranks, whichever is full first. Unusual: a parameter that got no gradient on this rank counts as 0 there, where
torch's DistributedDataParallel must be told to look for it.

The average over ranks is the gradient of the mean loss of the whole batch only where every rank's loss is a mean over
equally many tokens: see :func:`token_mean_loss`.

Source: Li et al. 2020, PyTorch Distributed: Experiences on Accelerating Data Parallel Training, section 3.2.
Letters: R ranks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Variable

from kb.arguments import require_count
from kb.distributed.collectives import Collectives, wait


def average_gradients(parameters: Sequence[nn.Parameter], comm: Collectives) -> None:
    """Reference: after the backward pass, one parameter after the other; one without a gradient counts as 0.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
    """
    for parameter in parameters:
        if parameter.requires_grad:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            comm.all_reduce(gradient)
            parameter.grad = gradient / comm.ranks


def token_mean_loss(loss_sum: Tensor, tokens: int, comm: Collectives) -> Tensor:
    """What each rank must go backwards from, where ranks have unequal numbers of tokens and gradients are averaged.

    Sum of this rank's losses · R / (tokens of all ranks): averaged over ranks, that is the mean over all tokens.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        ValueError: no rank has a token, or ``tokens`` is not a count.
    """
    require_count("tokens", tokens, least=0)
    count = torch.tensor(float(tokens), dtype=torch.float64, device=loss_sum.device)
    comm.all_reduce(count)
    if not count:
        raise ValueError("tokens must be positive on some rank, got 0 on all")
    return loss_sum * (comm.ranks / float(count))


@dataclass
class Bucket:
    """Parameters whose gradients travel together; the gradient's copy, and the work under way."""

    parameters: list[nn.Parameter]
    waiting: set[int] = field(default_factory=set)  # ids of parameters without a gradient yet in this pass
    flat: Tensor | None = None
    work: Any = None


def buckets_of(parameters: Sequence[nn.Parameter], most_bytes: int) -> list[Bucket]:
    """Parameters from the last to the first in runs of one dtype and device, of at most so many bytes or of one alone.

    Raises:
        ValueError: ``most_bytes`` is not a positive integer.
    """
    require_count("most_bytes", most_bytes)
    buckets: list[Bucket] = []
    size = 0
    for parameter in reversed([p for p in parameters if p.requires_grad]):
        last = buckets[-1].parameters[-1] if buckets else None
        fits = last is not None and (last.dtype, last.device) == (parameter.dtype, parameter.device)
        if not fits or size + parameter.nbytes > most_bytes:
            buckets.append(Bucket([]))
            size = 0
        buckets[-1].parameters.append(parameter)
        size += parameter.nbytes
    return buckets


class DataParallel(nn.Module):
    """A model whose gradients are averages over ranks once ``backward`` has returned.

    Args:
        module: The model; rank 0's parameters and buffers are copied to all, once.
        group: The ranks; None for every process there is.
        bucket_bytes: Most of a bucket; torch's default is 25 MiB.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        LostRankError: a rank died, or did not answer within the timeout of its group; also raised by ``backward``.
        ValueError: ``bucket_bytes`` is not a positive integer.
    """

    def __init__(
        self, module: nn.Module, group: dist.ProcessGroup | None = None, *, bucket_bytes: int = 25 * 2**20
    ) -> None:
        super().__init__()
        self.module, self.comm = module, Collectives(group)
        self.buckets = buckets_of(list(module.parameters()), bucket_bytes)
        self.launched, self.synchronizes, self.armed = 0, True, False
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                dist.broadcast(tensor, self.comm.global_rank(0), group=group)
        for bucket in self.buckets:
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(partial(self._ready, bucket))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the model gives."""
        self.armed = False  # a pass that failed midway has left it set: the next one would not be averaged
        return self.module(*inputs, **named)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients that arise within add up on this rank alone; those of the next pass outside carry them along."""
        before, self.synchronizes = self.synchronizes, False
        try:
            yield
        finally:
            self.synchronizes = before

    def _ready(self, bucket: Bucket, parameter: nn.Parameter) -> None:
        if not self.synchronizes:
            return
        if not self.armed:  # the first gradient of this pass
            self.armed, self.launched = True, 0
            for each in self.buckets:
                each.waiting = {id(p) for p in each.parameters}
            finish: Callable[[], None] = self._finish
            Variable._execution_engine.queue_callback(finish)  # when the pass is over
        bucket.waiting.discard(id(parameter))
        while self.launched < len(self.buckets) and not self.buckets[self.launched].waiting:
            self._launch()

    def _launch(self) -> None:
        """Send the next bucket on its way."""
        bucket = self.buckets[self.launched]
        self.launched += 1
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket.parameters]
        bucket.flat = torch.cat([part.reshape(-1) for part in parts]) / self.comm.ranks
        bucket.work = self.comm.all_reduce(bucket.flat, background=True)

    def _finish(self) -> None:
        self.armed = False
        while self.launched < len(self.buckets):
            self._launch()
        for bucket in self.buckets:
            wait(bucket.work)
            assert bucket.flat is not None
            averages = bucket.flat.split([p.numel() for p in bucket.parameters])
            for parameter, average in zip(bucket.parameters, averages, strict=True):
                if parameter.grad is None:
                    parameter.grad = torch.empty_like(parameter)
                parameter.grad.copy_(average.view_as(parameter))
            bucket.flat = bucket.work = None
