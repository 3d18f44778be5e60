"""silu(gate) times up on CUDA, both read once from the product that holds them side by side, forwards and backwards.

torch makes a tensor of silu(gate) and, backwards, one for each step, and lays the two gradients side by side at last.

Shapes: R rows, F inner width.
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

_BLOCK = 1024  # numbers that a program works on


def silu_gate_triton(gate_up_R2F: Tensor) -> Tensor:
    """[R, F] of [R, 2F], the gate before the up projection."""
    out_RF: Tensor = _SiluGate.apply(gate_up_R2F.contiguous())
    return out_RF


class _SiluGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up_R2F: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up_R2F)
        R, F = len(gate_up_R2F), gate_up_R2F.shape[1] // 2
        out_RF = gate_up_R2F.new_empty(R, F)
        if out_RF.numel():
            _forward[(R, triton.cdiv(F, _BLOCK))](gate_up_R2F, out_RF, F, _BLOCK)
        return out_RF

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_RF: Tensor) -> Tensor:
        (gate_up_R2F,) = ctx.saved_tensors
        out_R2F = torch.empty_like(gate_up_R2F)
        (R, F), grad_RF = grad_RF.shape, grad_RF.contiguous()
        if out_R2F.numel():
            _backward[(R, triton.cdiv(F, _BLOCK))](gate_up_R2F, grad_RF, out_R2F, F, _BLOCK)
        return out_R2F


@jit
def _forward(gate_up, out, F, BLOCK: tl.constexpr):
    row, f_F = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at_F = gate_up + row * 2 * F + f_F
    gate_F = tl.load(at_F, mask=f_F < F, other=0.0).to(tl.float32)
    up_F = tl.load(at_F + F, mask=f_F < F, other=0.0).to(tl.float32)
    out_F = gate_F * tl.sigmoid(gate_F) * up_F
    tl.store(out + row * F + f_F, out_F.to(out.dtype.element_ty), mask=f_F < F)


@jit
def _backward(gate_up, grad, out, F, BLOCK: tl.constexpr):
    row, f_F = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at_F = row * 2 * F + f_F
    gate_F = tl.load(gate_up + at_F, mask=f_F < F, other=0.0).to(tl.float32)
    up_F = tl.load(gate_up + at_F + F, mask=f_F < F, other=0.0).to(tl.float32)
    grad_F = tl.load(grad + row * F + f_F, mask=f_F < F, other=0.0).to(tl.float32)
    share_F = tl.sigmoid(gate_F)
    slope_F = share_F * (1 + gate_F * (1 - share_F))
    tl.store(out + at_F, (grad_F * up_F * slope_F).to(out.dtype.element_ty), mask=f_F < F)
    tl.store(out + at_F + F, (grad_F * gate_F * share_F).to(out.dtype.element_ty), mask=f_F < F)
