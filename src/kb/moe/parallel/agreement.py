"""What ranks must know of each other before rows may travel, and must agree on lest one wait for ever.

Every exchange of counts carries, beside the counts, whether the sender's input was good, its dtype, and whether it
records for gradients. Where one rank found its input bad, or two differ, every rank raises, and nobody waits for rows
that do not come. It also carries what needs a gradient on each rank: if one does, all must pass gradients on. The sizes
of the layer are compared once, when it is made.

Shapes: R ranks, L experts of one rank, C chunks, N nodes, G ranks of a node, H numbers of a header.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from kb.distributed.lost import lost_ranks_named
from kb.moe.parallel.groups import Groups

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
GOOD, BAD = 0, 1


@dataclass(frozen=True)
class Header:
    """What a rank says of its input.

    Args:
        dtype: Number of its dtype in :data:`DTYPES`; -1 where it is none of them.
        recording: Whether gradients will be wanted: 0 or 1.
        rows: Whether the tokens' rows need them: 0 or 1.
        experts: Whether weights of the experts here do: 0 or 1.
    """

    dtype: int = -1
    recording: int = 0
    rows: int = 0
    experts: int = 0


@dataclass(frozen=True)
class Counts:
    """How many rows come, and what gradients they need.

    Args:
        received_CRL: On the CPU, from each rank to each expert here.
        between_CGN: With nodes, what each rank of this node hands over here, for this number in each node.
        rows: Whether rows of any rank need gradients.
        experts: Whether experts of any rank do.
    """

    received_CRL: Tensor
    between_CGN: Tensor | None
    rows: bool
    experts: bool


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


def exchange_counts(groups: Groups, sent_CRL: Tensor, header: Header, problem: Exception | None) -> Counts:
    """Tell every rank how many rows each of its experts gets from here, in each chunk.

    Args:
        groups: Of all ranks, each of which calls this.
        sent_CRL: int64 on the device of the rows.
        header: Of this rank's input.
        problem: What was wrong with it; None for nothing.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        PeerError: another rank had a problem.
        ValueError: ranks differ in dtype, or in whether they record.
    """
    C, R, L = sent_CRL.shape
    head_H = sent_CRL.new_tensor([GOOD if problem is None else BAD, *astuple(header)])
    H = len(head_H)
    block_RB = torch.cat([head_H.expand(R, H), sent_CRL.transpose(0, 1).reshape(R, C * L)], dim=1)
    between_CGN = None
    if groups.node_size is None:
        block_RB = _all_to_all(block_RB, groups, 0)
    else:
        shape_NGB = (groups.nodes, groups.node_size, -1)
        block_GNB = _all_to_all(block_RB.view(shape_NGB).transpose(0, 1), groups, 1)
        between_CGN = block_GNB[..., H:].unflatten(2, (C, L)).sum(-1).permute(2, 0, 1).cpu()
        block_RB = _all_to_all(block_GNB.transpose(0, 1), groups, 2).reshape(R, -1)
    block_RB = block_RB.cpu()
    _judge(block_RB[:, :3], ("state", "dtype", "recording of gradients"), problem)
    rows, experts = (bool(needed) for needed in block_RB[:, 3:H].any(0))
    return Counts(block_RB[:, H:].reshape(R, C, L).transpose(0, 1), between_CGN, rows, experts)


def _all_to_all(x: Tensor, groups: Groups, number: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    work = groups.all_to_all(number, out, x)
    with lost_ranks_named():
        work.wait()
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
