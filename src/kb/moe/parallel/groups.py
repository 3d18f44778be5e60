"""The ranks that share a layer's experts, and, where there are nodes, those of one node and of one number in each.

Every rank of a group makes these together: they are collective calls, and fail or succeed for all.

Letters: R ranks, N nodes, G ranks of a node; rank r is number r % G of node r // G.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import torch.distributed as dist
from torch import Tensor

from kb.arguments import is_integer, require_count
from kb.distributed.lost import lost_ranks_named


class Work(Protocol):
    """Something under way."""

    def wait(self) -> object:
        """Return when it is over."""


@dataclass(frozen=True)
class Groups:
    """All ranks, and the two small groups that this one is in, if there are nodes.

    Args:
        groups: All ranks; then, with nodes, those of this node and those of this number in every node.
        rank: Of this process among all.
        ranks: R.
        node_size: G; None where rows go straight.
    """

    groups: tuple[dist.ProcessGroup, ...]
    rank: int
    ranks: int
    node_size: int | None = None

    @classmethod
    def of(
        cls, group: dist.ProcessGroup | None = None, node_size: int | None = None, timeout: timedelta | None = None
    ) -> "Groups":
        """The groups of one process; every rank of ``group`` calls this.

        Args:
            group: All ranks that share; None for every process there is.
            node_size: Ranks of a node, which are neighbours in ``group``; None for no nodes.
            timeout: Of the small groups, which do not inherit that of ``group``; needed where there are nodes, since
                torch's default, half an hour on gloo, is how long ranks would wait for one that died in another node.

        Raises:
            RuntimeError: torch.distributed is not initialised.
            ValueError: this process is not in the group, nodes of that size do not divide it, or have no timeout.
        """
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError("torch.distributed is not initialised: call torch.distributed.init_process_group first")
        whole = group if group is not None else dist.group.WORLD
        rank, ranks = dist.get_rank(whole), dist.get_world_size(whole)
        if rank < 0 or whole is None:
            raise ValueError("group must hold this process, which is not among its ranks")
        if node_size is None:
            return cls((whole,), rank, ranks)
        check_nodes(ranks, node_size, timeout)
        everyone = dist.get_process_group_ranks(whole)
        node = rank // node_size
        of_node = everyone[node * node_size : (node + 1) * node_size]
        of_number = everyone[rank % node_size :: node_size]
        small = [dist.new_group(r, timeout, use_local_synchronization=True) for r in (of_node, of_number)]
        return cls((whole, *small), rank, ranks, node_size)

    @property
    def nodes(self) -> int:
        """N; 1 where rows go straight."""
        return 1 if self.node_size is None else self.ranks // self.node_size

    def all_to_all(
        self,
        number: int,
        out_QD: Tensor,
        x_PD: Tensor,
        receive: Sequence[int] | None = None,
        send: Sequence[int] | None = None,
    ) -> Work:
        """Start an exchange in the background; the tensors must live until it has been waited for.

        Args:
            number: Of the group.
            out_QD: Where rows arrive, those of its first rank first.
            x_PD: Rows that leave, those for its first rank first.
            receive: How many come from each rank; None for equal numbers.
            send: How many go to each.

        Raises:
            LostRankError: a rank is known to be lost.
        """
        with lost_ranks_named():
            work: Work = dist.all_to_all_single(
                out_QD,
                x_PD,
                output_split_sizes=None if receive is None else list(receive),
                input_split_sizes=None if send is None else list(send),
                group=self.groups[number],
                async_op=True,
            )
        return work

    def messages(self) -> int:
        """How many other ranks this one sends to in an exchange."""
        return self.ranks - 1 if self.node_size is None else (self.node_size - 1) + (self.nodes - 1)


def check_nodes(ranks: int, node_size: object, timeout: timedelta | None) -> None:
    """Refuse nodes of a size that does not divide the ranks, and those without a timeout.

    Raises:
        ValueError: it does not, or is no positive integer, or the timeout is missing.
    """
    require_count("node_size", node_size)
    if is_integer(node_size) and ranks % node_size:
        raise ValueError(f"node_size {node_size} must divide the {ranks} ranks of the group")
    if timeout is None:
        raise ValueError("node_size needs a timeout for the groups that it makes")
