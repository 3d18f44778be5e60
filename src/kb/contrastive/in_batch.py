"""Losses whose negatives are the other rows of the batch: N-pair, InfoNCE, NT-Xent, SigLIP.

The first three are cross-entropy: among the candidates, say which one belongs to the query. Their gradient in a
similarity s_j is (p_j - y_j) / τ. SigLIP asks of every pair alone whether it belongs together, and sums over N² pairs
but divides by N; as N - 1 of a row's N answers are no, it begins with a bias of -10. Unusual: extra negatives are one
argument for SimCSE's hard ones, a queue or rows of other devices; temperature, scale and bias may be tensors, and are
then learned. What is refused is said in :mod:`kb.contrastive.inputs`.

Sources: Sohn 2016, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, equation 7, section 3.2.2
(length penalty); van den Oord et al. 2018, arXiv 1807.03748, equation 4; Chen et al. 2020, arXiv 2002.05709, equation
1; Zhai et al. 2023, SigLIP, arXiv 2303.15343, section 3.2 and algorithm 1 (t' = log 10 and b = -10 at the start).
Shapes: N queries, M extra negatives, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.contrastive.geometry import cosines, unit_rows
from kb.contrastive.inputs import embeddings, pairs, require_number, require_positive


def info_nce(
    query_ND: Tensor,
    positive_ND: Tensor,
    negatives_MD: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.05,
    symmetric: bool = False,
) -> Tensor:
    """Mean cross-entropy of finding each query's positive among all positives and the extra negatives, by cosine.

    Args:
        query_ND: Queries.
        positive_ND: Row i belongs to query i; the other rows are its negatives.
        negatives_MD: Rows that belong to no query.
        temperature: What cosines are divided by.
        symmetric: Also find each positive's query among all queries, and take the mean, as CLIP does.
    """
    query, positive = pairs("query_ND", query_ND, "positive_ND", positive_ND)
    require_positive("temperature", temperature)
    if symmetric and negatives_MD is not None:
        raise ValueError("symmetric has no use for negatives_MD, which are candidates of one side; got both")
    candidates = positive
    if negatives_MD is not None:
        candidates = torch.cat((positive, embeddings("negatives_MD", negatives_MD, like=query)))
    logits_NK = cosines(query, candidates) / temperature
    target_N = torch.arange(len(query), device=query.device)
    loss = F.cross_entropy(logits_NK, target_N)
    return (loss + F.cross_entropy(logits_NK.T, target_N)) / 2 if symmetric else loss


def info_nce_loop(
    query_ND: Tensor, positive_ND: Tensor, negatives_MD: Tensor | None = None, *, temperature: float = 0.05
) -> Tensor:
    """Reference: one query, one candidate at a time."""
    query, terms = unit_rows(query_ND), []
    candidates = unit_rows(positive_ND if negatives_MD is None else torch.cat((positive_ND, negatives_MD)))
    for i in range(len(query)):
        scores = torch.stack([query[i] @ candidate / temperature for candidate in candidates])
        terms.append(scores.logsumexp(0) - scores[i])
    return torch.stack(terms).mean()


def nt_xent(a_ND: Tensor, b_ND: Tensor, *, temperature: float | Tensor = 0.5) -> Tensor:
    """SimCLR's loss: all 2N views are queries, each among the other 2N - 1, itself left out."""
    a, b = pairs("a_ND", a_ND, "b_ND", b_ND)
    require_positive("temperature", temperature)
    views = torch.cat((a, b))
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    logits = (cosines(views, views) / temperature).masked_fill(itself, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(views), device=views.device).roll(len(a)))


def nt_xent_loop(a_ND: Tensor, b_ND: Tensor, *, temperature: float = 0.5) -> Tensor:
    """Reference: one view at a time."""
    count, views, terms = len(a_ND), unit_rows(torch.cat((a_ND, b_ND))), []
    for i in range(2 * count):
        others = torch.stack([views[i] @ views[k] / temperature for k in range(2 * count) if k != i])
        terms.append(others.logsumexp(0) - views[i] @ views[(i + count) % (2 * count)] / temperature)
    return torch.stack(terms).mean()


def n_pair_loss(anchor_ND: Tensor, positive_ND: Tensor, *, length_weight: float = 0.0) -> Tensor:
    """Mean of log(1 + sum over j of exp(aᵢ·pⱼ - aᵢ·pᵢ)), one pair from each of N classes, products not normalised.

    ``length_weight`` is that of the mean squared length of all 2N rows, which are otherwise free to grow.
    """
    anchor, positive = pairs("anchor_ND", anchor_ND, "positive_ND", positive_ND)
    require_number("length_weight", length_weight, least=0)
    with torch.autocast(anchor.device.type, enabled=False):
        products_NN = anchor @ positive.T
    loss = F.cross_entropy(products_NN, torch.arange(len(anchor), device=anchor.device))
    return loss + length_weight * torch.cat((anchor, positive)).square().sum(1).mean()


def n_pair_loss_loop(anchor_ND: Tensor, positive_ND: Tensor) -> Tensor:
    """Reference: one anchor at a time, without the penalty; of two classes at least."""
    terms = []
    for i in range(len(anchor_ND)):
        own = anchor_ND[i] @ positive_ND[i]
        others = [(anchor_ND[i] @ positive_ND[j] - own).exp() for j in range(len(anchor_ND)) if j != i]
        terms.append(torch.log1p(torch.stack(others).sum()))
    return torch.stack(terms).mean()


def sigmoid_loss(a_ND: Tensor, b_ND: Tensor, *, scale: float | Tensor = 10.0, bias: float | Tensor = -10.0) -> Tensor:
    """SigLIP's: the sum over all pairs (i, j) of -log σ(±(scale · cosine + bias)), plus where i = j, over N."""
    a, b = pairs("a_ND", a_ND, "b_ND", b_ND)
    require_positive("scale", scale)
    require_number("bias", bias)
    sign_NN = 2 * torch.eye(len(a), device=a.device, dtype=a.dtype) - 1
    return -F.logsigmoid(sign_NN * (cosines(a, b) * scale + bias)).sum() / len(a)


def sigmoid_loss_loop(a_ND: Tensor, b_ND: Tensor, *, scale: float = 10.0, bias: float = -10.0) -> Tensor:
    """Reference: one pair at a time."""
    a, b, terms = unit_rows(a_ND), unit_rows(b_ND), []
    for i in range(len(a)):
        for j in range(len(b)):
            logit = scale * (a[i] @ b[j]) + bias
            terms.append(-torch.sigmoid(logit if i == j else -logit).log())
    return torch.stack(terms).sum() / len(a)
