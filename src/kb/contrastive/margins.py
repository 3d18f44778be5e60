"""Losses with a margin: pairs and triplets of distances, and which triplets are worth a gradient.

A pair loss fixes distances: 0 within a class, at least the margin between classes. A triplet loss fixes their order
alone. Unusual: mining gives rows of indices and holds no gradient, the loss takes distances and those rows. Where there
is nothing to compare (one row, one class, no class of two) the loss is 0 with a gradient of zeros. What is refused is
said in :mod:`kb.contrastive.inputs`.

Sources: Hadsell et al. 2006, Dimensionality Reduction by Learning an Invariant Mapping, equation 4; Schroff et al.
2015, FaceNet, arXiv 1503.03832, equations 2 to 4; Hermans et al. 2017, arXiv 1703.07737, section 2 (batch hard,
soft margin).
Shapes: N rows, D width, P pairs, T triplets of (anchor, positive, negative).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.contrastive.geometry import distances
from kb.contrastive.inputs import classes, embeddings, nothing, require_places, require_positive

MINING = ("all", "hard", "semi-hard")


def pair_loss(x_ND: Tensor, labels_N: Tensor, *, margin: float = 1.0, power: int = 2) -> Tensor:
    """Mean over all pairs of rows: d²/2 within a class, max(0, margin - d)²/2 between classes.

    Rows are taken as they are: normalise them first where lengths shall not matter. With power 1, d and
    max(0, margin - d).
    """
    x = embeddings("x_ND", x_ND)
    same_NN, _ = classes(labels_N, len(x))
    require_positive("margin", margin)
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power!r}")
    if len(x) < 2:
        return nothing(x)
    row_P, column_P = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    d_P, same_P = distances(x)[row_P, column_P], same_NN[row_P, column_P]
    return torch.where(same_P, d_P, (margin - d_P).clamp_min(0)).pow(power).mean() / power


def pair_loss_loop(x_ND: Tensor, labels_N: Tensor, *, margin: float = 1.0, power: int = 2) -> Tensor:
    """Reference: one pair at a time."""
    terms = []
    for i in range(len(x_ND)):
        for j in range(i):
            d = (x_ND[i] - x_ND[j]).norm()
            terms.append((d if labels_N[i] == labels_N[j] else (margin - d).clamp_min(0)) ** power / power)
    return torch.stack(terms).mean()


def mine(distances_NN: Tensor, labels_N: Tensor, kind: str = "all", *, margin: float = 0.2) -> Tensor:
    """Indices [T, 3] of anchor, positive and negative; T is 0 where no row has both.

    Args:
        distances_NN: Between the rows, squared or not.
        labels_N: Class of each row.
        kind: "all"; "hard", each anchor's farthest positive and nearest negative, of equal ones the first; "semi-hard",
            those whose negative lies behind the positive, but by less than the margin.
        margin: Of semi-hard ones, in the unit of the distances.
    """
    d = embeddings("distances_NN", distances_NN).detach()
    if d.shape[0] != d.shape[1] or not torch.isfinite(d).all():
        raise ValueError(f"distances_NN must be square and finite, got {tuple(d.shape)}, from {d.min()} to {d.max()}")
    same_NN, different_NN = classes(labels_N, len(d))
    require_positive("margin", margin)
    if kind not in MINING:
        raise ValueError(f"kind must be one of {', '.join(MINING)}, got {kind!r}")
    if kind == "hard":
        anchors = torch.nonzero(same_NN.any(1) & different_NN.any(1)).flatten()
        farthest = torch.where(same_NN, d, -torch.inf).argmax(1)[anchors]
        nearest = torch.where(different_NN, d, torch.inf).argmin(1)[anchors]
        return torch.stack((anchors, farthest, nearest), dim=1)
    triplets = torch.nonzero(same_NN[:, :, None] & different_NN[:, None, :])
    if kind == "all":
        return triplets
    anchor, positive, negative = triplets.T
    gap = d[anchor, negative] - d[anchor, positive]
    return triplets[(gap > 0) & (gap < margin)]


def mine_loop(distances_NN: Tensor, labels_N: Tensor, kind: str = "all", *, margin: float = 0.2) -> list[list[int]]:
    """Reference: one anchor at a time."""
    d, labels, found = distances_NN.tolist(), labels_N.tolist(), []
    for a in range(len(labels)):
        positives = [i for i in range(len(labels)) if labels[i] == labels[a] and i != a]
        negatives = [i for i in range(len(labels)) if labels[i] != labels[a]]
        if kind == "hard" and positives and negatives:
            found.append([a, max(positives, key=lambda i: d[a][i]), min(negatives, key=lambda i: d[a][i])])
        if kind != "hard":
            both = [(p, n) for p in positives for n in negatives]
            found += [[a, p, n] for p, n in both if kind == "all" or 0 < d[a][n] - d[a][p] < margin]
    return found


def triplet_loss(
    distances_NN: Tensor, triplets_T3: Tensor, *, margin: float | None = 0.2, only_active: bool = False
) -> Tensor:
    """Mean over the triplets of max(0, d(anchor, positive) - d(anchor, negative) + margin).

    Args:
        distances_NN: Between the rows, with gradient: squared as in FaceNet, or not as Hermans et al. advise.
        triplets_T3: As :func:`mine` gives them.
        margin: None for the soft margin, log(1 + exp(d(a, p) - d(a, n))), which never stops pulling.
        only_active: Divide by the number of triplets whose loss is above 0, not by T.
    """
    d = embeddings("distances_NN", distances_NN)
    if d.shape[0] != d.shape[1]:
        raise ValueError(f"distances_NN must be square, got {tuple(d.shape)}")
    require_places("triplets_T3", triplets_T3, len(d), axes=2)
    if triplets_T3.shape[1] != 3:
        raise ValueError(f"triplets_T3 must be [T, 3], got {tuple(triplets_T3.shape)}")
    if margin is not None:
        require_positive("margin", margin)
    anchor, positive, negative = triplets_T3.T
    gap_T = d[anchor, positive] - d[anchor, negative]
    loss_T = F.softplus(gap_T) if margin is None else (gap_T + margin).clamp_min(0)
    count = int((loss_T > 0).sum()) if only_active else len(loss_T)
    return loss_T.sum() / count if count else nothing(d)
