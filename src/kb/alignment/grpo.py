"""GRPO: no value model; the other responses to the same prompt are the baseline.

Unusual: the choices that later papers changed are arguments. How advantages are scaled (Dr. GRPO leaves the division
out), how tokens are averaged (each response its own mean, as published; all tokens of the batch, as in DAPO; a constant
length, as in Dr. GRPO), how far a ratio may rise (DAPO's clip-higher), and whether it is of a token or of the response
(GSPO).

Sources: Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, equations 3 and 4, section 4.1.2; Liu et al. 2025,
Understanding R1-Zero-Like Training, arXiv 2503.20783, section 3 (Dr. GRPO); Yu et al. 2025, DAPO, arXiv 2503.14476,
section 3; Zheng et al. 2025, GSPO, arXiv 2507.18071, section 4.
Shapes: P prompts, G responses of each, B = P · G sequences, S choices.
"""

import torch
from torch import Tensor

from kb.alignment.rewards import kl_estimate
from kb.alignment.sequences import masked_mean, masked_sums, require_mask, require_same_shape
from kb.arguments import is_number, require_count

AVERAGES = ("sequence", "token", "constant")
LEVELS = ("token", "sequence")


def group_advantages(rewards_PG: Tensor, *, scale: bool = True, eps: float = 1e-4) -> Tensor:
    """Rewards less the mean of their group, divided by its standard deviation + ``eps`` where ``scale`` is on.

    Rewards may be bool or integers, as a verifier gives them; they come back as floats. The standard deviation has
    Bessel's correction, as in trl; the paper does not say. A group of equal rewards gets 0:
    nothing is learnt from a prompt that all responses solve, or none.

    Raises:
        ValueError: it is no [P, G] with at least two responses, or ``eps`` is not above 0.
    """
    if rewards_PG.dim() != 2 or rewards_PG.shape[1] < 2:
        raise ValueError(f"rewards must be [P, G] with at least two responses each, got {tuple(rewards_PG.shape)}")
    if not is_number(eps) or eps <= 0:
        raise ValueError(f"eps must be a number above 0, got {eps!r}")
    if not rewards_PG.is_floating_point():
        rewards_PG = rewards_PG.float()
    centred_PG = rewards_PG - rewards_PG.mean(1, keepdim=True)
    return centred_PG / (rewards_PG.std(1, keepdim=True) + eps) if scale else centred_PG


def grpo_loss(
    log_probs_BS: Tensor,
    old_log_probs_BS: Tensor,
    reference_log_probs_BS: Tensor,
    advantages_B: Tensor,
    mask_BS: Tensor,
    *,
    beta: float = 0.04,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    average: str = "sequence",
    length: int | None = None,
    level: str = "token",
) -> Tensor:
    """The clipped objective of PPO with one advantage a response, plus beta times k3, as a loss.

    Args:
        log_probs_BS: Of the policy, with gradient.
        old_log_probs_BS: Of the policy that has sampled.
        reference_log_probs_BS: Of the reference.
        advantages_B: Of each response.
        mask_BS: Choices of the responses.
        beta: Price of a nat of k3 against the reference; 0.04 in DeepSeekMath.
        clip_low: How far below 1 a ratio counts.
        clip_high: How far above 1; 0.28 in DAPO.
        average: "sequence", "token" or "constant".
        length: What "constant" divides each response's sum by; the longest allowed response.
        level: Whether the ratio is of the "token" or of the "sequence" (its geometric mean, GSPO).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: shapes differ, a row of the mask is true nowhere, or an option is not known.
    """
    require_same_shape(
        log_probs=log_probs_BS, old_log_probs=old_log_probs_BS, reference_log_probs=reference_log_probs_BS
    )
    require_mask("mask", mask_BS, log_probs_BS)
    _require_options(advantages_B, mask_BS, average, length, level, (beta, clip_low, clip_high))
    counts_B = mask_BS.sum(-1)
    log_ratio_BS = torch.where(mask_BS, log_probs_BS - old_log_probs_BS.detach(), 0.0)
    if level == "sequence":
        log_ratio_BS = (log_ratio_BS.sum(-1) / counts_B)[:, None].expand_as(log_ratio_BS)
    ratio_BS, advantages_B1 = log_ratio_BS.exp(), advantages_B.detach()[:, None]
    gain_BS = torch.minimum(ratio_BS * advantages_B1, ratio_BS.clamp(1 - clip_low, 1 + clip_high) * advantages_B1)
    away_BS = torch.where(mask_BS, log_probs_BS - reference_log_probs_BS.detach(), 0.0)
    terms_BS = beta * kl_estimate(away_BS, torch.zeros_like(away_BS), "k3") - gain_BS
    if average == "token":
        return masked_mean(terms_BS, mask_BS)
    sums_B = masked_sums(terms_BS, mask_BS)
    return (sums_B / (length if average == "constant" and length else counts_B)).mean()


def grpo_loss_loop(
    log_probs_BS: Tensor,
    old_log_probs_BS: Tensor,
    reference_log_probs_BS: Tensor,
    advantages_B: Tensor,
    mask_BS: Tensor,
    *,
    beta: float = 0.04,
    clip: float = 0.2,
) -> Tensor:
    """Equation 3 of DeepSeekMath, token by token: the mean over responses of the mean over their tokens."""
    responses = []
    for b in range(len(mask_BS)):
        terms = []
        for s in mask_BS[b].nonzero().flatten().tolist():
            ratio = (log_probs_BS[b, s] - float(old_log_probs_BS[b, s])).exp()
            advantage = float(advantages_B[b])
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
            back = float(reference_log_probs_BS[b, s]) - log_probs_BS[b, s]
            terms.append(beta * (back.exp() - back - 1) - gain)
        responses.append(torch.stack(terms).mean())
    return torch.stack(responses).mean()


def _require_options(
    advantages_B: Tensor, mask_BS: Tensor, average: str, length: int | None, level: str, numbers: tuple[float, ...]
) -> None:
    if advantages_B.shape != mask_BS.shape[:1]:
        raise ValueError(f"advantages must have the shape {(len(mask_BS),)}, got {tuple(advantages_B.shape)}")
    if not bool(mask_BS.any(-1).all()):
        raise ValueError("mask: a response has no choice")
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {', '.join(AVERAGES)}, got {average!r}")
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    if average == "constant":
        require_count("length", length)
    for name, value in zip(("beta", "clip_low", "clip_high"), numbers, strict=True):
        if not is_number(value) or value < 0:
            raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
