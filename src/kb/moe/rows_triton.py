"""Rows of experts from their tokens and back to them on CUDA, where they lie, with hand-written backwards.

torch would copy the rows into the order of tokens before it sums them, and backwards copy their gradients back. Here a
token's rows are read where they are, and a row's gradient and that of its weight are made in one pass; sums are
float32, in the order of a token's choices, so answers do not change from run to run. Rows after the last run are not
read: they may hold anything.

Shapes: T tokens, K choices of a token, R rows sorted by expert, D width, E experts; pair t K + k is choice k of t.
"""

# What a kernel's arguments are, Triton says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

# Annotations are not evaluated: without Triton there is no tl.constexpr.
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kb.moe.first_order import first_order
from kb.moe.grouped_triton import jit, triton

if triton:
    import triton.language as tl

_WIDEST = 1024  # numbers of a row that a program works on at a time


def gather_triton(x_TD: Tensor, tokens_R: Tensor, rows_TK: Tensor, ends_E: Tensor) -> Tensor:
    """[R, D]: the token of each row; what ``Dispatch.gather`` says but for rows after the last run, on CUDA."""
    x_RD: Tensor = _Gather.apply(x_TD, tokens_R, rows_TK, ends_E)
    return x_RD


def combine_triton(x_RD: Tensor, weights_TK: Tensor, rows_TK: Tensor, pairs_R: Tensor, ends_E: Tensor) -> Tensor:
    """[T, D]: of each token, its rows times their weights, summed; what ``Dispatch.combine`` says, on CUDA."""
    out_TD: Tensor = _Combine.apply(x_RD.contiguous(), weights_TK.contiguous(), rows_TK, pairs_R, ends_E)
    return out_TD


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, tokens_R: Tensor, rows_TK: Tensor, ends_E: Tensor) -> Tensor:
        ctx.save_for_backward(rows_TK, ends_E)
        return x_TD[tokens_R]

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_RD: Tensor) -> tuple[Tensor, None, None, None]:
        rows_TK, ends_E = ctx.saved_tensors
        return _sum_of_rows(grad_RD.contiguous(), None, rows_TK, ends_E), None, None, None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, weights_TK: Tensor, rows_TK: Tensor, pairs_R: Tensor, ends_E: Tensor) -> Tensor:
        ctx.save_for_backward(x_RD, weights_TK, pairs_R, ends_E)
        return _sum_of_rows(x_RD, weights_TK, rows_TK, ends_E)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x_RD, weights_TK, pairs_R, ends_E = ctx.saved_tensors
        grad_TD = grad_TD.contiguous()
        (R, D), K, E = x_RD.shape, weights_TK.shape[1], len(ends_E)
        # Of pairs that have no row nothing is written: their weights have the gradient 0.
        dx_RD, dweights_TK = torch.empty_like(x_RD), torch.zeros_like(weights_TK)
        if dx_RD.numel():
            _spread[(R,)](x_RD, grad_TD, weights_TK, pairs_R, ends_E, dx_RD, dweights_TK, D, K, E, _block(D))
        return dx_RD, dweights_TK, None, None, None


def _sum_of_rows(x_RD: Tensor, weights_TK: Tensor | None, rows_TK: Tensor, ends_E: Tensor) -> Tensor:
    """[T, D]: of each token the sum of its rows, times their weights where there are any."""
    (T, K), D = rows_TK.shape, x_RD.shape[1]
    out_TD = x_RD.new_empty(T, D)
    if out_TD.numel():
        block, weighted = _block(D), weights_TK is not None
        grid = (T, triton.cdiv(D, block))
        _sum_rows[grid](x_RD, weights_TK, rows_TK, ends_E, out_TD, D, K, len(ends_E), weighted, block)
    return out_TD


def _block(width: int) -> int:
    return min(_WIDEST, triton.next_power_of_2(max(width, 1)))


@jit
def _sum_rows(x, weights, rows, ends, out, D, K: tl.constexpr, E, WEIGHTED: tl.constexpr, BLOCK: tl.constexpr):
    """A part of one token's sum."""
    t, d_D = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    served = tl.load(ends + E - 1)
    acc_D = tl.zeros([BLOCK], tl.float32)
    for k in range(K):
        row = tl.load(rows + t * K + k)
        x_D = tl.load(x + row * D + d_D, mask=(d_D < D) & (row < served), other=0.0).to(tl.float32)
        if WEIGHTED:
            x_D *= tl.load(weights + t * K + k).to(tl.float32)
        acc_D += x_D
    tl.store(out + t * D + d_D, acc_D.to(out.dtype.element_ty), mask=d_D < D)


@jit
def _spread(x, grad, weights, pairs, ends, dx, dweights, D, K, E, BLOCK: tl.constexpr):
    """One row's gradient, its token's times its weight, and its weight's: the row times its token's, summed."""
    row = tl.program_id(0).to(tl.int64)
    real = row < tl.load(ends + E - 1)
    pair = tl.load(pairs + row)
    weight = tl.load(weights + pair, mask=real, other=0.0).to(tl.float32)
    acc_D = tl.zeros([BLOCK], tl.float32)
    for start in range(0, D, BLOCK):
        d_D = start + tl.arange(0, BLOCK)
        grad_D = tl.load(grad + pair // K * D + d_D, mask=(d_D < D) & real, other=0.0).to(tl.float32)
        acc_D += grad_D * tl.load(x + row * D + d_D, mask=(d_D < D) & real, other=0.0).to(tl.float32)
        tl.store(dx + row * D + d_D, (weight * grad_D).to(dx.dtype.element_ty), mask=d_D < D)
    tl.store(dweights + pair, tl.sum(acc_D, 0).to(dweights.dtype.element_ty), mask=real)
