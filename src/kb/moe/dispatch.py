"""Pairs of tokens and experts, sorted by expert: each expert's tokens in one run of rows, as a grouped product wants.

The sort is stable: an expert sees its tokens in their order. Pairs that are not served lie after the last run. Nothing
is read back from a GPU, so nothing waits; the price is that rows of dropped pairs are there, and empty.

Shapes: T tokens, K choices of a token, P = T K pairs, E experts; pair t K + k is choice k of token t.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass

import torch
from torch import Tensor

from kb.moe.routing import Routing


@dataclass(frozen=True)
class Dispatch:
    """Which pair is in which row.

    Args:
        pairs_P: int64, the pair of each row.
        tokens_P: int64, the token of each row.
        rows_P: int64, the row of each pair: the inverse of ``pairs_P``.
        ends_E: int32, the first row after each expert's; an empty expert ends where the one before it does.
        full: Whether every pair is served, so that ``ends_E[-1]`` is P.
    """

    pairs_P: Tensor
    tokens_P: Tensor
    rows_P: Tensor
    ends_E: Tensor
    full: bool

    @classmethod
    def of(cls, routing: Routing) -> "Dispatch":
        """Sort the pairs of a routing by expert."""
        E, K = routing.num_experts, routing.experts_TK.shape[1]
        experts_P = routing.experts_TK.reshape(-1)
        if routing.kept_TK is not None:
            experts_P = torch.where(routing.kept_TK.reshape(-1), experts_P, E)
        sorted_P, pairs_P = experts_P.sort(stable=True)
        rows_P = torch.empty_like(pairs_P)
        rows_P[pairs_P] = torch.arange(len(pairs_P), device=pairs_P.device)
        ids_E = torch.arange(E, device=pairs_P.device)
        ends_E = torch.searchsorted(sorted_P, ids_E, right=True, out_int32=True)
        return cls(pairs_P, pairs_P // max(K, 1), rows_P, ends_E, routing.kept_TK is None)

    def gather(self, x_TD: Tensor) -> Tensor:
        """Rows [P, D] of tokens [T, D]; those of pairs not served are 0, and give no gradient."""
        rows_PD = x_TD[self.tokens_P]
        return rows_PD if self.full else self.clear(rows_PD)

    def clear(self, rows_PD: Tensor) -> Tensor:
        """The same rows, with 0 in those of pairs not served, whatever they hold; no gradient goes to them."""
        if self.full:
            return rows_PD
        # Chosen, not multiplied: a product that leaves rows out leaves anything in them, NaN too.
        served_P = torch.arange(len(rows_PD), device=rows_PD.device) < self.ends_E[-1]
        return torch.where(served_P[:, None], rows_PD, 0)

    def combine(self, rows_PD: Tensor, weights_TK: Tensor) -> Tensor:
        """[T, D]: of each token, its rows times their weights, added in the order of its choices."""
        T, K = weights_TK.shape
        rows_TKD = self.clear(rows_PD)[self.rows_P].view(T, K, -1)
        return torch.einsum("tk,tkd->td", weights_TK.to(rows_PD.dtype), rows_TKD)
