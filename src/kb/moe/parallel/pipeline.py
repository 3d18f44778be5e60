"""Tokens in chunks: each chunk's rows go to the experts' ranks and home, while another chunk is computed.

Shapes: T tokens of this rank, E experts, L of this rank, C chunks, P served rows of a chunk, D width, O outputs.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kb.moe.dispatch import Dispatch
from kb.moe.parallel.exchange import exchange
from kb.moe.parallel.groups import Groups
from kb.moe.parallel.plan import Route, spans
from kb.moe.routing import Routing


@dataclass(frozen=True)
class Chunk:
    """A run of tokens, ready to leave.

    Args:
        dispatch: Of these tokens.
        weights_TK: With which their experts' outputs are multiplied.
        rows_PD: What leaves: rows sorted by expert, without those that are nobody's.
        counts_E: int64 on the CPU, rows of each expert.
    """

    dispatch: Dispatch
    weights_TK: Tensor
    rows_PD: Tensor
    counts_E: Tensor

    def combine(self, out_PO: Tensor) -> Tensor:
        """[T, O] of the rows that came home."""
        left_out = len(self.dispatch.pairs_R) - len(out_PO)
        if left_out:
            out_PO = torch.cat([out_PO, out_PO.new_zeros(left_out, out_PO.shape[1])])
        return self.dispatch.combine(out_PO, self.weights_TK)


def chunks_of(x_TD: Tensor, routing: Routing, number: int) -> list[Chunk]:
    """Tokens in so many runs as even as can be; some are empty where there are fewer tokens."""
    runs = spans(len(x_TD), number)
    dispatches = [Dispatch.of(_part(routing, start, end)) for start, end in runs]
    ends_CE = torch.stack([dispatch.ends_E for dispatch in dispatches]).cpu().long()  # one wait for all chunks
    chunks = []
    for (start, end), dispatch, ends_E in zip(runs, dispatches, ends_CE, strict=True):
        rows_RD = dispatch.gather(x_TD[start:end])
        served = int(ends_E[-1])
        rows_PD = rows_RD if served == len(rows_RD) else rows_RD[:served]
        counts_E = ends_E.diff(prepend=ends_E.new_zeros(1))
        chunks.append(Chunk(dispatch, routing.weights_TK[start:end], rows_PD, counts_E))
    return chunks


def _part(routing: Routing, start: int, end: int) -> Routing:
    return replace(
        routing,
        experts_TK=routing.experts_TK[start:end],
        weights_TK=routing.weights_TK[start:end],
        logits_TE=routing.logits_TE[start:end],
        scores_TE=routing.scores_TE[start:end],
        kept_TK=None if routing.kept_TK is None else routing.kept_TK[start:end],
    )


def travel(
    chunks: Sequence[Chunk],
    routes: Sequence[Route],
    groups: Groups,
    experts: Callable[[Tensor, int], Tensor],
    beside: Callable[[], Tensor | None],
) -> tuple[Tensor, Tensor | None]:
    """All chunks through the experts of all ranks.

    Args:
        chunks: What leaves here.
        routes: Of each chunk, from here to the experts.
        groups: Where the routes go.
        experts: From the rows that came here, and the number of their chunk, to rows [.., O].
        beside: What needs no rows of others: computed while those of the first chunk travel.

    Returns:
        [T, O] of this rank's tokens, and what ``beside`` gave.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
    """
    going = exchange(chunks[0].rows_PD, routes[0], groups)
    between = beside()
    homeward = []
    for c, route in enumerate(routes):
        rows_QD = going.arrive()
        if c + 1 < len(routes):
            going = exchange(chunks[c + 1].rows_PD, routes[c + 1], groups)
        homeward.append(exchange(experts(rows_QD, c), route.back(), groups))
    outs = [chunk.combine(home.arrive()) for chunk, home in zip(chunks, homeward, strict=True)]
    return outs[0] if len(outs) == 1 else torch.cat(outs), between
