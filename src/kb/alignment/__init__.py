"""From a language model to one that is wanted: supervised fine-tuning, reward models, PPO, DPO, GRPO, best of n."""

from kb.alignment.advantages import gae, gae_loop
from kb.alignment.best_of_n import best_of_n_kl, best_of_n_mean, best_of_n_mean_loop
from kb.alignment.group_training import GRPOConfig, train_grpo
from kb.alignment.grpo import group_advantages, grpo_loss, grpo_loss_loop
from kb.alignment.iterations import Iteration
from kb.alignment.ppo import ActorCritic, PPOBatch, PPOConfig, experience, ppo_loss, train_ppo
from kb.alignment.ppo_losses import (
    ClippedLoss,
    policy_loss,
    policy_loss_loop,
    ptx_loss,
    value_loss,
    value_loss_loop,
)
from kb.alignment.preferences import (
    dpo_gradient,
    dpo_loss,
    implicit_reward,
    ipo_loss,
    kto_loss,
    simpo_loss,
)
from kb.alignment.reward_model import ScalarModel, last_scores, pair_loss, ranking_loss, ranking_loss_loop
from kb.alignment.rewards import adapted_beta, kl_estimate, token_rewards, token_rewards_loop
from kb.alignment.rollouts import Rollout, response_log_probs, rollout
from kb.alignment.sequences import (
    choices,
    entropy,
    last_places,
    masked_mean,
    masked_sums,
    token_log_probs,
    token_log_probs_loop,
    whiten,
    whiten_loop,
)
from kb.alignment.sft import sft_loss, sft_loss_loop

__all__ = [
    "ActorCritic",
    "ClippedLoss",
    "GRPOConfig",
    "Iteration",
    "PPOBatch",
    "PPOConfig",
    "Rollout",
    "ScalarModel",
    "adapted_beta",
    "best_of_n_kl",
    "best_of_n_mean",
    "best_of_n_mean_loop",
    "choices",
    "dpo_gradient",
    "dpo_loss",
    "entropy",
    "experience",
    "gae",
    "gae_loop",
    "group_advantages",
    "grpo_loss",
    "grpo_loss_loop",
    "implicit_reward",
    "ipo_loss",
    "kl_estimate",
    "kto_loss",
    "last_places",
    "last_scores",
    "masked_mean",
    "masked_sums",
    "pair_loss",
    "policy_loss",
    "policy_loss_loop",
    "ppo_loss",
    "ptx_loss",
    "ranking_loss",
    "ranking_loss_loop",
    "response_log_probs",
    "rollout",
    "sft_loss",
    "sft_loss_loop",
    "simpo_loss",
    "token_log_probs",
    "token_log_probs_loop",
    "token_rewards",
    "token_rewards_loop",
    "train_grpo",
    "train_ppo",
    "value_loss",
    "value_loss_loop",
    "whiten",
    "whiten_loop",
]
