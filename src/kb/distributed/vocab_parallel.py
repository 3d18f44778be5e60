"""The two ends of a model under tensor parallelism: embedding and cross-entropy with the vocabulary cut over the ranks.

A rank looks up the tokens that are in its part, gives zeros for the others, and the sum over ranks is the embedding.
At the other end the logits [B, T, V] are never gathered: of each token, three numbers travel (the maximum, the sum of
exponentials, the logit of the target) in place of V.

Source: Shoeybi et al. 2019, Megatron-LM, section 3 (input and output embedding; cross-entropy fused with the product).
Shapes: N tokens, V vocabulary, W = V / R of it on this rank, D width; ``...`` any leading axes.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from kb.distributed.collectives import Collectives
from kb.distributed.tensor_parallel import share_of, sum_over_ranks


class VocabParallelEmbedding(nn.Module):
    """An embedding of which this rank holds V / R rows.

    Args:
        whole: The embedding, equal on all ranks; its share is copied.
        comm: Of the ranks.

    Raises:
        ValueError: the ranks do not divide the vocabulary: pad it; or the embedding has a row for padding, a largest
            norm, or gradients scaled by frequency, which the share would not have.
    """

    def __init__(self, whole: nn.Embedding, comm: Collectives) -> None:
        super().__init__()
        if whole.padding_idx is not None or whole.max_norm is not None or whole.scale_grad_by_freq:
            raise ValueError("whole must be without padding_idx, max_norm and scale_grad_by_freq")
        self.vocabulary = whole.num_embeddings
        self.mine, self.comm = share_of("tokens of the vocabulary", self.vocabulary, comm), comm
        self.weight = nn.Parameter(whole.weight.detach()[self.mine].clone())

    def forward(self, tokens: Tensor) -> Tensor:
        """Integer ids [...] to [..., D], equal on all ranks.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocabulary:
            raise ValueError(f"token ids must be in 0 to {self.vocabulary - 1}, got {tokens}")
        local, absent = _local(tokens, self.mine)
        rows = F.embedding(local, self.weight).masked_fill(absent[..., None], 0.0)
        return sum_over_ranks(rows, self.comm)


def _local(tokens: Tensor, mine: slice) -> tuple[Tensor, Tensor]:
    """Ids within this rank's part, 0 for those of others, and which are of others."""
    absent = (tokens < mine.start) | (tokens >= mine.stop)
    return (tokens - mine.start).masked_fill(absent, 0), absent


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NW: Tensor, targets_N: Tensor, comm: Collectives) -> Tensor:
        W = logits_NW.shape[1]
        local_N, absent_N = _local(targets_N, slice(comm.rank * W, (comm.rank + 1) * W))
        largest_N = logits_NW.max(dim=1).values
        comm.all_reduce(largest_N, dist.ReduceOp.MAX)
        shifted_NW = logits_NW - largest_N[:, None]
        target_N = shifted_NW.gather(1, local_N[:, None])[:, 0].masked_fill(absent_N, 0.0)
        exponentials_NW = shifted_NW.exp()
        both_2N = torch.stack([exponentials_NW.sum(1), target_N])
        comm.all_reduce(both_2N)
        sum_N, target_N = both_2N
        ctx.save_for_backward(exponentials_NW / sum_N[:, None], local_N, absent_N)
        return sum_N.log() - target_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        probabilities_NW, local_N, absent_N = ctx.saved_tensors
        one_hot_NW = F.one_hot(local_N, probabilities_NW.shape[1]).masked_fill(absent_N[:, None], 0)
        return (probabilities_NW - one_hot_NW) * gradients[0][:, None], None, None


def vocab_parallel_cross_entropy(logits_NW: Tensor, targets_N: Tensor, comm: Collectives) -> Tensor:
    """The cross-entropy of each token, with the logits of this rank's part of the vocabulary alone.

    Args:
        logits_NW: This rank's V / R columns.
        targets_N: Ids (int64) in the whole vocabulary, equal on all ranks.
        comm: Of the ranks.

    Returns:
        [N], equal on all ranks. The gradient of the logits stays on its rank: no exchange backwards.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        ValueError: the shapes do not fit, or a target is no int64 or outside the vocabulary.
    """
    if targets_N.dtype != torch.int64:
        raise ValueError(f"targets must be int64, got {targets_N.dtype}")
    if logits_NW.ndim != 2 or targets_N.shape != logits_NW.shape[:1]:
        raise ValueError(
            f"wanted logits [N, V / R] and targets [N], got {tuple(logits_NW.shape)}, {tuple(targets_N.shape)}"
        )
    vocabulary = logits_NW.shape[1] * comm.ranks
    if targets_N.numel() and not 0 <= int(targets_N.min()) <= int(targets_N.max()) < vocabulary:
        raise ValueError(f"targets must be in 0 to {vocabulary - 1}, got {targets_N}")
    losses: Tensor = _CrossEntropy.apply(logits_NW, targets_N, comm)
    return losses
