"""Generalised advantage estimation: how much better a token turned out than the value model thought.

Unusual: the fast path is no scan over time. The advantages are the temporal differences delta times one
triangular matrix of powers, which for responses of a few thousand tokens is a product that a GPU does at once; the loop
in float64 is the reference.

Source: Schulman et al. 2016, High-Dimensional Continuous Control Using Generalized Advantage Estimation, arXiv
1506.02438, equations 11 to 16.
Shapes: B sequences, S choices.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kb.alignment.sequences import require_mask, require_same_shape
from kb.arguments import is_number


def gae(
    rewards_BS: Tensor, values_BS: Tensor, mask_BS: Tensor, *, discount: float = 1.0, decay: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of responses that end at their last choice: no value follows it.

    Args:
        rewards_BS: Of each choice.
        values_BS: The value before each choice.
        mask_BS: Choices of the response, one run of true places a row.
        discount: gamma; 1 in InstructGPT, where a response is one episode.
        decay: lambda; 0 trusts the next value, 1 waits for the end.

    Returns:
        Advantages [B, S], and advantages + values, which the value model learns, [B, S]; both without gradient, 0
        outside the mask.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: shapes differ or are no [B, S], the places of a row are not one run, or a factor is not from 0 to 1.
    """
    require_same_shape(rewards=rewards_BS, values=values_BS)
    if rewards_BS.dim() != 2:
        raise ValueError(f"rewards must be [B, S], got {tuple(rewards_BS.shape)}")
    require_mask("mask", mask_BS, rewards_BS)
    require_factors(discount, decay)
    if bool((mask_BS.int().diff(dim=1, prepend=torch.zeros_like(mask_BS[:, :1]).int()) > 0).sum(1).gt(1).any()):
        raise ValueError("mask: the choices of a response must be one run of true places")
    values_BS = torch.where(mask_BS, values_BS, 0.0).detach()
    rewards_BS = torch.where(mask_BS, rewards_BS, 0.0).detach()
    next_BS = torch.cat((values_BS[:, 1:], torch.zeros_like(values_BS[:, :1])), dim=1)
    deltas_BS = torch.where(mask_BS, rewards_BS + discount * next_BS - values_BS, 0.0)
    S = rewards_BS.shape[1]
    distance_SS = torch.arange(S, device=rewards_BS.device)[:, None] - torch.arange(S, device=rewards_BS.device)
    factor = torch.tensor(discount * decay, dtype=rewards_BS.dtype, device=rewards_BS.device)
    powers_SS = torch.where(distance_SS >= 0, factor ** distance_SS.clamp_min(0), 0.0)  # [later, earlier]
    advantages_BS = torch.where(mask_BS, deltas_BS @ powers_SS, 0.0)
    return advantages_BS, advantages_BS + values_BS


def gae_loop(
    rewards: Sequence[float], values: Sequence[float], *, discount: float = 1.0, decay: float = 0.95
) -> tuple[list[float], list[float]]:
    """The same for one response without padding, backwards in Python's floats: A_t = delta_t + gamma lambda A_(t+1)."""
    require_factors(discount, decay)
    if len(rewards) != len(values) or not rewards:
        raise ValueError(f"wanted at least one reward and as many values, got {len(rewards)} and {len(values)}")
    advantages = [0.0] * len(rewards)
    running = 0.0
    for t in reversed(range(len(rewards))):
        following = values[t + 1] if t + 1 < len(rewards) else 0.0
        delta = rewards[t] + discount * following - values[t]
        running = delta + discount * decay * running
        advantages[t] = running
    return advantages, [advantage + value for advantage, value in zip(advantages, values, strict=True)]


def require_factors(discount: float, decay: float) -> None:
    """Refuse a discount or a decay that is not from 0 to 1.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in (("discount", discount), ("decay", decay)):
        if not is_number(value) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
