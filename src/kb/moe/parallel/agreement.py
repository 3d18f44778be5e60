"""What ranks must know of each other before rows may travel, and must agree on lest one wait for ever.

Every exchange of counts carries, beside the counts, whether the sender's input was good, its dtype, and what needs a
gradient. Where one rank found its input bad, or two differ, every rank raises, and nobody waits for rows that do not
come. The sizes of the layer are compared once, when it is made.

Shapes: R ranks, L experts of one rank, C chunks, N nodes, G ranks of a node, H numbers of a header.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from kb.moe.parallel.groups import Groups, lost_ranks_named

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
HEADER = ("state", "dtype", "gradients")
GOOD, BAD = 0, 1


class PeerError(RuntimeError):
    """Another rank refused its input, and said so; this rank's input was good."""


def require_agreement(
    groups: Groups, settings: Mapping[str, int], problem: Exception | None, device: torch.device
) -> None:
    """Compare settings with those of all ranks, before the first real exchange.

    Args:
        groups: Of all ranks, each of which calls this.
        settings: Integers by name; the same names everywhere.
        problem: What this rank has found wrong by itself; it is raised once all others know of it.
        device: On which the group can communicate.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        PeerError: another rank had a problem.
        ValueError: ranks have different settings.
    """
    mine = torch.tensor([GOOD if problem is None else BAD, *settings.values()], device=device)
    all_RH = [torch.empty_like(mine) for _ in range(groups.ranks)]
    with lost_ranks_named():
        dist.all_gather(all_RH, mine, group=groups.groups[0])
    _judge(torch.stack(all_RH).cpu(), ("state", *settings), problem)


def exchange_counts(
    groups: Groups, counts_CRL: Tensor, header: Sequence[int], problem: Exception | None
) -> tuple[Tensor, Tensor | None]:
    """Tell every rank how many rows each of its experts gets from here, in each chunk.

    Args:
        groups: Of all ranks, each of which calls this.
        counts_CRL: int64 on the device of the rows.
        header: The numbers that all ranks must agree on: what follows the state in :data:`HEADER`.
        problem: What was wrong with this rank's input; None for nothing.

    Returns:
        Counts on the CPU. [C, R, L]: rows that come from each rank to each expert here. With nodes also [C, G, N]:
        rows that each rank of this node hands over here, for this number in each node; None without.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        PeerError: another rank had a problem.
        ValueError: ranks have different headers.
    """
    C, R, L = counts_CRL.shape
    H = len(HEADER)
    head_H = counts_CRL.new_tensor([GOOD if problem is None else BAD, *header])
    block_RB = torch.cat([head_H.expand(R, H), counts_CRL.transpose(0, 1).reshape(R, C * L)], dim=1)
    between_CGN = None
    if groups.node_size is None:
        block_RB = _all_to_all(block_RB, groups.groups[0])
    else:
        shape_NGB = (groups.nodes, groups.node_size, -1)
        block_GNB = _all_to_all(block_RB.view(shape_NGB).transpose(0, 1), groups.groups[1])
        between_CGN = block_GNB[..., H:].unflatten(2, (C, L)).sum(-1).permute(2, 0, 1).cpu()
        block_RB = _all_to_all(block_GNB.transpose(0, 1), groups.groups[2]).reshape(R, -1)
    block_RB = block_RB.cpu()
    _judge(block_RB[:, :H], HEADER, problem)
    return block_RB[:, H:].reshape(R, C, L).transpose(0, 1), between_CGN


def _all_to_all(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    with lost_ranks_named():
        dist.all_to_all_single(out, x, group=group)
    return out


def _judge(heads_RH: Tensor, names: Sequence[str], problem: Exception | None) -> None:
    """Raise what is wrong: this rank's own problem, that of another, or that they differ."""
    if problem is not None:
        raise problem
    bad = [rank for rank, state in enumerate(heads_RH[:, 0].tolist()) if state != GOOD]
    if bad:
        ranks = ", ".join(map(str, bad))
        raise PeerError(f"rank {ranks} refused its input; its own error says why, and no rows were exchanged")
    for name, values in zip(names, heads_RH.t().tolist(), strict=True):
        other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            told = [DTYPES[value] if name == "dtype" else value for value in (values[0], values[other])]
            raise ValueError(
                f"all ranks must have the same {name}, got {told[0]} on rank 0 and {told[1]} on rank {other}"
            )
