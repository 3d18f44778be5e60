"""Learning from comparisons without a reward model: DPO, and three relatives that change one thing each.

Unusual: all take log-probabilities of whole responses, so that a page can compute them by hand, and give one loss a
pair; ``dpo_gradient`` is the closed form, for the test to hold autograd against.

Sources: Rafailov et al. 2023, Direct Preference Optimization, arXiv 2305.18290, equation 7 and the gradient after it;
Azar et al. 2023, arXiv 2310.12036, equation 17 (IPO); Ethayarajh et al. 2024, arXiv 2402.01306, section 4.1 (KTO);
Meng et al. 2024, arXiv 2405.14734, equation 6 (SimPO).
Shapes: B pairs or responses.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.alignment.sequences import require_same_shape
from kb.arguments import is_number, require_positive


def implicit_reward(log_probs_B: Tensor, reference_log_probs_B: Tensor, *, beta: float) -> Tensor:
    """The reward that a policy would be optimal for, up to a constant: beta (log pi - log pi_ref) of each response.

    Raises:
        ValueError: shapes differ, or beta is not a number above 0.
    """
    require_same_shape(log_probs=log_probs_B, reference_log_probs=reference_log_probs_B)
    require_positive("beta", beta)
    return beta * (log_probs_B - reference_log_probs_B)


def dpo_loss(
    better_B: Tensor, worse_B: Tensor, reference_better_B: Tensor, reference_worse_B: Tensor, *, beta: float = 0.1
) -> Tensor:
    """-log sigmoid of the difference of implicit rewards, one number a pair.

    Args:
        better_B: log pi of the preferred responses, summed over their tokens, with gradient.
        worse_B: Of the others.
        reference_better_B: The same under the reference, as numbers.
        reference_worse_B: The same under the reference, as numbers.
        beta: Price of a nat in the objective that it solves.

    Raises:
        ValueError: shapes differ, or beta is not a number above 0.
    """
    _require_pairs(better_B, worse_B, reference_better_B, reference_worse_B)
    gain_B = implicit_reward(better_B, reference_better_B.detach(), beta=beta)
    loss_B = implicit_reward(worse_B, reference_worse_B.detach(), beta=beta)
    return -F.logsigmoid(gain_B - loss_B)


def dpo_gradient(
    better_B: Tensor, worse_B: Tensor, reference_better_B: Tensor, reference_worse_B: Tensor, *, beta: float = 0.1
) -> Tensor:
    """The derivative of the loss by log pi(better), -beta sigmoid(r(worse) - r(better)); that of the worse is minus it.

    Raises:
        ValueError: as :func:`dpo_loss`.
    """
    _require_pairs(better_B, worse_B, reference_better_B, reference_worse_B)
    gain_B = implicit_reward(better_B, reference_better_B, beta=beta)
    loss_B = implicit_reward(worse_B, reference_worse_B, beta=beta)
    return -beta * torch.sigmoid(loss_B - gain_B)


def ipo_loss(
    better_B: Tensor, worse_B: Tensor, reference_better_B: Tensor, reference_worse_B: Tensor, *, beta: float = 0.1
) -> Tensor:
    """(difference of log-ratios - 1 / (2 beta))²: a target for the margin, where DPO's grows without end.

    trl hands in means over tokens instead of sums.

    Raises:
        ValueError: as :func:`dpo_loss`.
    """
    _require_pairs(better_B, worse_B, reference_better_B, reference_worse_B)
    require_positive("beta", beta)
    margin_B = (better_B - reference_better_B.detach()) - (worse_B - reference_worse_B.detach())
    return (margin_B - 1 / (2 * beta)) ** 2


def simpo_loss(better_B: Tensor, worse_B: Tensor, *, beta: float = 2.0, gamma: float = 1.0) -> Tensor:
    """-log sigmoid(beta (mean log pi better - mean log pi worse) - gamma): means over tokens, and no reference.

    Args:
        better_B: log pi of the preferred responses, *divided by their number of tokens*.
        worse_B: Of the others.
        beta: Scale.
        gamma: Margin.

    Raises:
        ValueError: shapes differ, beta is not above 0, or gamma is no number.
    """
    require_same_shape(better=better_B, worse=worse_B)
    require_positive("beta", beta)
    if not is_number(gamma):
        raise ValueError(f"gamma must be a number, got {gamma!r}")
    return -F.logsigmoid(beta * (better_B - worse_B) - gamma)


def kto_loss(
    log_probs_B: Tensor,
    reference_log_probs_B: Tensor,
    desirable_B: Tensor,
    *,
    anchor: float | Tensor,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman and Tversky's value of single responses, marked good or bad, one loss each: no pairs are needed.

    Args:
        log_probs_B: log pi of the responses, summed over tokens, with gradient.
        reference_log_probs_B: The same under the reference.
        desirable_B: bool, which are good.
        anchor: z_0, the estimated KL in nats, at least 0, without gradient.
        beta: Scale of the log-ratio.
        desirable_weight: lambda_D.
        undesirable_weight: lambda_U.

    Raises:
        TypeError: the marks are not boolean.
        ValueError: shapes differ, or beta is not above 0.
    """
    if desirable_B.dtype != torch.bool:
        raise TypeError(f"desirable must be boolean, got {desirable_B.dtype}")
    require_same_shape(log_probs=log_probs_B, reference_log_probs=reference_log_probs_B, desirable=desirable_B)
    require_positive("beta", beta)
    over_B = beta * (log_probs_B - reference_log_probs_B.detach() - anchor)
    good_B = desirable_weight * (1 - torch.sigmoid(over_B))
    bad_B = undesirable_weight * (1 - torch.sigmoid(-over_B))
    return torch.where(desirable_B, good_B, bad_B)


def _require_pairs(better: Tensor, worse: Tensor, reference_better: Tensor, reference_worse: Tensor) -> None:
    require_same_shape(better=better, worse=worse, reference_better=reference_better, reference_worse=reference_worse)
