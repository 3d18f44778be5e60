"""Grouped products on CUDA: rows sorted by expert, all runs in one launch, with a hand-written backward.

Two kernels. One multiplies rows by their expert's matrix: forwards by its transpose, backwards (for the rows) by
itself, which only strides tell apart. The other multiplies a run's two sides for its expert's gradient, and sums over
the run. Ends of runs are read on the GPU only: expert e owns the tiles from start // ROWS + e on, which is always
enough and known without counting, so the grid depends on sizes alone. Unusual: rows after the last run count as the
run of one expert more, and get zeros. Sums are float32 whatever the inputs, and float32 inputs stay float32 (no TF32).

On the CPU these kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), where arithmetic on bfloat16 is silently
wrong: tiles are cast to float32 first.

Source: Gale et al. 2022, MegaBlocks, section 5 (products over runs of any length in one launch).
Shapes: P rows, E experts, I inputs, O outputs; in the kernels M rows, N columns and K summands of a tile.
"""

# What a kernel's arguments are, Triton says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

# Annotations are not evaluated: without Triton there is no tl.constexpr.
from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from kb.moe.first_order import first_order

try:
    import triton
    import triton.language as tl
except ImportError:  # this file can be imported all the same; grouped_linear_triton refuses then
    triton = None

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def fits_kernels(x_PI: Tensor) -> bool:
    """Whether the kernels run here: Triton is installed, the dtype theirs, the device CUDA or the interpreter on."""
    somewhere = x_PI.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    return triton is not None and somewhere and x_PI.dtype in _DTYPES


def grouped_linear_triton(x_PI: Tensor, weight_EOI: Tensor, ends_E: Tensor) -> Tensor:
    """The same as ``grouped_linear``, whose checks have been made; rows after the last run are 0, also in gradients.

    Raises:
        ValueError: the device or the dtype is not one of the kernels'.
    """
    if not fits_kernels(x_PI):
        raise ValueError(
            f"way 'triton' wants Triton, a CUDA device and float32, bfloat16 or float16, got {x_PI.dtype} on "
            f"{x_PI.device}, and Triton is {'not ' if triton is None else ''}installed"
        )
    return _GroupedLinear.apply(x_PI, weight_EOI, ends_E)


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_PI: Tensor, weight_EOI: Tensor, ends_E: Tensor) -> Tensor:
        ctx.save_for_backward(x_PI, weight_EOI, ends_E)
        return rows_by_weight(x_PI, weight_EOI.transpose(1, 2), ends_E)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_PO: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_PI, weight_EOI, ends_E = ctx.saved_tensors
        dx_PI = rows_by_weight(grad_PO, weight_EOI, ends_E) if ctx.needs_input_grad[0] else None
        dw_EOI = rows_by_rows(grad_PO, x_PI, ends_E) if ctx.needs_input_grad[1] else None
        return dx_PI, dw_EOI, None


