"""What a response earns, token by token: the reward model's score at the end, minus a price for leaving the reference.

Unusual: the penalty is part of the *reward*, not of the loss, as in Ziegler et al. and InstructGPT; no gradient flows
through it. GRPO puts it into the loss, where another estimator is used. The three are Schulman's.

Sources: Ziegler et al. 2019, arXiv 1909.08593, section 2 (the penalty, the controller); Ouyang et al. 2022, equation 2;
Schulman 2020, Approximating KL Divergence, joschu.net/blog/kl-approx.html (k1, k2, k3).
Shapes: B sequences, S choices.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kb.alignment.sequences import last_places, require_mask, require_same_shape
from kb.arguments import is_number

ESTIMATORS = ("k1", "k2", "k3")


def kl_estimate(log_probs: Tensor, reference_log_probs: Tensor, kind: str = "k1") -> Tensor:
    """An estimate of KL(policy || reference) from each sampled token, to be averaged over samples of the policy.

    With d = log p - log q: k1 = d is unbiased and may be negative, k2 = d²/2 is biased and never negative,
    k3 = exp(-d) - 1 + d is unbiased and never negative.

    Args:
        log_probs: log p of the sampled tokens, any shape.
        reference_log_probs: log q of the same tokens.
        kind: "k1", "k2" or "k3".

    Raises:
        ValueError: the shapes differ, or the estimator is not known.
    """
    require_same_shape(log_probs=log_probs, reference_log_probs=reference_log_probs)
    difference = log_probs - reference_log_probs
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference**2 / 2
    if kind == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"kind must be one of {', '.join(ESTIMATORS)}, got {kind!r}")


def token_rewards(
    scores_B: Tensor, log_probs_BS: Tensor, reference_log_probs_BS: Tensor, mask_BS: Tensor, *, beta: float
) -> Tensor:
    """-beta (log p - log q) at every choice of the response, and the score on top at the last one, [B, S].

    Args:
        scores_B: The reward model's number for each whole response.
        log_probs_BS: Of the policy that has sampled.
        reference_log_probs_BS: Of the reference, on the same tokens.
        mask_BS: Choices of the response.
        beta: Price of a nat.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: shapes do not fit, a row of the mask is true nowhere, or beta is no number.
    """
    require_mask("mask", mask_BS, log_probs_BS)
    if not is_number(beta):
        raise ValueError(f"beta must be a number, got {beta!r}")
    if scores_B.shape != mask_BS.shape[:1]:
        raise ValueError(f"scores must have the shape {(len(mask_BS),)}, got {tuple(scores_B.shape)}")
    last_B1 = last_places(mask_BS)[:, None]
    penalties_BS = -beta * kl_estimate(log_probs_BS, reference_log_probs_BS)
    rewards_BS = torch.where(mask_BS, penalties_BS, 0.0).detach()
    return rewards_BS.scatter_add(1, last_B1, scores_B.detach()[:, None].to(rewards_BS))


def token_rewards_loop(
    score: float, log_probs: Sequence[float], reference_log_probs: Sequence[float], *, beta: float
) -> list[float]:
    """The same for one response without padding, in Python's floats."""
    rewards = [-beta * (p - q) for p, q in zip(log_probs, reference_log_probs, strict=True)]
    rewards[-1] += score
    return rewards


def adapted_beta(beta: float, observed: float, target: float, *, gain: float = 0.1, most: float = 0.2) -> float:
    """The next beta of the proportional controller of Ziegler et al. (section 2.2): up where the KL is over its target.

    Args:
        beta: The present one.
        observed: KL of the last batch, in nats a response.
        target: The KL that is wanted.
        gain: Their K_beta, 0.1.
        most: Bound of the relative error, 0.2.

    Raises:
        ValueError: beta or the target is not above 0, or another is no number.
    """
    for name, value in (("beta", beta), ("target", target)):
        if not is_number(value) or value <= 0:
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
    for name, value in (("observed", observed), ("gain", gain), ("most", most)):
        if not is_number(value):
            raise ValueError(f"{name} must be a number, got {value!r}")
    error = min(max(observed / target - 1, -most), most)
    return beta * (1 + gain * error)
