"""Stage three: sample, score, estimate advantages, take a few clipped steps; and again.

Unusual: PPO is only a source of batches for the book's one training loop. A batch is made when the loop asks for it, by
the policy as it then is, and the loss is a function of model and batch like any other.

Sources: Ouyang et al. 2022, section 3.5 and appendix C.4; Ziegler et al. 2019, section 2.
Shapes: B sequences, T tokens, S = T - 1 choices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kb.alignment.advantages import gae, require_factors
from kb.alignment.iterations import DrawPrompts, Iteration, Score, iteration, require_settings, require_two
from kb.alignment.ppo_losses import policy_loss, value_loss
from kb.alignment.reward_model import ScalarModel
from kb.alignment.rewards import token_rewards
from kb.alignment.rollouts import Rollout, response_log_probs
from kb.alignment.sequences import choices, whiten
from kb.arguments import require_count
from kb.lm import DecoderLM
from kb.training import TrainConfig, constant, train


@dataclass(frozen=True)
class PPOConfig:
    """How to train by PPO.

    Args:
        iterations: How often responses are sampled.
        batch: Responses each time.
        epochs: How often each batch is gone through.
        minibatches: Into how many steps one pass is cut.
        longest: Most tokens of a response.
        end_id: Ends a response.
        learning_rate: Of policy and value model, constant.
        beta: Price of a nat against the reference.
        clip: Of the ratio and of the value.
        value_weight: Of the value loss beside the policy's.
        discount: gamma of the advantages.
        decay: lambda of the advantages.
        seed: Of prompts, responses and minibatches.

    Raises:
        ValueError: a number is out of range.
    """

    iterations: int
    longest: int
    end_id: int
    batch: int = 64
    epochs: int = 2
    minibatches: int = 2
    learning_rate: float = 1e-3
    beta: float = 0.05
    clip: float = 0.2
    value_weight: float = 0.1
    discount: float = 1.0
    decay: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "longest", "batch", "epochs", "minibatches"):
            require_count(name, getattr(self, name))
        require_count("end_id", self.end_id, least=0)
        require_settings(self, prices=("beta", "value_weight"), positive=("learning_rate", "clip"))
        require_factors(self.discount, self.decay)
        if self.batch % self.minibatches:
            raise ValueError(f"batch {self.batch} is not a multiple of minibatches {self.minibatches}")


@dataclass(frozen=True)
class PPOBatch:
    """A minibatch: tokens and mask [B, T]; the rest of the choices [B, S], fixed when they were sampled."""

    tokens: Tensor
    mask: Tensor
    old_log_probs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, rows_R: Tensor) -> "PPOBatch":
        """Some of its sequences."""
        return PPOBatch(*(getattr(self, name)[rows_R] for name in self.__dataclass_fields__))


class ActorCritic(nn.Module):
    """Policy and value model as one module, so that one loop trains both."""

    def __init__(self, policy: DecoderLM, value: ScalarModel) -> None:
        super().__init__()
        self.policy, self.value = policy, value


def ppo_loss(
    model: ActorCritic, batch: PPOBatch, *, clip: float, value_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The policy's clipped loss and ``value_weight`` times the value's, and both with what is watched."""
    mask_BS = choices(batch.mask)
    log_probs_BS = response_log_probs(model.policy, batch.tokens, batch.mask)
    acted = policy_loss(log_probs_BS, batch.old_log_probs, batch.advantages, mask_BS, clip=clip)
    valued = value_loss(model.value(batch.tokens)[:, :-1], batch.old_values, batch.returns, mask_BS, clip=clip)
    watched = {
        "policy_loss": acted.loss.detach(),
        "value_loss": valued.loss.detach(),
        "clip_fraction": acted.clip_fraction,
        "moved": acted.moved,
    }
    return acted.loss + value_weight * valued.loss, watched


@torch.no_grad()
def experience(
    model: ActorCritic, sampled: Rollout, scores_B: Tensor, reference_BS: Tensor, config: PPOConfig
) -> PPOBatch:
    """Everything that the steps of one iteration hold fixed."""
    mask_BS = sampled.choice_mask
    values_BS = model.value(sampled.tokens)[:, :-1]
    rewards_BS = token_rewards(scores_B, sampled.log_probs, reference_BS, mask_BS, beta=config.beta)
    advantages_BS, returns_BS = gae(rewards_BS, values_BS, mask_BS, discount=config.discount, decay=config.decay)
    advantages_BS = whiten(advantages_BS, mask_BS)
    old = (sampled.log_probs, values_BS, advantages_BS, returns_BS)
    return PPOBatch(sampled.tokens, sampled.mask, *old)


def train_ppo(
    policy: DecoderLM,
    value: ScalarModel,
    reference: DecoderLM,
    score: Score,
    draw_prompts: DrawPrompts,
    config: PPOConfig,
) -> list[Iteration]:
    """Train policy and value model in place against a score, staying near a reference.

    Args:
        policy: Trained; begins as a copy of the reference.
        value: Trained.
        reference: Not changed; must be another module than the policy.
        score: The reward of each sampled response [B]; no gradient flows through it.
        draw_prompts: Of a number and a generator, int64 prompts [B, P].
        config: How.

    Returns:
        What each iteration sampled before its steps.

    Raises:
        ValueError: policy and reference are one module, or training fails (see :func:`kb.training.train`).
    """
    require_two(policy, reference)
    model, generator = ActorCritic(policy, value), torch.Generator().manual_seed(config.seed)
    told: list[Iteration] = []

    def batches() -> Iterator[PPOBatch]:
        for _ in range(config.iterations):
            prompts = draw_prompts(config.batch, generator)
            one, scores_B, reference_BS = iteration(
                policy, reference, score, prompts, longest=config.longest, end_id=config.end_id, generator=generator
            )
            told.append(one)
            batch = experience(model, one.rollout, scores_B, reference_BS, config)
            for _ in range(config.epochs):
                order = torch.randperm(len(batch), generator=generator)
                yield from (batch.rows(rows) for rows in order.chunk(config.minibatches))

    def loss(model: ActorCritic, batch: PPOBatch) -> tuple[Tensor, dict[str, Tensor]]:
        return ppo_loss(model, batch, clip=config.clip, value_weight=config.value_weight)

    steps = config.iterations * config.epochs * config.minibatches
    recipe = TrainConfig(steps, learning_rate=config.learning_rate, schedule=constant, weight_decay=0.0)
    train(model, batches(), loss, recipe)
    return told
