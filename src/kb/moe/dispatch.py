"""Pairs of tokens and experts, sorted by expert: each expert's tokens in one run of rows, as a grouped product wants.

The sort is stable: an expert sees its tokens in their order. Nothing is read back from a GPU, so nothing waits; the
price is that there are as many rows as there may be pairs to serve. Those after the last run hold zeros, and so does
one row more, which stands for every pair that is not served.

Shapes: T tokens, K choices of a token, P = T K pairs, E experts, R rows; pair t K + k is choice k of token t.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.moe.grouped_triton import fits_kernels
from kb.moe.routing import Routing
from kb.moe.rows_triton import combine_triton, gather_triton


@dataclass(frozen=True)
class Dispatch:
    """Which pair is in which row.

    Args:
        pairs_R: int64, the pair of each row; any one for the rows after the last run.
        tokens_R: int64, the token of each row.
        rows_TK: int64, the row of each pair; one after the last run for those not served.
        ends_E: int32, the first row after each expert's; an empty expert ends where the one before it does.
        full: Whether every pair is served, and has a row of its own: R is P.
    """

    pairs_R: Tensor
    tokens_R: Tensor
    rows_TK: Tensor
    ends_E: Tensor
    full: bool

    @classmethod
    def of(cls, routing: Routing) -> "Dispatch":
        """Sort the pairs of a routing by expert."""
        (T, K), E = routing.experts_TK.shape, routing.num_experts
        experts_P = routing.experts_TK.reshape(-1)
        full = routing.kept_TK is None or not len(experts_P)
        if routing.kept_TK is not None:
            experts_P = torch.where(routing.kept_TK.reshape(-1), experts_P, E)
        sorted_P, pairs_R = experts_P.sort(stable=True)
        ends_E = torch.searchsorted(sorted_P, torch.arange(E, device=experts_P.device), right=True, out_int32=True)
        rows_P = torch.full_like(experts_P, routing.most_kept)  # of pairs that get none: the row of zeros
        pairs_R = pairs_R[: routing.most_kept]
        rows_P[pairs_R] = torch.arange(len(pairs_R), device=rows_P.device)
        if not full:
            pairs_R = F.pad(pairs_R, (0, 1))
        return cls(pairs_R, pairs_R // max(K, 1), rows_P.view(T, K), ends_E, full)

    def gather(self, x_TD: Tensor) -> Tensor:
        """Rows [R, D] of tokens [T, D]; those after the last run are 0, and give no gradient."""
        if fits_kernels(x_TD):
            return self.clear(gather_triton(x_TD, self.tokens_R, self.rows_TK, self.ends_E))
        x_RD: Tensor = _Take.apply(x_TD, self.tokens_R, self.rows_TK)
        return self.clear(x_RD)

    def clear(self, x_RD: Tensor) -> Tensor:
        """The same rows, with 0 in those after the last run, whatever they hold; no gradient goes to them."""
        if self.full:
            return x_RD
        # Chosen, not multiplied: a product that leaves rows out leaves anything in them, NaN too.
        served_R = torch.arange(len(x_RD), device=x_RD.device) < self.ends_E[-1]
        return torch.where(served_R[:, None], x_RD, 0)

    def combine(self, x_RD: Tensor, weights_TK: Tensor) -> Tensor:
        """[T, D]: of each token, its rows times their weights, summed; rows after the last run may hold anything."""
        if fits_kernels(x_RD):
            return combine_triton(x_RD, weights_TK, self.rows_TK, self.pairs_R, self.ends_E)
        x_PD: Tensor = _Take.apply(self.clear(x_RD), self.rows_TK.reshape(-1), self.pairs_R[:, None])
        x_TKD = x_PD.view(*weights_TK.shape, x_RD.shape[1])
        return torch.bmm(weights_TK[:, None].to(x_RD.dtype), x_TKD)[:, 0]


class _Take(torch.autograd.Function):
    """Rows by number, where it is known who takes each: gradients are taken too, and summed in a fixed order.

    The gradient of indexing would be scattered, on a GPU after a sort or in an order that changes.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, rows_M: Tensor, takers_NK: Tensor) -> Tensor:
        ctx.save_for_backward(takers_NK)
        return x_ND[rows_M]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_MD: Tensor) -> tuple[Tensor, None, None]:
        (takers_NK,) = ctx.saved_tensors
        if takers_NK.shape[1] == 1:
            return grad_MD[takers_NK[:, 0]], None, None
        return grad_MD[takers_NK].sum(1), None, None
