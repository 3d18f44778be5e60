"""Losses over all positives and negatives of an anchor: SupCon, both ways of averaging, and the circle loss.

SupCon's two forms differ in where the mean over positives stands: outside the logarithm or inside. By Jensen's
inequality the inside one is never larger, and its gradient neglects positives that are still far. The circle loss gives
each similarity its own weight, the further it is from where it should be the more, and takes no gradient through it.

Anchors without a positive are left out of the mean, and for the circle loss those without a negative; where none is
left, the loss is 0 with a gradient of zeros. What is refused is said in :mod:`kb.contrastive.inputs`.

Sources: Khosla et al. 2020, arXiv 2004.11362, equations 2 and 3; Sun et al. 2020, arXiv 2002.10857, equations 5 to 8.
Shapes: N rows, A anchors, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.contrastive.geometry import cosines, unit_rows
from kb.contrastive.inputs import classes, embeddings, nothing, require_positive

AVERAGES = ("out", "in")


def supcon_loss(x_ND: Tensor, labels_N: Tensor, *, temperature: float | Tensor = 0.1, average: str = "out") -> Tensor:
    """Mean over anchors of minus the mean log-probability of their positives among all other rows, by cosine.

    With the average "in" it is minus the logarithm of the mean probability.
    """
    x = embeddings("x_ND", x_ND)
    same_NN, different_NN = classes(labels_N, len(x))
    require_positive("temperature", temperature)
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {', '.join(AVERAGES)}, got {average!r}")
    anchors = same_NN.any(1)
    if not anchors.any():
        return nothing(x)
    same_AN, others_AN = same_NN[anchors], (same_NN | different_NN)[anchors]
    log_p_AN = (cosines(x, x) / temperature)[anchors].masked_fill(~others_AN, -torch.inf).log_softmax(1)
    positives_A = same_AN.sum(1).to(x.dtype)
    if average == "out":
        return -(log_p_AN.masked_fill(~same_AN, 0).sum(1) / positives_A).mean()
    return -(log_p_AN.masked_fill(~same_AN, -torch.inf).logsumexp(1) - positives_A.log()).mean()


def supcon_loss_loop(x_ND: Tensor, labels_N: Tensor, *, temperature: float = 0.1, average: str = "out") -> Tensor:
    """Reference: one anchor, one positive at a time."""
    x, terms = unit_rows(x_ND), []
    for i in range(len(x)):
        others = [k for k in range(len(x)) if k != i]
        positives = [k for k in others if labels_N[k] == labels_N[i]]
        if positives:
            total = torch.stack([(x[i] @ x[k] / temperature).exp() for k in others]).sum()
            p = torch.stack([(x[i] @ x[k] / temperature).exp() / total for k in positives])
            terms.append(-p.log().mean() if average == "out" else -p.mean().log())
    return torch.stack(terms).mean()


def circle_loss(x_ND: Tensor, labels_N: Tensor, *, margin: float = 0.4, scale: float = 80.0) -> Tensor:
    """Mean over anchors of log(1 + Σ exp(γ αₙ (sₙ - Δₙ)) Σ exp(-γ αₚ (sₚ - Δₚ))), by cosine.

    Similarities are drawn to Oₚ = 1 + m and Oₙ = -m, and the boundary lies at Δₚ = 1 - m and Δₙ = m; the weights
    αₚ = max(0, Oₚ - sₚ) and αₙ = max(0, sₙ - Oₙ) are constants to the gradient. m is the margin, γ the scale.
    """
    x = embeddings("x_ND", x_ND)
    same_NN, different_NN = classes(labels_N, len(x))
    require_positive("margin", margin)
    require_positive("scale", scale)
    anchors = same_NN.any(1) & different_NN.any(1)
    if not anchors.any():
        return nothing(x)
    s_AN = cosines(x, x)[anchors]
    pull_AN = -scale * (1 + margin - s_AN.detach()).clamp_min(0) * (s_AN - (1 - margin))
    push_AN = scale * (s_AN.detach() + margin).clamp_min(0) * (s_AN - margin)
    pull_A = pull_AN.masked_fill(~same_NN[anchors], -torch.inf).logsumexp(1)
    push_A = push_AN.masked_fill(~different_NN[anchors], -torch.inf).logsumexp(1)
    return F.softplus(pull_A + push_A).mean()


def circle_loss_loop(x_ND: Tensor, labels_N: Tensor, *, margin: float = 0.4, scale: float = 80.0) -> Tensor:
    """Reference: one anchor, one similarity at a time."""
    x, terms = unit_rows(x_ND), []
    for i in range(len(x)):
        pulls, pushes = [], []
        for k in range(len(x)):
            s = x[i] @ x[k]
            if labels_N[k] != labels_N[i]:
                pushes.append((scale * (s.detach() + margin).clamp_min(0) * (s - margin)).exp())
            elif k != i:
                pulls.append((-scale * (1 + margin - s.detach()).clamp_min(0) * (s - (1 - margin))).exp())
        if pulls and pushes:
            terms.append(torch.log1p(torch.stack(pulls).sum() * torch.stack(pushes).sum()))
    return torch.stack(terms).mean()
