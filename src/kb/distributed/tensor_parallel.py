"""Tensor parallelism: each matrix of a block is cut over the ranks, which all see the same tokens.

Two linear layers after each other need one exchange: the first is cut by its outputs (column-parallel), the second by
its inputs (row-parallel), and what lies between, an activation or whole attention heads, is each rank's own. Two
functions with one exchange each make it differentiable:

    f: x forwards,                the sum over ranks of gradients backwards (before a column-parallel layer),
    g: the sum over ranks forwards, the gradient as it is backwards         (after a row-parallel layer).

So a Transformer layer has two all-reduces of its tokens [B, T, D] forwards (one each for attention and the feed-forward
network) and two backwards. Norms are on every rank; their gradients are equal there, as all see the same tokens.

Source: Shoeybi et al. 2019, Megatron-LM, section 3 and figure 3. Columns and rows are those of A in Y = XA, so that a
column-parallel layer cuts the *rows* of torch's weight [out, in].
Shapes: B sequences, T tokens, D width; R ranks; ``...`` any leading axes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.distributed.collectives import Collectives


class _CopyToRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, comm: Collectives) -> Tensor:
        ctx.comm = comm
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        ctx.comm.all_reduce(total)
        return total, None


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, comm: Collectives) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        comm.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def copy_to_ranks(x: Tensor, comm: Collectives) -> Tensor:
    """Megatron's f: x, equal on all ranks; its gradient is summed over them.

    Raises:
        LostRankError: backwards, a rank died, or did not answer within the timeout of its group.
    """
    out: Tensor = _CopyToRanks.apply(x, comm)
    return out


def sum_over_ranks(x: Tensor, comm: Collectives) -> Tensor:
    """Megatron's g: the sum of every rank's x; its gradient goes to each as it is.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
    """
    out: Tensor = _SumOverRanks.apply(x, comm)
    return out


def share_of(what: str, number: int, comm: Collectives) -> slice:
    """This rank's run of so many rows.

    Raises:
        ValueError: the ranks do not divide them.
    """
    size, left_over = divmod(number, comm.ranks)
    if left_over:
        raise ValueError(f"{number} {what} cannot be divided evenly among {comm.ranks} ranks: {left_over} left over")
    return slice(comm.rank * size, (comm.rank + 1) * size)


class ColumnParallelLinear(nn.Module):
    """This rank's outputs of a linear layer: from x [..., in], equal on all ranks, to [..., out / R].

    Args:
        whole: The layer, equal on all ranks; its share is copied.
        comm: Of the ranks.
        copies: Whether its input goes through f. Where several layers read one input, as queries, keys and values do,
            that has gone through f once before them: else each would sum a gradient of its own over the ranks.

    Raises:
        ValueError: the ranks do not divide its outputs.
    """

    def __init__(self, whole: nn.Linear, comm: Collectives, *, copies: bool = True) -> None:
        super().__init__()
        mine = share_of("outputs", whole.out_features, comm)
        self.comm, self.copies = comm, copies
        self.weight = nn.Parameter(whole.weight.detach()[mine].clone())
        self.bias = None if whole.bias is None else nn.Parameter(whole.bias.detach()[mine].clone())

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out / R]."""
        return F.linear(copy_to_ranks(x, self.comm) if self.copies else x, self.weight, self.bias)


class RowParallelLinear(nn.Module):
    """A linear layer of which this rank has some inputs: from x [..., in / R] to [..., out], equal on all ranks.

    The bias is on every rank, and is added once, after the sum.

    Args:
        whole: The layer, equal on all ranks; its share is copied.
        comm: Of the ranks.

    Raises:
        ValueError: the ranks do not divide its inputs.
    """

    def __init__(self, whole: nn.Linear, comm: Collectives) -> None:
        super().__init__()
        mine = share_of("inputs", whole.in_features, comm)
        self.comm = comm
        self.weight = nn.Parameter(whole.weight.detach()[:, mine].clone())
        self.bias = None if whole.bias is None else nn.Parameter(whole.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """[..., in / R] to [..., out]."""
        out = sum_over_ranks(F.linear(x, self.weight), self.comm)
        return out if self.bias is None else out + self.bias
