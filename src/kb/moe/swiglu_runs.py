"""SwiGLU experts run by run, forwards and backwards by hand: a run's numbers are used while they are in the cache.

Layer by layer, as :mod:`kb.moe.grouped` goes, silu(gate), its product with up and the gradient of each are tensors of
all rows, which leave the cache, and whose memory the system hands out and clears anew in each step. Here they are as
long as one expert's run, and only gate and up are kept for the backward.

Shapes: R rows sorted by expert, E experts, D width, F inner width, N rows of one expert.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.moe.first_order import first_order
from kb.moe.grouped import require_fit


def swiglu_runs(x_RD: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, ends_E: Tensor) -> Tensor:
    """(silu(x gate.T) * x up.T) down.T of each row with its expert's matrices; gradients to all but the ends.

    Args:
        x_RD: Rows, those of expert 0 first.
        gate_up_E2FD: Of each expert the gate above the up projection.
        down_EDF: Of each expert the down projection.
        ends_E: int32, the first row after each expert's; rows after the last run belong to nobody.

    Returns:
        [R, D]; zeros after the last run.

    Raises:
        ValueError: shapes or dtypes do not fit each other.
    """
    require_fit(x_RD, gate_up_E2FD, ends_E, parts=2)
    require_fit(x_RD.new_empty(0, gate_up_E2FD.shape[1] // 2), down_EDF, ends_E)
    out_RD: Tensor = _SwiGLURuns.apply(x_RD, gate_up_E2FD, down_EDF, ends_E)
    return out_RD


class _SwiGLURuns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, ends_E: Tensor) -> Tensor:
        ctx.ends = ends_E.tolist()
        kept: list[Tensor] = []  # gate and up of each run: one tensor of all would be fresh pages in each step
        out_RD = x_RD.new_empty(len(x_RD), down_EDF.shape[1])
        for rows, (gate_FD, up_FD), down_DF in _each(ctx.ends, gate_up_E2FD, down_EDF):
            gate_NF, up_NF = x_RD[rows] @ gate_FD.t(), x_RD[rows] @ up_FD.t()
            torch.mm(F.silu(gate_NF).mul_(up_NF), down_DF.t(), out=out_RD[rows])
            kept += [gate_NF, up_NF]
        out_RD[ctx.ends[-1] :] = 0
        ctx.save_for_backward(x_RD, gate_up_E2FD, down_EDF, *kept)
        return out_RD

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_RD: Tensor) -> tuple[Tensor | None, ...]:
        x_RD, gate_up_E2FD, down_EDF, *kept = ctx.saved_tensors
        wants_x, wants_gate_up, wants_down, _ = ctx.needs_input_grad
        dx_RD = torch.empty_like(x_RD) if wants_x else None
        dgate_up_E2FD = torch.empty_like(gate_up_E2FD) if wants_gate_up else None
        ddown_EDF = torch.empty_like(down_EDF) if wants_down else None
        for e, (rows, weights, down_DF) in enumerate(_each(ctx.ends, gate_up_E2FD, down_EDF)):
            x_ND, grad_ND, gate_NF, up_NF = x_RD[rows], grad_RD[rows], kept[2 * e], kept[2 * e + 1]
            silu_NF, dinner_NF = F.silu(gate_NF), grad_ND @ down_DF
            if ddown_EDF is not None:
                torch.mm(grad_ND.t(), silu_NF * up_NF, out=ddown_EDF[e])  # of no rows: zeros
            dup_NF = silu_NF.mul_(dinner_NF)
            dgate_NF = torch.ops.aten.silu_backward(dinner_NF.mul_(up_NF), gate_NF)
            for i, (d_NF, weight_FD) in enumerate(zip((dgate_NF, dup_NF), weights, strict=True)):
                if dgate_up_E2FD is not None:
                    torch.mm(d_NF.t(), x_ND, out=dgate_up_E2FD[e].chunk(2)[i])
                if dx_RD is not None and i == 0:
                    torch.mm(d_NF, weight_FD, out=dx_RD[rows])
                elif dx_RD is not None:
                    dx_RD[rows] += d_NF @ weight_FD
        if dx_RD is not None:
            dx_RD[ctx.ends[-1] :] = 0
        return dx_RD, dgate_up_E2FD, ddown_EDF, None


def _each(
    ends: list[int], gate_up_E2FD: Tensor, down_EDF: Tensor
) -> Iterator[tuple[slice, tuple[Tensor, ...], Tensor]]:
    """Of each expert its rows, the matrices of gate and up, and that of down."""
    for start, end, gate_up_2FD, down_DF in zip([0, *ends[:-1]], ends, gate_up_E2FD, down_EDF, strict=True):
        yield slice(start, end), gate_up_2FD.chunk(2), down_DF
