"""What PPO and GRPO share: one iteration's sampling, scoring and what is watched of it; checks of their settings.

Shapes: B sequences, P tokens of a prompt, S choices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.alignment.rollouts import Rollout, response_log_probs, rollout
from kb.alignment.sequences import masked_mean, masked_sums
from kb.arguments import is_number
from kb.lm import DecoderLM

Score = Callable[[Rollout], Tensor]
DrawPrompts = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Iteration:
    """What one iteration sampled, before its steps.

    Attributes:
        rollout: The responses.
        score: Mean reward of the reward model, without the penalty.
        kl: Mean over responses of the sum over tokens of log p - log q, nats a response.
        entropy_bound: Mean of -log p of the sampled tokens, nats a choice.
    """

    rollout: Rollout
    score: float
    kl: float
    entropy_bound: float


@torch.no_grad()
def iteration(
    policy: DecoderLM,
    reference: DecoderLM,
    score: Score,
    prompts_BP: Tensor,
    *,
    longest: int,
    end_id: int,
    generator: torch.Generator,
) -> tuple[Iteration, Tensor, Tensor]:
    """A response to each prompt: what is told of them, scores [B], and the reference's log-probabilities [B, S]."""
    sampled = rollout(policy, prompts_BP, longest, end_id=end_id, generator=generator)
    scores_B = score(sampled)
    reference_BS = response_log_probs(reference, sampled.tokens, sampled.mask)
    mask_BS = sampled.choice_mask
    kl = float(masked_sums(sampled.log_probs - reference_BS, mask_BS).mean())
    surprise = -float(masked_mean(sampled.log_probs, mask_BS))
    return Iteration(sampled, float(scores_B.mean()), kl, surprise), scores_B, reference_BS


def require_two(policy: DecoderLM, reference: DecoderLM) -> None:
    """Refuse a reference that would be trained with the policy.

    Raises:
        ValueError: they are one module.
    """
    if policy is reference:
        raise ValueError("policy and reference must be two modules: copy the policy before it is trained")


def require_settings(settings: object, *, prices: Sequence[str], positive: Sequence[str]) -> None:
    """Refuse settings that are no numbers of at least 0 (``prices``) or above 0.

    Raises:
        ValueError: one is not.
    """
    for name in prices:
        if not is_number(value := getattr(settings, name)) or value < 0:
            raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
    for name in positive:
        if not is_number(value := getattr(settings, name)) or value <= 0:
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
