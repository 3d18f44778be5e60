"""AUC, recall and NDCG of tensors, on whatever device they are; numbers leave it only when you ask for them.

Unusual: rows are counted in 64 bits. A running sum in float32 stops at 2^24, so that an AUC of 20 million rows summed
that way is wrong without a word. The AUC is float64, except on devices that have none; recall is float32, and NDCG has
the dtype of the gains, or float32. None has a gradient: an order does not change with a small step. Import this module
by name; :mod:`kb.metrics` itself needs no torch.

Sources: as of :mod:`kb.metrics.pairs` and :mod:`kb.metrics.ranking`. Shapes: N rows, Q queries, I items, k places.
"""

import torch
from torch import Tensor

from kb.arguments import require_count


def roc_auc_score(y_true: Tensor, y_score: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """The area under the ROC curve, a scalar on the tensors' device; NaN where a class is missing.

    Args:
        y_true: 0 and 1, or booleans, [N].
        y_score: Finite numbers [N].
        sample_weight: Weights of at least 0, [N].

    Raises:
        ValueError: not [N] each, empty, other labels, a score that is not finite, or a negative weight.
    """
    shapes = {tuple(one.shape) for one in (y_true, y_score, sample_weight) if one is not None}
    if len(shapes) != 1 or y_score.ndim != 1 or not y_score.numel():
        raise ValueError(f"wanted tensors [N] of one length, at least 1, got {sorted(shapes)}")
    if not bool(((y_true == 0) | (y_true == 1)).all()) or not bool(y_score.isfinite().all()):
        raise ValueError("y_true must be 0 and 1, and y_score finite")
    real = torch.float32 if y_score.device.type == "mps" else torch.float64
    weight_N = torch.ones_like(y_true, dtype=torch.int64) if sample_weight is None else sample_weight.to(real)
    if not bool((weight_N >= 0).all()):  # NaN is not either
        raise ValueError("sample_weight must be at least 0")
    sorted_N, order_N = y_score.detach().sort(stable=True)
    positive_N, weight_N = y_true[order_N] == 1, weight_N[order_N]
    none_N = torch.zeros_like(weight_N)
    below_N = torch.where(positive_N, none_N, weight_N).cumsum(0)  # weight of negatives up to here
    starts_N = torch.ones_like(positive_N)
    starts_N[1:] = sorted_N[1:] != sorted_N[:-1]
    run_N = starts_N.cumsum(0) - 1
    last_R = torch.cat([starts_N.nonzero()[1:, 0] - 1, torch.tensor([len(run_N) - 1], device=run_N.device)])
    upto_R = below_N[last_R].to(real)
    before_R = torch.cat([upto_R.new_zeros(1), upto_R[:-1]])
    ones_R = torch.zeros_like(upto_R).index_add_(0, run_N, torch.where(positive_N, weight_N, none_N).to(real))
    return (ones_R * (before_R + upto_R)).sum() / 2 / (ones_R.sum() * upto_R[-1])


def recall_at_k(y_true: Tensor, y_score: Tensor, k: int) -> Tensor:
    """Relevant items (above 0) in the first k over all relevant ones, [Q]; NaN without one. Ties fall as topk has them.

    Raises:
        ValueError: not [Q, I] each, k is none, a gain is negative or NaN, or a score is NaN.
    """
    relevant_QI = (_gains(y_true, y_score, k) > 0).to(torch.float32)
    return _top(relevant_QI, y_score, k).sum(1) / relevant_QI.sum(1)


def ndcg_at_k(y_true: Tensor, y_score: Tensor, k: int) -> Tensor:
    """Gains over log2(1 + place) in the first k, as a share of the best, [Q]; ties and errors as of recall_at_k."""
    gain_QI = _gains(y_true, y_score, k)
    found_Qk, best_Qk = _top(gain_QI, y_score, k), _top(gain_QI, gain_QI, k)
    discount_k = 1 / torch.log2(2 + torch.arange(found_Qk.shape[1], device=gain_QI.device, dtype=gain_QI.dtype))
    return (found_Qk * discount_k).sum(1) / (best_Qk * discount_k).sum(1)


def _gains(y_true: Tensor, y_score: Tensor, k: int) -> Tensor:
    require_count("k", k)
    if y_true.ndim != 2 or y_true.shape != y_score.shape or bool(y_score.isnan().any()):
        raise ValueError(f"wanted [Q, I] twice and no NaN, got {tuple(y_true.shape)} and {tuple(y_score.shape)}")
    if not bool((y_true >= 0).all()):
        raise ValueError("y_true must be at least 0: gains or relevance")
    return y_true if y_true.is_floating_point() else y_true.to(torch.float32)


def _top(gain_QI: Tensor, score_QI: Tensor, k: int) -> Tensor:
    """The gains of the k highest scores; what is scored minus infinity is not returned and gains nothing."""
    score_Qk, place_Qk = score_QI.topk(min(k, score_QI.shape[1]), dim=1)
    return gain_QI.gather(1, place_Qk) * ~score_Qk.isneginf()
