"""Losses without negatives: BYOL's regression onto a second network, and VICReg's three terms.

Pulling pairs together alone has a perfect answer, all points in one. BYOL and SimSiam make it hard to reach, by a
predictor on one side and no gradient on the other; VICReg forbids it in so many words, as each column must keep a
standard deviation of 1 and no two columns may agree. Unusual: VICReg's terms follow the authors' code, which divides
the invariance by N D where the paper divides by N, and halves the variance term; its weights 25, 25, 1 belong to that.
What is refused is said in :mod:`kb.contrastive.inputs`.

Sources: Grill et al. 2020, BYOL, arXiv 2006.07733, section 3.1; Chen and He 2020, SimSiam, arXiv 2011.10566, section 3;
Bardes et al. 2021, VICReg, arXiv 2105.04906, equations 1 to 6, and its code.
Shapes: N pairs, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kb.arguments import is_number
from kb.contrastive.geometry import unit_rows
from kb.contrastive.inputs import pairs, require_number


def byol_loss(prediction_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Mean of ‖p - z‖² at length 1, which is 2 - 2 cos; no gradient reaches the target."""
    prediction, target = pairs("prediction_ND", prediction_ND, "target_ND", target_ND)
    return (2 - 2 * (unit_rows(prediction) * unit_rows(target.detach())).sum(1)).mean()


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, *, momentum: float) -> None:
    """Move a target's weights towards the online network's: momentum times its own, and the rest of theirs.

    Raises:
        ValueError: the momentum is not from 0 to 1, or the two have other parameters.
    """
    if not is_number(momentum) or not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be a number from 0 to 1, got {momentum!r}")
    slow, fast = dict(target.named_parameters()), dict(online.named_parameters())
    if {name: p.shape for name, p in slow.items()} != {name: p.shape for name, p in fast.items()}:
        raise ValueError("target and online must have parameters of the same names and shapes")
    for name, parameter in slow.items():
        parameter.lerp_(fast[name], 1 - momentum)


@dataclass(frozen=True)
class VICReg:
    """The three terms, before they are weighted, and the loss.

    Attributes:
        invariance: Mean squared difference of the two views, over N D.
        variance: Mean over columns, and over both views, of max(0, 1 - std).
        covariance: Sum over pairs of columns of their squared covariance, over D; of both views together.
        total: The weighted sum.
    """

    invariance: Tensor
    variance: Tensor
    covariance: Tensor
    total: Tensor


def vicreg_loss(a_ND: Tensor, b_ND: Tensor, *, weights: tuple[float, float, float] = (25.0, 25.0, 1.0)) -> VICReg:
    """Invariance, variance and covariance of two views of at least two rows, taken as they are."""
    a, b = pairs("a_ND", a_ND, "b_ND", b_ND)
    if len(weights) != 3:
        raise ValueError(f"weights must be three, of invariance, variance and covariance, got {weights!r}")
    for name, weight in zip(("invariance", "variance", "covariance"), weights, strict=True):
        require_number(f"the weight of the {name}", weight, least=0)
    if len(a) < 2:
        raise ValueError(f"a_ND must have at least two rows, as a variance is taken, got {len(a)}")
    spreads, mixes = zip(*(_spread(view) for view in (a, b)), strict=True)
    terms = (a - b).square().mean(), sum(spreads) / 2, sum(mixes)
    return VICReg(*terms, sum(weight * term for weight, term in zip(weights, terms, strict=True)))


def _spread(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    centred = x_ND - x_ND.mean(0)
    with torch.autocast(x_ND.device.type, enabled=False):
        covariance_DD = centred.T @ centred / (len(x_ND) - 1)
    std_D = (covariance_DD.diagonal() + 1e-4).sqrt()
    off_DD = covariance_DD - torch.diag(covariance_DD.diagonal())
    return (1 - std_D).clamp_min(0).mean(), off_DD.square().sum() / x_ND.shape[1]


def vicreg_loss_loop(a_ND: Tensor, b_ND: Tensor, *, weights: tuple[float, float, float] = (25.0, 25.0, 1.0)) -> Tensor:
    """Reference: one column, one pair of columns at a time."""
    count, width = a_ND.shape
    total = weights[0] * (a_ND - b_ND).square().sum() / (count * width)
    for view in (a_ND, b_ND):
        columns = [column - column.mean() for column in view.T]
        for i in range(width):
            std = (columns[i].square().sum() / (count - 1) + 1e-4).sqrt()
            total = total + weights[1] * (1 - std).clamp_min(0) / width / 2
            for j in range(width):
                if i != j:
                    total = total + weights[2] * (columns[i] @ columns[j] / (count - 1)).square() / width
    return total
