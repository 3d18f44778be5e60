"""Training by GRPO: groups of responses to each prompt, advantages within the group, clipped steps; no value model.

Unusual: as in ``kb.alignment.ppo``, sampling is a source of batches for the book's one training loop. The reward may be
a reward model's or a program's: verifiable rewards are the same algorithm with another function.

Source: Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, algorithm 1.
Shapes: P prompts, G responses of each, B = P · G sequences, T tokens, S = T - 1 choices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.alignment.grpo import AVERAGES, group_advantages, grpo_loss
from kb.alignment.iterations import DrawPrompts, Iteration, Score, iteration, require_settings, require_two
from kb.alignment.rollouts import response_log_probs
from kb.alignment.sequences import choices
from kb.arguments import require_count
from kb.lm import DecoderLM
from kb.training import TrainConfig, constant, train


@dataclass(frozen=True)
class GRPOConfig:
    """How to train by GRPO.

    Args:
        iterations: How often responses are sampled.
        longest: Most tokens of a response.
        end_id: Ends a response.
        prompts: P, prompts each time.
        group: G, responses to each.
        epochs: Steps on each batch; with one the ratio is 1 and nothing is clipped.
        learning_rate: Constant.
        beta: Price of a nat of k3 against the reference.
        scale: Whether advantages are divided by the group's standard deviation.
        average: Of the loss, see :func:`kb.alignment.grpo_loss`.
        seed: Of prompts and responses.

    Raises:
        ValueError: a number is out of range.
    """

    iterations: int
    longest: int
    end_id: int
    prompts: int = 8
    group: int = 8
    epochs: int = 2
    learning_rate: float = 1e-3
    beta: float = 0.0
    scale: bool = True
    average: str = "sequence"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "longest", "prompts", "epochs"):
            require_count(name, getattr(self, name))
        require_count("group", self.group, least=2)
        require_count("end_id", self.end_id, least=0)
        require_settings(self, prices=("beta",), positive=("learning_rate",))
        if self.average not in AVERAGES:
            raise ValueError(f"average must be one of {', '.join(AVERAGES)}, got {self.average!r}")


@dataclass(frozen=True)
class GroupBatch:
    """Groups of responses, one after another: tokens and mask [B, T], log-probabilities [B, S], advantages [B]."""

    tokens: Tensor
    mask: Tensor
    old_log_probs: Tensor
    reference_log_probs: Tensor
    advantages: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


def train_grpo(
    policy: DecoderLM, reference: DecoderLM, score: Score, draw_prompts: DrawPrompts, config: GRPOConfig
) -> list[Iteration]:
    """Train a policy in place against a score, without a value model.

    Args:
        policy: Trained; begins as a copy of the reference.
        reference: Not changed; another module than the policy.
        score: The reward of each sampled response [B].
        draw_prompts: Of a number and a generator, int64 prompts [P, T].
        config: How.

    Returns:
        What each iteration sampled before its steps.

    Raises:
        ValueError: policy and reference are one module, or training fails (see :func:`kb.training.train`).
    """
    require_two(policy, reference)
    generator = torch.Generator().manual_seed(config.seed)
    told: list[Iteration] = []

    def batches() -> Iterator[GroupBatch]:
        for _ in range(config.iterations):
            prompts = draw_prompts(config.prompts, generator).repeat_interleave(config.group, dim=0)
            one, scores_B, reference_BS = iteration(
                policy, reference, score, prompts, longest=config.longest, end_id=config.end_id, generator=generator
            )
            told.append(one)
            sampled = one.rollout
            advantages_B = group_advantages(scores_B.view(-1, config.group), scale=config.scale).flatten()
            batch = GroupBatch(sampled.tokens, sampled.mask, sampled.log_probs, reference_BS, advantages_B)
            yield from (batch for _ in range(config.epochs))

    def loss(model: DecoderLM, batch: GroupBatch) -> Tensor:
        log_probs_BS = response_log_probs(model, batch.tokens, batch.mask)
        fixed = (batch.old_log_probs, batch.reference_log_probs, batch.advantages, choices(batch.mask))
        return grpo_loss(log_probs_BS, *fixed, beta=config.beta, average=config.average, length=config.longest)

    steps = config.iterations * config.epochs
    recipe = TrainConfig(steps, learning_rate=config.learning_rate, schedule=constant, weight_decay=0.0)
    train(policy, batches(), loss, recipe)
    return told
