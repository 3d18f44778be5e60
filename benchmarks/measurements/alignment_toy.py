"""The stages of alignment on the task of sums, several seeds: what the reward model says, and what was wanted.

One seed is one world: its own weights, demonstrations, comparisons and reward model. On it PPO is run with several
prices of the KL, DPO on the same comparisons, GRPO once against the reward model and once against the gold reward, and
best of n; all are judged by the gold reward on fresh samples.

Unusual: "proxy" is the reward model's own score less its mean over the supervised model's responses, as each seed's has
another zero.
"""

import copy
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb.alignment import (
    GRPOConfig,
    PPOConfig,
    Rollout,
    ScalarModel,
    response_log_probs,
    rollout,
    train_grpo,
    train_ppo,
)
from kb.alignment.sums_lab import (
    Comparisons,
    agreement,
    compare,
    decoder,
    learn_directly,
    learn_reward,
    scores,
    supervised,
)
from kb.alignment.sums_task import END, SumsTask
from kb.lm import DecoderLM

DEVICES = ("cpu",)
SEEDS, PAIRS, JUDGED = 5, 4000, 500
SFT_STEPS, RM_STEPS, DPO_STEPS, ITERATIONS, GRPO_ITERATIONS = 250, 400, 150, 60, 40
BETAS = (0.0, 0.05, 0.1, 0.3)


@dataclass(frozen=True)
class Job:
    """One world."""

    seed: int
    small: bool = False  # a few steps of everything, to try the script


@dataclass(frozen=True)
class Judged:
    """Means over fresh samples of one policy."""

    proxy: float
    gold: float
    kl: float
    right: float
    length: float


@dataclass(frozen=True)
class World:
    """A supervised model and what was learnt from comparisons of its responses."""

    task: SumsTask
    model: DecoderLM
    pairs: Comparisons
    held_out: Comparisons
    reward: ScalarModel
    zero: float

    def score(self, sampled: Rollout) -> Tensor:
        """The proxy."""
        return scores(self.reward, sampled.tokens, sampled.mask) - self.zero

    def gold(self, sampled: Rollout) -> Tensor:
        """What is wanted."""
        return self.task.gold(sampled.tokens)


def world(job: Job) -> World:
    """Stages one and two."""
    task, generator, cut = SumsTask(), torch.Generator().manual_seed(job.seed), 20 if job.small else 1
    model = decoder(task, seed=job.seed)
    supervised(model, task, steps=SFT_STEPS // cut, seed=job.seed)
    pairs = compare(model, task, PAIRS // cut, generator)
    held_out = compare(model, task, 1000, generator)
    reward, _ = learn_reward(model, pairs, steps=RM_STEPS // cut, seed=job.seed)
    with torch.no_grad():
        zero = float(scores(reward, held_out.tokens, held_out.mask).mean())
    return World(task, model, pairs, held_out, reward, zero)


@torch.no_grad()
def judged(made: World, policy: DecoderLM) -> Judged:
    """Samples of a policy, judged."""
    generator = torch.Generator().manual_seed(1_000_000)
    prompts = made.task.draw_prompts(JUDGED, generator)
    sampled = rollout(policy, prompts, made.task.longest, end_id=END, generator=generator)
    reference = response_log_probs(made.model, sampled.tokens, sampled.mask)
    return Judged(
        float(made.score(sampled).mean()),
        float(made.gold(sampled).mean()),
        float((sampled.log_probs - reference).sum(-1).mean()),
        float(made.task.correct(sampled.tokens).float().mean()),
        float(sampled.lengths.float().mean()),
    )


def run(job: Job) -> tuple[dict[str, Judged], dict[str, float]]:
    """All methods in one world, and how good its reward model is."""
    torch.manual_seed(job.seed)
    made, cut = world(job), 20 if job.small else 1
    found = {"SFT": judged(made, made.model)}
    task, base = made.task, made.model
    for beta in BETAS:
        policy = copy.deepcopy(base)
        config = PPOConfig(ITERATIONS // cut, task.longest, END, beta=beta, seed=job.seed)
        train_ppo(policy, ScalarModel(base), base, made.score, task.draw_prompts, config)
        found[f"PPO, beta {beta:g}"] = judged(made, policy)
    policy, _ = learn_directly(base, made.pairs, steps=DPO_STEPS // cut, beta=0.1, seed=job.seed)
    found["DPO"] = judged(made, policy)
    for name, score in (("GRPO, reward model", made.score), ("GRPO, gold", made.gold)):
        policy = copy.deepcopy(base)
        group = GRPOConfig(GRPO_ITERATIONS // cut, task.longest, END, seed=job.seed, beta=0.02)
        train_grpo(policy, base, score, task.draw_prompts, group)
        found[name] = judged(made, policy)
    print(f"seed {job.seed}: " + ", ".join(f"{k} {v.gold:.2f}" for k, v in found.items()), file=sys.stderr, flush=True)
    return found, {"pairs": agreement(made.reward, made.pairs), "held out": agreement(made.reward, made.held_out)}


def measure(device: torch.device, *, seeds: int = SEEDS, small: bool = False) -> Measurement:
    """Assert that without a price of the KL the proxy rises above every other method's and gold falls below SFT's."""
    worlds = one_thread.each(run, [Job(seed, small) for seed in range(seeds)])
    names = list(worlds[0][0])
    for found, _ in worlds if not small else ():
        free = found["PPO, beta 0"]
        assert free.proxy > found["SFT"].proxy + 0.5, f"the proxy did not rise: {free}"
        assert free.gold < found["GRPO, gold"].gold, f"gold did not fall: {free}"
    return Measurement(
        title="Sums with exclamation marks: gold reward after SFT, PPO, DPO and GRPO",
        method=f"{seeds} seeds of weights, demonstrations, comparisons and reward model; {PAIRS} comparisons, "
        f"{JUDGED} fresh samples of each policy; two processes of one thread",
        samples={
            f"{kind}, {name}": Samples("reward", [round(getattr(found[name], kind), 4) for found, _ in worlds])
            for name in names
            for kind in ("gold", "proxy")
        },
        facts={
            "betas": list(BETAS),
            "iterations": ITERATIONS,
            "agreement with raters": [{name: round(value, 4) for name, value in kept.items()} for _, kept in worlds],
            **{
                kind: {name: [round(getattr(found[name], kind), 3) for found, _ in worlds] for name in names}
                for kind in ("kl", "right", "length")
            },
        },
    )
