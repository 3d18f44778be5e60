"""PPO's two clipped losses, and InstructGPT's mixture with pretraining.

Unusual: what is watched in a run (how many choices are clipped, how far the policy has moved) comes back beside the
loss in a frozen record; nothing is stored. The clip acts on one side only: a choice that has moved *against* its
advantage keeps its gradient however far it is.

Sources: Schulman et al. 2017, Proximal Policy Optimization, arXiv 1707.06347, equation 7; the clipped value loss is of
their code, not of the paper (Huang et al. 2022, The 37 Implementation Details of PPO, detail 9); Ouyang et al. 2022,
equation 2 (PPO-ptx).
Shapes: B sequences, S choices.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kb.alignment.rewards import kl_estimate
from kb.alignment.sequences import masked_mean, require_mask, require_same_shape
from kb.arguments import is_number


@dataclass(frozen=True)
class ClippedLoss:
    """A loss and what is watched with it.

    Attributes:
        loss: To be minimised, with its gradient.
        clip_fraction: Share of choices where the clipped form is the larger loss, so that their gradient is 0.
        moved: Schulman's k3 of how far the policy has moved since it sampled, nats a choice; 0 for values.
    """

    loss: Tensor
    clip_fraction: Tensor
    moved: Tensor


def policy_loss(
    log_probs_BS: Tensor, old_log_probs_BS: Tensor, advantages_BS: Tensor, mask_BS: Tensor, *, clip: float = 0.2
) -> ClippedLoss:
    """Mean over choices of -min(ratio A, clip(ratio, 1 - clip, 1 + clip) A).

    Args:
        log_probs_BS: Of the policy as it is now, with gradient.
        old_log_probs_BS: Of the policy that has sampled, as numbers.
        advantages_BS: Whitened or not, as numbers.
        mask_BS: Choices of the responses.
        clip: Their epsilon.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: shapes differ, or the clip is not a number above 0.
    """
    require_same_shape(log_probs=log_probs_BS, old_log_probs=old_log_probs_BS, advantages=advantages_BS)
    require_mask("mask", mask_BS, log_probs_BS)
    _require_clip(clip)
    old_BS, advantages_BS = old_log_probs_BS.detach(), advantages_BS.detach()
    # Masked before the exponential: an infinite ratio at a padded place would make the gradient NaN.
    log_ratio_BS = torch.where(mask_BS, log_probs_BS - old_BS, 0.0)
    ratio_BS = log_ratio_BS.exp()
    plain_BS = -advantages_BS * ratio_BS
    clipped_BS = -advantages_BS * ratio_BS.clamp(1 - clip, 1 + clip)
    with torch.no_grad():
        share = masked_mean((clipped_BS > plain_BS).to(plain_BS.dtype), mask_BS)
        moved = masked_mean(kl_estimate(old_BS, log_probs_BS, "k3"), mask_BS)
    return ClippedLoss(masked_mean(torch.maximum(plain_BS, clipped_BS), mask_BS), share, moved)


def policy_loss_loop(
    log_probs_BS: Tensor, old_log_probs_BS: Tensor, advantages_BS: Tensor, mask_BS: Tensor, *, clip: float = 0.2
) -> Tensor:
    """The same objective, choice by choice, by the three cases of the minimum; the loss alone."""
    terms = []
    for b, s in mask_BS.nonzero().tolist():
        ratio = (log_probs_BS[b, s] - float(old_log_probs_BS[b, s])).exp()
        advantage = float(advantages_BS[b, s])
        if advantage > 0 and float(ratio.detach()) > 1 + clip:
            ratio = (1 + clip) + 0 * ratio
        elif advantage < 0 and float(ratio.detach()) < 1 - clip:
            ratio = (1 - clip) + 0 * ratio
        terms.append(-advantage * ratio)
    return torch.stack(terms).mean()


def value_loss(
    values_BS: Tensor, old_values_BS: Tensor, returns_BS: Tensor, mask_BS: Tensor, *, clip: float | None = 0.2
) -> ClippedLoss:
    """Half the mean of the larger of (V - R)² and (V clipped to within ``clip`` of the old value - R)².

    Args:
        values_BS: Of the value model as it is now, with gradient.
        old_values_BS: When the responses were sampled, as numbers.
        returns_BS: What is to be learnt, as numbers.
        mask_BS: Choices of the responses.
        clip: In units of the reward; None for the plain square.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: shapes differ, or the clip is neither None nor a number above 0.
    """
    require_same_shape(values=values_BS, old_values=old_values_BS, returns=returns_BS)
    require_mask("mask", mask_BS, values_BS)
    if clip is not None:
        _require_clip(clip)
    # Masked before the square, as above: what is no number at a padded place would make the gradient NaN.
    values_BS = torch.where(mask_BS, values_BS, 0.0)
    returns_BS = torch.where(mask_BS, returns_BS, 0.0).detach()
    plain_BS = (values_BS - returns_BS) ** 2
    zero = plain_BS.new_zeros(())
    if clip is None:
        return ClippedLoss(masked_mean(plain_BS, mask_BS) / 2, zero, zero)
    old_BS = torch.where(mask_BS, old_values_BS, 0.0).detach()
    limited_BS = old_BS + (values_BS - old_BS).clamp(-clip, clip)
    clipped_BS = (limited_BS - returns_BS) ** 2
    with torch.no_grad():
        share = masked_mean((clipped_BS > plain_BS).to(plain_BS.dtype), mask_BS)
    return ClippedLoss(masked_mean(torch.maximum(plain_BS, clipped_BS), mask_BS) / 2, share, zero)


def value_loss_loop(
    values_BS: Tensor, old_values_BS: Tensor, returns_BS: Tensor, mask_BS: Tensor, *, clip: float = 0.2
) -> Tensor:
    """The same, choice by choice; the loss alone."""
    terms = []
    for b, s in mask_BS.nonzero().tolist():
        value, old, wanted = values_BS[b, s], float(old_values_BS[b, s]), float(returns_BS[b, s])
        near = min(max(float(value.detach()), old - clip), old + clip)
        plain, limited = (value - wanted) ** 2, (near - wanted) ** 2
        terms.append(plain if float(plain.detach()) >= limited else limited + 0 * value)
    return torch.stack(terms).mean() / 2


def ptx_loss(alignment_loss: Tensor, pretraining_loss: Tensor, gamma: float) -> Tensor:
    """PPO-ptx: the loss of alignment + gamma times the cross-entropy on pretraining text.

    Equation 2 *adds* gamma E[log pi] to what is maximised; to the loss, its negative is added.

    Raises:
        ValueError: gamma is not a number of at least 0, or a loss is no single number.
    """
    if not is_number(gamma) or gamma < 0:
        raise ValueError(f"gamma must be a number of at least 0, got {gamma!r}")
    if alignment_loss.dim() or pretraining_loss.dim():
        raise ValueError("alignment_loss and pretraining_loss must be single numbers")
    return alignment_loss + gamma * pretraining_loss


def _require_clip(clip: float) -> None:
    if not is_number(clip) or clip <= 0:
        raise ValueError(f"clip must be a number above 0, got {clip!r}")
