"""One product for each expert's run of rows: out[rows of e] = x[rows of e] @ weight[e].T, three ways.

``torch.nn.functional.grouped_mm`` is one launch for all experts, and reads their ends on the GPU; it wants bfloat16
there, and rows that begin at multiples of 16 bytes. Elsewhere a matrix product is made for each run, with a
hand-written backward that writes each expert's gradient where it belongs: autograd over slices would make one of all
experts for each. The Triton kernels are in :mod:`kb.moe.grouped_triton`.

Shapes: P rows sorted by expert, E experts, I inputs, O outputs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import require_count
from kb.moe.first_order import first_order

WAYS = ("grouped", "triton")


def grouped_linear(
    x_PI: Tensor, weight_EOI: Tensor, ends_E: Tensor, *, way: str = "grouped", parts: int = 1
) -> tuple[Tensor, ...]:
    """Each run of rows times its expert's weight, transposed.

    Args:
        x_PI: Rows, those of expert 0 first.
        weight_EOI: One matrix an expert, as ``nn.Linear`` keeps it.
        ends_E: int32, the first row after each run; rows after the last run belong to nobody.
        way: "grouped" or "triton".
        parts: How many layers of equal width a matrix holds, one above the other. Run by run each is multiplied for
            itself: one product of all would round otherwise than the layers do.

    Returns:
        [P, O / parts] of each part. Rows after the last run may hold anything, here and in the gradient of ``x_PI``.

    Raises:
        ValueError: shapes or dtypes do not fit each other, or the way is not known or not for this device.
    """
    if way not in WAYS:
        raise ValueError(f"way {way!r} is not known; wanted {' or '.join(WAYS)}")
    require_fit(x_PI, weight_EOI, ends_E, parts)
    if way == "triton":
        from kb.moe.grouped_triton import grouped_linear_triton

        return _chunks(grouped_linear_triton(x_PI, weight_EOI, ends_E), parts)
    if takes_grouped_mm(x_PI, weight_EOI):
        out_PO: Tensor = F.grouped_mm(x_PI.contiguous(), weight_EOI.transpose(1, 2), offs=ends_E)
        out_PO = _DenseGradient.apply(out_PO)
        return _chunks(out_PO, parts)
    outs: tuple[Tensor, ...] = _RunByRun.apply(x_PI, weight_EOI, ends_E, parts)
    return outs


def require_fit(x_PI: Tensor, weight_EOI: Tensor, ends_E: Tensor, parts: int = 1) -> None:
    """Refuse rows, matrices and ends whose shapes or dtypes do not fit each other: ValueError."""
    require_count("parts", parts)
    fits = x_PI.ndim == 2 and weight_EOI.ndim == 3 and ends_E.shape == weight_EOI.shape[:1]
    if not fits or x_PI.shape[1] != weight_EOI.shape[2] or weight_EOI.shape[1] % parts:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x_PI, weight_EOI, ends_E))
        raise ValueError(f"wanted x [P, I], weight [E, O, I] and ends [E], O a multiple of {parts}, got {shapes}")
    if not len(ends_E):
        raise ValueError("weight must hold at least one expert, got none")
    if x_PI.dtype != weight_EOI.dtype or ends_E.dtype != torch.int32:
        raise ValueError(
            f"x and weight must be of one dtype and ends int32, got {x_PI.dtype}, {weight_EOI.dtype}, {ends_E.dtype}"
        )


def takes_grouped_mm(x_PI: Tensor, weight_EOI: Tensor) -> bool:
    """Whether ``grouped_mm`` is one launch for these: bfloat16 on a GPU, sizes that are multiples of 8."""
    if not hasattr(F, "grouped_mm") or not x_PI.is_cuda or x_PI.dtype != torch.bfloat16 or not len(x_PI):
        return False
    aligned = not any(size % 8 for size in weight_EOI.shape[1:])
    return aligned and torch.cuda.get_device_capability(x_PI.device) >= (8, 0)


class _DenseGradient(torch.autograd.Function):
    """Nothing forwards. Backwards, a gradient without strides (that of a sum) is written out: grouped_mm refuses it."""

    @staticmethod
    def forward(ctx: Any, out_PO: Tensor) -> Tensor:
        return out_PO.view_as(out_PO)

    @staticmethod
    def backward(ctx: Any, grad_PO: Tensor) -> Tensor:
        return grad_PO.contiguous()


class _RunByRun(torch.autograd.Function):
    """A product for each run, in a loop over experts; a GPU waits once, for the ends."""

    @staticmethod
    def forward(ctx: Any, x_PI: Tensor, weight_EOI: Tensor, ends_E: Tensor, parts: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x_PI, weight_EOI)
        ctx.ends = ends_E.tolist()
        outs = tuple(x_PI.new_empty(len(x_PI), weight_EOI.shape[1] // parts) for _ in range(parts))
        for e, (start, end) in enumerate(_runs(ctx.ends)):
            for out, weight in zip(outs, weight_EOI[e].chunk(parts), strict=True):
                torch.mm(x_PI[start:end], weight.t(), out=out[start:end])
        for out in outs:
            out[ctx.ends[-1] :] = 0
        return outs

    @staticmethod
    @first_order
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x_PI, weight_EOI = ctx.saved_tensors
        dx_PI = torch.empty_like(x_PI) if ctx.needs_input_grad[0] else None
        dw_EOI = torch.empty_like(weight_EOI) if ctx.needs_input_grad[1] else None
        for e, (start, end) in enumerate(_runs(ctx.ends)):
            for i, (grad, weight) in enumerate(zip(grads, weight_EOI[e].chunk(len(grads)), strict=True)):
                if dx_PI is not None and i == 0:
                    torch.mm(grad[start:end], weight, out=dx_PI[start:end])
                elif dx_PI is not None:
                    dx_PI[start:end] += grad[start:end] @ weight
                if dw_EOI is not None:
                    dw = dw_EOI[e].chunk(len(grads))[i]
                    torch.mm(grad[start:end].t(), x_PI[start:end], out=dw)  # of no rows: zeros
        if dx_PI is not None:
            dx_PI[ctx.ends[-1] :] = 0
        return dx_PI, dw_EOI, None, None


def _chunks(out_PO: Tensor, parts: int) -> tuple[Tensor, ...]:
    # The backward of a chunk copies, also where the chunk is all.
    return out_PO.chunk(parts, dim=1) if parts > 1 else (out_PO,)


def _runs(ends: list[int]) -> list[tuple[int, int]]:
    return list(zip([0, *ends[:-1]], ends, strict=True))
