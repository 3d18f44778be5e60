"""Context parallelism: the sequence is cut over the ranks, and keys and values travel round a ring. Forwards only.

Each rank has a run of the tokens. In R rounds it sees the keys and values of every rank, and keeps of its queries the
softmax so far: the largest score, the sum of exponentials, and the weighted sum of values. That is exact, as the online
softmax of FlashAttention is. Under a causal mask, keys of later ranks are not looked at, so that the last rank computes
R blocks of scores and the first rank one. :func:`blocks_of_work` counts the scores that are needed, of which a block on
the diagonal has half, and shows how a zigzag cut evens them out.

Sources: Liu et al. 2023, Ring Attention with Blockwise Transformers; Milakov and Gimelshein 2018 (online softmax).
Shapes: B sequences, T tokens of this rank, N heads, H head width; R ranks.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor

from kb.arguments import require_count
from kb.distributed.collectives import Collectives, wait


@torch.no_grad()
def ring_attention(
    q_BTNH: Tensor, k_BTNH: Tensor, v_BTNH: Tensor, group: dist.ProcessGroup | None = None, *, causal: bool = True
) -> Tensor:
    """softmax(q · k / sqrt(H)) v over the tokens of all ranks, which have as many each, those of rank 0 first.

    Returns:
        [B, T, N, H] of this rank's tokens.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        RuntimeError: torch.distributed is not initialised.
        ValueError: q, k and v are not of one shape [B, T, N, H].
    """
    if q_BTNH.ndim != 4 or not q_BTNH.shape == k_BTNH.shape == v_BTNH.shape:
        shapes = [tuple(x.shape) for x in (q_BTNH, k_BTNH, v_BTNH)]
        raise ValueError(f"q, k and v must be of one shape [B, T, N, H], got {shapes}")
    comm = Collectives(group)
    R, T = comm.ranks, q_BTNH.shape[1]
    largest_BNT = q_BTNH.new_full(q_BTNH.shape[:1] + q_BTNH.shape[2:3] + (T,), -math.inf)
    sum_BNT, out_BNTH = torch.zeros_like(largest_BNT), torch.zeros_like(q_BTNH.transpose(1, 2))
    pair = torch.stack([k_BTNH, v_BTNH])
    own = torch.ones(T, T, dtype=torch.bool, device=q_BTNH.device).tril()
    for round_ in range(R):
        source = (comm.rank - round_) % R  # whose keys these are
        sending = comm.send(pair, (comm.rank + 1) % R, round_) if round_ < R - 1 else None
        if not causal or source <= comm.rank:
            k_BNTH, v_BNTH = pair.transpose(2, 3)
            scores_BNTS = q_BTNH.transpose(1, 2) @ k_BNTH.transpose(2, 3) / math.sqrt(q_BTNH.shape[-1])
            if causal and source == comm.rank:
                scores_BNTS = scores_BNTS.masked_fill(~own, -math.inf)
            new_BNT = torch.maximum(largest_BNT, scores_BNTS.amax(-1))
            shrink_BNT, weights_BNTS = (largest_BNT - new_BNT).exp(), (scores_BNTS - new_BNT[..., None]).exp()
            sum_BNT = sum_BNT * shrink_BNT + weights_BNTS.sum(-1)
            out_BNTH = out_BNTH * shrink_BNT[..., None] + weights_BNTS @ v_BNTH
            largest_BNT = new_BNT
        if sending is not None:
            coming = comm.receive(torch.empty_like(pair), (comm.rank - 1) % R, round_)
            wait(sending)
            pair = coming
    return (out_BNTH / sum_BNT[..., None]).transpose(1, 2)


def blocks_of_work(ranks: int, *, zigzag: bool = False) -> list[float]:
    """Blocks of causal scores that each rank computes, where a block is T × T scores of one rank's tokens.

    Args:
        ranks: R.
        zigzag: Cut the sequence into 2 R runs, and give rank r the runs r and 2 R - 1 - r; else R runs in order.

    Returns:
        Of each rank; half a block on the diagonal counts as half.

    Raises:
        ValueError: ``ranks`` is not a positive integer.
    """
    require_count("ranks", ranks)
    if not zigzag:
        return [r + 0.5 for r in range(ranks)]
    return [sum(run + 0.5 for run in (r, 2 * ranks - 1 - r)) / 4 for r in range(ranks)]
