"""The stages before reinforcement learning, on the task of sums: demonstrations, comparisons, a reward model, DPO.

Unusual: the comparisons are of pairs that the supervised model itself has written, as InstructGPT's were in the main;
so the reward model knows nothing of what this model does not write. That is where it will be beaten.

Sources: Ouyang et al. 2022, section 3.5; Gao et al. 2023, section 2; Rafailov et al. 2023, section 4.
Shapes: B sequences, T tokens.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.alignment.preferences import dpo_loss
from kb.alignment.reward_model import ScalarModel, last_scores, pair_loss
from kb.alignment.rollouts import response_log_probs, rollout
from kb.alignment.sft import sft_loss
from kb.alignment.sums_task import END, PROMPT_LENGTH, VOCABULARY, SumsTask
from kb.arguments import require_count
from kb.lm import DecoderLM, ModelConfig
from kb.training import TrainConfig, initialize, train


def decoder(task: SumsTask, *, seed: int, width: int = 64, layers: int = 2) -> DecoderLM:
    """A small decoder with room for the task's longest response, untrained."""
    config = ModelConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_layers=layers,
        num_heads=4,
        num_kv_heads=4,
        head_dim=width // 4,
        max_positions=PROMPT_LENGTH + task.longest,
    )
    model = DecoderLM(config)
    initialize(model, seed=seed)
    return model


def supervised(model: DecoderLM, task: SumsTask, *, steps: int, seed: int, batch: int = 64) -> list[float]:
    """Stage one: train on demonstrations, in place; the losses of the steps."""
    generator = torch.Generator().manual_seed(seed)
    demonstrations = (task.demonstrations(batch, generator) for _ in range(steps))
    recipe = TrainConfig(steps, learning_rate=5e-3, warmup=min(20, steps - 1), weight_decay=0.01)
    made = train(model, demonstrations, lambda network, some: sft_loss(network(some[0]), *some), recipe)
    return [step.loss for step in made]


@dataclass(frozen=True)
class Comparisons:
    """Pairs of responses to the same prompts: tokens [B, T] and masks [B, T] of the preferred and of the other."""

    better: Tensor
    better_mask: Tensor
    worse: Tensor
    worse_mask: Tensor

    def __len__(self) -> int:
        return len(self.better)

    def rows(self, rows: Tensor | slice) -> "Comparisons":
        """Some of the pairs."""
        return Comparisons(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def tokens(self) -> Tensor:
        """All preferred ones, then all others, [2B, T]."""
        return torch.cat((self.better, self.worse))

    @property
    def mask(self) -> Tensor:
        """Of ``tokens``."""
        return torch.cat((self.better_mask, self.worse_mask))


def compare(model: DecoderLM, task: SumsTask, size: int, generator: torch.Generator) -> Comparisons:
    """Two responses of the model to each of ``size`` random prompts, and a rater's choice between them."""
    require_count("size", size)
    prompts = task.draw_prompts(size, generator)
    both = [rollout(model, prompts, task.longest, end_id=END, generator=generator) for _ in range(2)]
    most = max(one.tokens.shape[1] for one in both)
    (first, first_mask), (second, second_mask) = (
        (F.pad(one.tokens, (0, most - one.tokens.shape[1]), value=END),
         F.pad(one.mask, (0, most - one.tokens.shape[1]), value=False))
        for one in both
    )  # fmt: skip
    wins = task.prefers_first(first, second, generator)[:, None]
    return Comparisons(
        torch.where(wins, first, second),
        torch.where(wins, first_mask, second_mask),
        torch.where(wins, second, first),
        torch.where(wins, second_mask, first_mask),
    )


def random_pairs(comparisons: Comparisons, steps: int, batch: int, seed: int) -> Iterator[Comparisons]:
    """So many random batches of pairs."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield comparisons.rows(torch.randint(len(comparisons), (batch,), generator=generator))


def scores(model: ScalarModel, tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The reward model's number for each response, [B]."""
    return last_scores(model(tokens_BT), mask_BT)


def learn_reward(
    model: DecoderLM, comparisons: Comparisons, *, steps: int, seed: int, batch: int = 64
) -> tuple[ScalarModel, list[float]]:
    """Stage two: a reward model begun from ``model``, and the losses of its steps."""
    reward = ScalarModel(model, generator=torch.Generator().manual_seed(seed))

    def loss(network: ScalarModel, some: Comparisons) -> Tensor:
        better_B, worse_B = scores(network, some.tokens, some.mask).chunk(2)
        return pair_loss(better_B, worse_B)

    recipe = TrainConfig(steps, learning_rate=3e-3, warmup=min(20, steps - 1), weight_decay=0.01)
    made = train(reward, random_pairs(comparisons, steps, batch, seed), loss, recipe)
    return reward, [step.loss for step in made]


@torch.no_grad()
def agreement(reward: ScalarModel, comparisons: Comparisons) -> float:
    """Share of pairs that a reward model puts in the rater's order."""
    better_B, worse_B = scores(reward, comparisons.tokens, comparisons.mask).chunk(2)
    return float((better_B > worse_B).float().mean())


def learn_directly(
    model: DecoderLM, comparisons: Comparisons, *, steps: int, beta: float, seed: int, batch: int = 64
) -> tuple[DecoderLM, list[float]]:
    """DPO: a policy begun from ``model``, which is also the reference, and the losses of its steps."""
    policy = copy.deepcopy(model)
    with torch.no_grad():
        whole = response_log_probs(model, comparisons.tokens, comparisons.mask).sum(-1)
    reference = torch.stack(whole.chunk(2), dim=1)  # [B, 2], computed once: the reference does not change
    generator = torch.Generator().manual_seed(seed)
    picks = (torch.randint(len(comparisons), (batch,), generator=generator) for _ in range(steps))

    def loss(network: DecoderLM, rows: Tensor) -> Tensor:
        some = comparisons.rows(rows)
        better_B, worse_B = response_log_probs(network, some.tokens, some.mask).sum(-1).chunk(2)
        return dpo_loss(better_B, worse_B, *reference[rows].unbind(1), beta=beta).mean()

    recipe = TrainConfig(steps, learning_rate=1e-3, warmup=min(10, steps - 1), weight_decay=0.0)
    return policy, [step.loss for step in train(policy, picks, loss, recipe)]
