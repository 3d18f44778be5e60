"""The collective calls of one group, which count what they send.

Every scheme of this package talks to other ranks through a :class:`Collectives`, so that its traffic is counted where
it happens, not estimated. Unusual: what is counted is what a ring sends, whatever the backend does, since that is the
least that an exchange of long messages can do (``kb.distributed.ring`` counts real messages and comes to the same):

    all-reduce of n bytes 2 (R - 1) / R · n, reduce-scatter to or all-gather from R parts (R - 1) / R · n.

Source: Patarasuk and Yuan 2009, Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations.
Letters: R ranks, n bytes of the whole tensor.
"""

from collections import Counter
from typing import Any

import torch.distributed as dist
from torch import Tensor

from kb.distributed.lost import lost_ranks_named

# torch 2.13 has given the calls on single tensors new names, and warns of the old ones.
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class Collectives:
    """This rank's way to the others.

    Args:
        group: The ranks; None for every process there is.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        ValueError: this process is not in the group.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError("torch.distributed is not initialised: call torch.distributed.init_process_group first")
        self.group = group
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        if self.rank < 0:
            raise ValueError("group must hold this process, which is not among its ranks")
        self.sent: Counter[str] = Counter()  # bytes by kind of call

    @property
    def total(self) -> int:
        """Bytes that this rank has sent."""
        return sum(self.sent.values())

    def global_rank(self, rank: int) -> int:
        """The number of a rank of this group among all processes, which torch's point-to-point calls want."""
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    def all_reduce(self, x: Tensor, op: Any = dist.ReduceOp.SUM, *, background: bool = False) -> Any:
        """Replace x by the sum over ranks, or by what ``op`` says; in the background, the work to wait for.

        Raises:
            LostRankError: a rank died, or did not answer within the timeout of its group.
        """
        self._count("all-reduce", 2 * x.nbytes)
        with lost_ranks_named():
            return dist.all_reduce(x, op, group=self.group, async_op=background)

    def reduce_scatter(self, whole_N: Tensor) -> Tensor:
        """This rank's part [N / R] of the sum over ranks of whole tensors [N].

        Raises:
            LostRankError: as above.
            ValueError: R does not divide N.
        """
        if whole_N.ndim != 1 or len(whole_N) % self.ranks:
            raise ValueError(f"whole must be a vector that {self.ranks} ranks divide, got {tuple(whole_N.shape)}")
        self._count("reduce-scatter", whole_N.nbytes)
        part = whole_N.new_empty(len(whole_N) // self.ranks)
        with lost_ranks_named():
            _reduce_scatter(part, whole_N.contiguous(), group=self.group)
        return part

    def all_gather(self, whole_N: Tensor, part: Tensor) -> None:
        """Write the parts [N / R] of all ranks side by side into whole [N].

        Raises:
            LostRankError: as above.
        """
        self._count("all-gather", whole_N.nbytes)
        with lost_ranks_named():
            _all_gather(whole_N, part.contiguous(), group=self.group)

    def send(self, x: Tensor, to: int, tag: int = 0) -> dist.Work:
        """Start to send x to a rank of the group; it must live, unchanged, until the work has been waited for.

        Raises:
            LostRankError: as above.
        """
        self.sent["send"] += x.nbytes
        with lost_ranks_named():
            work = dist.isend(x, self.global_rank(to), group=self.group, tag=tag)
        assert work is not None  # it is None on processes outside the group alone
        return work

    def receive(self, x: Tensor, source: int, tag: int = 0) -> Tensor:
        """Wait for what a rank of the group sends, and write it into x.

        Raises:
            LostRankError: as above.
        """
        with lost_ranks_named():
            dist.recv(x, self.global_rank(source), group=self.group, tag=tag)
        return x

    def _count(self, kind: str, size: int) -> None:
        self.sent[kind] += size * (self.ranks - 1) // self.ranks


def wait(work: Any) -> None:
    """Until something that runs in the background is over.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
    """
    with lost_ranks_named():
        work.wait()
