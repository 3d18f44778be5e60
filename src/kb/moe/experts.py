"""Tokens through their experts, in five ways with one answer.

"loop" goes token by token and choice by choice: the oracle. "experts" goes expert by expert, with any bank. "grouped"
and "triton" sort the pairs by expert and make one grouped product of each layer; they want
:class:`~kb.moe.banks.SwiGLUExperts`. "auto" takes the fastest that fits the bank and the device.

Shapes: T tokens, K choices, R rows (pairs sorted by expert), E experts, D width, O outputs (D for SwiGLU).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.moe.banks import Expert, ExpertBank, SwiGLUExperts
from kb.moe.dispatch import Dispatch
from kb.moe.gate_triton import silu_gate_triton
from kb.moe.grouped import grouped_linear, takes_grouped_mm
from kb.moe.grouped_triton import fits_kernels
from kb.moe.routing import Routing
from kb.moe.swiglu_runs import swiglu_runs

IMPLEMENTATIONS = ("auto", "loop", "experts", "grouped", "triton")


def run_experts(x_TD: Tensor, bank: ExpertBank, routing: Routing, *, implementation: str = "auto") -> Tensor:
    """The weighted sum of each token's experts.

    Args:
        x_TD: Tokens.
        bank: E experts.
        routing: Of these tokens to these experts.
        implementation: One of :data:`IMPLEMENTATIONS`.

    Returns:
        [T, O] in the dtype of the tokens; zeros for a token none of whose pairs is served.

    Raises:
        ValueError: the implementation is not known, or not for this bank or device; tokens, experts and routing do
            not fit each other.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation {implementation!r} is not known; wanted one of {', '.join(IMPLEMENTATIONS)}")
    if x_TD.ndim != 2 or len(x_TD) != len(routing.experts_TK):
        raise ValueError(f"x must be [{len(routing.experts_TK)}, D] as the routing has it, got {tuple(x_TD.shape)}")
    if len(bank) != routing.num_experts:
        raise ValueError(f"the routing is to {routing.num_experts} experts, and the bank has {len(bank)}")
    if implementation == "loop":
        return _run_loop(x_TD, bank, routing)
    dispatch = Dispatch.of(routing)
    out_RO = run_rows(dispatch.gather(x_TD), bank, dispatch.ends_E, implementation=implementation)
    return dispatch.combine(out_RO, routing.weights_TK)


def run_rows(x_RD: Tensor, bank: ExpertBank, ends_E: Tensor, *, implementation: str = "auto") -> Tensor:
    """Rows sorted by expert through their experts: what lies between dispatch and combination.

    Args:
        x_RD: Rows, those of expert 0 first.
        bank: E experts.
        ends_E: int32, the first row after each expert's; rows after the last run belong to nobody.
        implementation: One of :data:`IMPLEMENTATIONS` but "loop", which knows tokens only.

    Returns:
        [R, O]; rows after the last run may hold anything.

    Raises:
        ValueError: the implementation is not known, or not for this bank or device; an expert gives more or fewer rows
            than it gets.
    """
    if implementation not in IMPLEMENTATIONS or implementation == "loop":
        wanted = ", ".join(name for name in IMPLEMENTATIONS if name != "loop")
        raise ValueError(f"implementation {implementation!r} is not known for rows; wanted one of {wanted}")
    if isinstance(bank, SwiGLUExperts):
        x_RD = _as_autocast(x_RD)
    if implementation == "auto":
        implementation = _fastest(x_RD, bank)
    if implementation == "experts":
        return _run_by_expert(x_RD, bank, ends_E)
    if not isinstance(bank, SwiGLUExperts):
        raise ValueError(f"implementation {implementation!r} is for SwiGLUExperts, got {type(bank).__name__}")
    return _run_grouped(x_RD, bank, ends_E, implementation)


def _run_loop(x_TD: Tensor, bank: ExpertBank, routing: Routing) -> Tensor:
    functions = bank.functions()
    T, K = routing.experts_TK.shape
    outs: list[Tensor | None] = []
    for t in range(T):
        out = None
        for k in range(K):
            if routing.kept_TK is None or routing.kept_TK[t, k]:
                row_1O = functions[int(routing.experts_TK[t, k])](x_TD[t : t + 1])
                row_1O = row_1O * routing.weights_TK[t, k].to(row_1O.dtype)
                out = row_1O if out is None else out + row_1O
        outs.append(out)
    some = next((out for out in outs if out is not None), None)
    if some is None:
        return _nothing(x_TD, functions[0])
    return torch.cat([torch.zeros_like(some) if out is None else out for out in outs])


def _run_by_expert(x_RD: Tensor, bank: ExpertBank, ends_E: Tensor) -> Tensor:
    functions = bank.functions()
    ends = ends_E.tolist()
    sizes = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    left_out = len(x_RD) - ends[-1]
    *runs, _ = x_RD.split([*sizes, left_out])
    outs = []
    for e, (expert, run_ND) in enumerate(zip(functions, runs, strict=True)):
        if len(run_ND):
            outs.append(expert(run_ND))
            if outs[-1].ndim != 2 or len(outs[-1]) != len(run_ND):
                raise ValueError(
                    f"expert {e} must give [{len(run_ND)}, O], a row for a row, got {tuple(outs[-1].shape)}"
                )
    if not outs:
        return _nothing(x_RD, functions[0])
    if left_out:
        outs.append(outs[0].new_zeros(left_out, outs[0].shape[1]))
    return torch.cat(outs)


def _run_grouped(x_RD: Tensor, bank: SwiGLUExperts, ends_E: Tensor, way: str) -> Tensor:
    gate_up_proj, down_proj = _as_autocast(bank.gate_up_proj), _as_autocast(bank.down_proj)
    if way == "grouped" and bank.activation is F.silu and not takes_grouped_mm(x_RD, gate_up_proj):
        return swiglu_runs(x_RD, gate_up_proj, down_proj, ends_E)
    if bank.activation is F.silu and fits_kernels(x_RD):
        (gate_up_R2F,) = grouped_linear(x_RD, gate_up_proj, ends_E, way=way)
        inner_RF = silu_gate_triton(gate_up_R2F)
    else:
        gate_RF, up_RF = grouped_linear(x_RD, gate_up_proj, ends_E, way=way, parts=2)
        inner_RF = bank.activation(gate_RF) * up_RF
    (out_RD,) = grouped_linear(inner_RF, down_proj, ends_E, way=way)
    return out_RD


def _as_autocast(tensor: Tensor) -> Tensor:
    """In the dtype that ``torch.autocast`` asks for, which casts the inputs of torch's own products alone."""
    kind = tensor.device.type
    if not torch.is_autocast_enabled(kind) or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype(kind))


def _fastest(x_TD: Tensor, bank: ExpertBank) -> str:
    if not isinstance(bank, SwiGLUExperts):
        return "experts"
    one_launch = takes_grouped_mm(x_TD, bank.gate_up_proj) and takes_grouped_mm(x_TD, bank.down_proj)
    return "triton" if x_TD.is_cuda and not one_launch and fits_kernels(x_TD) else "grouped"


def _nothing(x_TD: Tensor, expert: Expert) -> Tensor:
    """Zeros of the experts' width, where no pair is served; the sum of no rows lets gradients of 0 through."""
    none_0O = expert(x_TD[:0])
    return none_0O.new_zeros(len(x_TD), none_0O.shape[1]) + none_0O.sum()