def rows_by_weight(a_PK: Tensor, b_EKN: Tensor, ends_E: Tensor) -> Tensor:
    """[P, N]: the rows of each expert, [., K], times its matrix [K, N]."""
    (P, K), (E, _, N) = a_PK.shape, b_EKN.shape
    out_PN = a_PK.new_empty(P, N)
    tile = _tile(a_PK.dtype)

    def grid(sizes: dict[str, int]) -> tuple[int]:
        return ((P // sizes["M"] + E + 1) * triton.cdiv(N, sizes["N_"]),)

    if out_PN.numel():
        _rows_by_weight[grid](
            a_PK, b_EKN, out_PN, ends_E, P, E, N, K, *a_PK.stride(), *b_EKN.stride(), UPCAST=not a_PK.is_cuda, **tile
        )
    return out_PN


def rows_by_rows(a_PM: Tensor, b_PN: Tensor, ends_E: Tensor) -> Tensor:
    """[E, M, N]: of each expert, its rows [., M] transposed times its rows [., N]; 0 where it has none."""
    M, N, E = a_PM.shape[1], b_PN.shape[1], len(ends_E)
    out_EMN = a_PM.new_empty(E, M, N)
    tile = _tile(a_PM.dtype)

    def grid(sizes: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(M, sizes["M_"]) * triton.cdiv(N, sizes["N_"]), E

    if out_EMN.numel():
        tile["M_"] = tile.pop("M")
        _rows_by_rows[grid](
            a_PM, b_PN, out_EMN, ends_E, M, N, *a_PM.stride(), *b_PN.stride(), UPCAST=not a_PM.is_cuda, **tile
        )
    return out_EMN


def _tile(dtype: torch.dtype) -> dict[str, int]:
    """float32 is multiplied without tensor cores, in registers: smaller tiles fit."""
    if dtype == torch.float32:
        return {"M": 64, "N_": 64, "K_": 32, "num_warps": 4, "num_stages": 3}
    return {"M": 128, "N_": 256, "K_": 64, "num_warps": 8, "num_stages": 3}


def jit(function: Any) -> Any:
    """Triton's own, but for numbers that change from step to step: no variants for 1 and for multiples of 16."""
    return triton.jit(function, do_not_specialize=("P",)) if triton else function


@jit
def _rows_by_weight(
    a, b, out, ends, P, E, N, K, a_row, a_column, b_expert, b_row, b_column,
    M: tl.constexpr, N_: tl.constexpr, K_: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One tile of M rows of one expert and N_ columns; neighbours share rows, which stay in the cache."""
    columns = tl.cdiv(N, N_)
    tile, column = tl.program_id(0) // columns, tl.program_id(0) % columns
    # The expert whose tiles these are, by bisection; number E are the rows that belong to nobody.
    e, last = tl.cast(0, tl.int64), tl.cast(E + 1, tl.int64)
    while last - e > 1:
        middle = (e + last) // 2
        if tl.load(ends + middle - 1) // M + middle <= tile:
            e = middle
        else:
            last = middle
    start = tl.load(ends + e - 1, mask=e > 0, other=0)
    end = tl.load(ends + e, mask=e < E, other=P)
    first = start + (tile - start // M - e) * M
    if first >= end:
        return
    row_M = first + tl.arange(0, M)
    column_N = column * N_ + tl.arange(0, N_)
    acc_MN = tl.zeros([M, N_], tl.float32)
    if e < E:
        a_M = a + row_M.to(tl.int64)[:, None] * a_row
        b_N = b + e * b_expert + column_N.to(tl.int64)[None, :] * b_column
        for k in range(0, K, K_):
            k_K = k + tl.arange(0, K_)
            real_K = k_K < K
            a_MK = tl.load(a_M + k_K[None, :] * a_column, mask=(row_M < end)[:, None] & real_K[None, :], other=0.0)
            b_KN = tl.load(b_N + k_K[:, None] * b_row, mask=real_K[:, None] & (column_N < N)[None, :], other=0.0)
            if UPCAST:
                a_MK, b_KN = a_MK.to(tl.float32), b_KN.to(tl.float32)
            acc_MN = tl.dot(a_MK, b_KN, acc_MN, input_precision="ieee")
    at_MN = out + row_M.to(tl.int64)[:, None] * N + column_N[None, :]
    tl.store(at_MN, acc_MN.to(out.dtype.element_ty), mask=(row_M < end)[:, None] & (column_N < N)[None, :])


@jit
def _rows_by_rows(
    a, b, out, ends, M, N, a_row, a_column, b_row, b_column,
    M_: tl.constexpr, N_: tl.constexpr, K_: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One tile of one expert's gradient: a sum over its rows, K_ at a time."""
    columns = tl.cdiv(N, N_)
    tile, e = tl.program_id(0), tl.program_id(1)
    start, end = tl.load(ends + e - 1, mask=e > 0, other=0), tl.load(ends + e)
    m_M = tile // columns * M_ + tl.arange(0, M_)
    n_N = tile % columns * N_ + tl.arange(0, N_)
    acc_MN = tl.zeros([M_, N_], tl.float32)
    for row in range(start, end, K_):
        row_K = row + tl.arange(0, K_)
        at_K = row_K.to(tl.int64)
        a_MK = tl.load(
            a + at_K[None, :] * a_row + m_M[:, None] * a_column,
            mask=(row_K < end)[None, :] & (m_M < M)[:, None],
            other=0.0,
        )
        b_KN = tl.load(
            b + at_K[:, None] * b_row + n_N[None, :] * b_column,
            mask=(row_K < end)[:, None] & (n_N < N)[None, :],
            other=0.0,
        )
        if UPCAST:
            a_MK, b_KN = a_MK.to(tl.float32), b_KN.to(tl.float32)
        acc_MN = tl.dot(a_MK, b_KN, acc_MN, input_precision="ieee")
    at_MN = out + e.to(tl.int64) * M * N + m_M.to(tl.int64)[:, None] * N + n_N[None, :]
    tl.store(at_MN, acc_MN.to(out.dtype.element_ty), mask=(m_M < M)[:, None] & (n_N < N)[None, :])
