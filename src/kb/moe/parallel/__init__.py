"""Expert parallelism: the experts of a layer spread over the ranks of a process group, on gloo and NCCL."""

from kb.distributed.lost import LostRankError
from kb.distributed.ranks import RankError, Ranks
from kb.moe.parallel.agreement import PeerError
from kb.moe.parallel.groups import Groups
from kb.moe.parallel.layer import ExpertParallel
from kb.moe.parallel.shards import rank_slice, shard_experts, sum_replicated_gradients

__all__ = [
    "ExpertParallel",
    "Groups",
    "LostRankError",
    "PeerError",
    "RankError",
    "Ranks",
    "rank_slice",
    "shard_experts",
    "sum_replicated_gradients",
]
