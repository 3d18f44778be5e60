"""Gradients of the losses by their formulas, for a page to read and a test to hold autograd against.

Losses on cosines come in two steps: what the loss says of each similarity, and one rule that carries it to the rows.
Normalising takes away the part of a gradient that points along the row, and divides by its length, so that a longer row
turns less. Unusual: nothing here uses autograd, and nothing is checked.

Sources: the papers of the losses; Wang and Liu 2021, arXiv 2012.09740, section 3.2 (InfoNCE); Khosla et al. 2020, arXiv
2004.11362, supplementary material (SupCon); Sun et al. 2020, arXiv 2002.10857, section 3 (circle).
Shapes: N rows of x, M rows of y, D width, T triplets; s are cosines.
"""

import torch
from torch import Tensor

from kb.contrastive.geometry import cosines, distances, unit_rows
from kb.contrastive.inputs import classes


def to_rows(gradient_NM: Tensor, x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """From the gradient in all cosines of x with y to the gradient in x, y held fixed: [N, D]."""
    x = unit_rows(x_ND)
    g_ND = gradient_NM @ unit_rows(y_MD)
    return (g_ND - (g_ND * x).sum(1, keepdim=True) * x) / x_ND.norm(dim=1, keepdim=True)


def to_both(gradient_NN: Tensor, x_ND: Tensor) -> Tensor:
    """The same where rows are compared with each other, so that each stands on both sides: [N, D]."""
    return to_rows(gradient_NN + gradient_NN.T, x_ND, x_ND)


def pair_gradient(x_ND: Tensor, labels_N: Tensor, *, margin: float = 1.0) -> Tensor:
    """Of the pair loss in x: towards the class by the whole distance, away from others by what the margin lacks."""
    d_NN = distances(x_ND)
    same_NN, different_NN = classes(labels_N, len(x_ND))
    slope_NN = torch.where(different_NN, -(margin - d_NN).clamp_min(0), torch.where(same_NN, d_NN, 0))
    direction_NND = (x_ND[:, None] - x_ND[None]) / torch.where(d_NN > 0, d_NN, 1)[..., None]
    return (slope_NN[..., None] * direction_NND).sum(1) / (len(x_ND) * (len(x_ND) - 1) / 2)


def triplet_gradient(x_ND: Tensor, triplets_T3: Tensor, *, margin: float = 0.2) -> Tensor:
    """Of the triplet loss on squared distances in x: 2(n - p) to the anchor, 2(p - a) and 2(a - n) to the others."""
    out_ND, d_NN = torch.zeros_like(x_ND), distances(x_ND, squared=True)
    for a, p, n in triplets_T3.tolist():
        if d_NN[a, p] - d_NN[a, n] + margin > 0:
            out_ND[a] += 2 * (x_ND[n] - x_ND[p])
            out_ND[p] += 2 * (x_ND[p] - x_ND[a])
            out_ND[n] += 2 * (x_ND[a] - x_ND[n])
    return out_ND / len(triplets_T3)


def info_nce_gradient(s_NN: Tensor, *, temperature: float) -> Tensor:
    """Of InfoNCE in the cosines of queries with positives: (p - y) / τ, over N."""
    return ((s_NN / temperature).softmax(1) - torch.eye(len(s_NN), dtype=s_NN.dtype)) / temperature / len(s_NN)


def supcon_gradient(s_NN: Tensor, labels_N: Tensor, *, temperature: float, average: str = "out") -> Tensor:
    """Of SupCon in the cosines: (p - w) / τ, over the anchors; w is 0 but for positives.

    Outside the logarithm w is 1/|P|; inside it is p over the positives' sum of p, so that one that is far has none.
    """
    same_NN, different_NN = classes(labels_N, len(s_NN))
    anchors_N1 = same_NN.any(1, keepdim=True)
    p_NN = (s_NN / temperature).masked_fill(~(same_NN | different_NN), -torch.inf).softmax(1)
    wanted_NN = torch.where(same_NN, 1 if average == "out" else p_NN, 0)
    wanted_NN = wanted_NN / torch.where(anchors_N1, wanted_NN.sum(1, keepdim=True), 1)
    return torch.where(anchors_N1, p_NN - wanted_NN, 0) / temperature / anchors_N1.sum()


def circle_gradient(s_NN: Tensor, labels_N: Tensor, *, margin: float = 0.4, scale: float = 80.0) -> Tensor:
    """Of the circle loss in the cosines: γ α times a softmax over the anchor's positives, or negatives, times σ."""
    same_NN, different_NN = classes(labels_N, len(s_NN))
    anchors_N1 = (same_NN.any(1) & different_NN.any(1))[:, None]
    out_NN, total_N1 = torch.zeros_like(s_NN), torch.zeros_like(s_NN[:, :1])
    for mask_NN, sign, weight_NN, middle in (
        (same_NN, -1.0, (1 + margin - s_NN).clamp_min(0), 1 - margin),
        (different_NN, 1.0, (s_NN + margin).clamp_min(0), margin),
    ):
        logit_NN = (sign * scale * weight_NN * (s_NN - middle)).masked_fill(~mask_NN, -torch.inf)
        total_N1 = total_N1 + logit_NN.logsumexp(1, keepdim=True)
        out_NN = out_NN + torch.where(mask_NN, sign * scale * weight_NN * logit_NN.softmax(1), 0)
    return torch.where(anchors_N1, out_NN * total_N1.sigmoid(), 0) / anchors_N1.sum()


def sigmoid_gradient(s_NN: Tensor, *, scale: float = 10.0, bias: float = -10.0) -> Tensor:
    """Of SigLIP's loss in the cosines: scale (σ(z) - y), over N; no pair looks at another."""
    return scale * ((scale * s_NN + bias).sigmoid() - torch.eye(len(s_NN), dtype=s_NN.dtype)) / len(s_NN)


def byol_gradient(prediction_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Of 2 - 2 cos in the prediction: it is turned towards the target, and nothing pushes it away from anything."""
    n = len(prediction_ND)
    return to_rows(-2 * torch.eye(n, dtype=prediction_ND.dtype) / n, prediction_ND, target_ND)


def uniformity_gradient(x_ND: Tensor) -> Tensor:
    """Of the uniformity in x: pairs push each other apart, shared by a softmax of 4 times their cosine."""
    s_NN = cosines(x_ND, x_ND)
    pairs_NN = torch.triu(torch.ones_like(s_NN, dtype=torch.bool), diagonal=1)
    return to_both(4 * (4 * s_NN).masked_fill(~pairs_NN, -torch.inf).flatten().softmax(0).view_as(s_NN), x_ND)


def vicreg_gradient(a_ND: Tensor, b_ND: Tensor, *, weights: tuple[float, float, float] = (25.0, 25.0, 1.0)) -> Tensor:
    """Of VICReg's loss in the first view: pull to the other view, spread narrow columns, unmix columns that agree."""
    count, width = a_ND.shape
    centred = a_ND - a_ND.mean(0)
    covariance_DD = centred.T @ centred / (count - 1)
    std_D = (covariance_DD.diagonal() + 1e-4).sqrt()
    off_DD = covariance_DD - torch.diag(covariance_DD.diagonal())
    pull = 2 * (a_ND - b_ND) / (count * width)
    spread = torch.where(std_D < 1, -centred / std_D, 0) / (count - 1) / (2 * width)
    return weights[0] * pull + weights[1] * spread + weights[2] * 4 * centred @ off_DD / (count - 1) / width
