"""Stage two, the reward model: a decoder whose unembedding is replaced by one number, trained on which is better.

Unusual: the same module is the value model of stage three, which is begun from it. Read at the last token of the
response it is a reward, read at every token before a choice a value. And the loss takes the K responses of one prompt
together: K passes of the model serve K(K-1)/2 comparisons.

Source: Ouyang et al. 2022, section 3.5, equation 1; Bradley and Terry 1952; Huang et al. 2024, arXiv 2403.17031 (the
head's start, and the shift of the reward to a mean of 0).
Shapes: B sequences, T tokens, D width, P prompts, K responses of each.
"""

import copy
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.alignment.sequences import last_places
from kb.arguments import is_number
from kb.lm import DecoderLM, NoCache


class ScalarModel(nn.Module):
    """A copy of a decoder with a head of one number instead of its unembedding.

    Args:
        model: Copied, so that training one does not change the other; that the copy is trained is switched on.
        generator: Source of the head's start, normal with standard deviation 1 / sqrt(D + 1); None starts it at 0.

    Raises:
        TypeError: the model is no :class:`~kb.lm.DecoderLM`.
    """

    def __init__(self, model: DecoderLM, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not isinstance(model, DecoderLM):
            raise TypeError(f"model must be a DecoderLM, got {type(model).__name__}")
        self.trunk = copy.deepcopy(model).requires_grad_(True)
        self.trunk.lm_head = nn.Identity()  # type: ignore[assignment]
        width = model.config.hidden_size
        self.score = nn.Linear(width, 1).to(model.embed_tokens.weight)
        with torch.no_grad():
            self.score.bias.zero_()
            if generator is None:
                self.score.weight.zero_()
            else:
                self.score.weight.copy_(torch.randn(1, width, generator=generator) / (width + 1) ** 0.5)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """One number for each token, on seeing it and those before it, [B, T]."""
        hidden_BTD = self.trunk.hidden(tokens_BT, NoCache())
        out: Tensor = self.score(self.trunk.norm(hidden_BTD)).squeeze(-1)
        return out


def last_scores(scores_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The number at the last token of each response, [B]; padding may be on either side.

    On the left the network must not see the padding, which needs an attention mask and shifted positions;
    :class:`~kb.lm.DecoderLM` has none, so pad on the right for it, where a causal network never looks.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the shapes differ, or a row of the mask is true nowhere.
    """
    if scores_BT.shape != mask_BT.shape:
        raise ValueError(f"mask must have the shape {tuple(scores_BT.shape)}, got {tuple(mask_BT.shape)}")
    return scores_BT.gather(1, last_places(mask_BT)[:, None]).squeeze(1)


def pair_loss(better_B: Tensor, worse_B: Tensor, *, margin: float = 0.0) -> Tensor:
    """Mean of -log sigmoid(better - worse - margin): Bradley and Terry's likelihood of the comparisons.

    Args:
        better_B: Rewards of the preferred responses.
        worse_B: Of the others, in the same order.
        margin: What the difference should exceed, as in Llama 2 (section 3.2.2); 0 in InstructGPT.

    Raises:
        ValueError: shapes differ or are empty, or the margin is no number.
    """
    if better_B.shape != worse_B.shape or better_B.numel() == 0:
        raise ValueError(f"wanted as many better as worse, got {tuple(better_B.shape)} and {tuple(worse_B.shape)}")
    if not is_number(margin):
        raise ValueError(f"margin must be a number, got {margin!r}")
    return -F.logsigmoid(better_B - worse_B - margin).mean()


def ranking_loss(rewards_PK: Tensor) -> Tensor:
    """Equation 1 of InstructGPT: the mean over prompts of the mean over all K(K-1)/2 pairs of a prompt.

    Args:
        rewards_PK: Rewards of the K responses of each prompt, in the order of the rater: the best first.

    Raises:
        ValueError: it is no [P, K] with at least two responses.
    """
    _require_ranking(rewards_PK)
    K = rewards_PK.shape[1]
    first_N, second_N = torch.triu_indices(K, K, offset=1, device=rewards_PK.device)
    return -F.logsigmoid(rewards_PK[:, first_N] - rewards_PK[:, second_N]).mean()


def ranking_loss_loop(rewards_PK: Tensor) -> Tensor:
    """The same, pair by pair."""
    _require_ranking(rewards_PK)
    prompts = []
    for rewards_K in rewards_PK:
        terms = [
            -(1 / (1 + torch.exp(-(rewards_K[i] - rewards_K[j])))).log()
            for i, j in combinations(range(len(rewards_K)), 2)
        ]
        prompts.append(sum(terms[1:], terms[0]) / len(terms))
    return torch.stack(prompts).mean()


def _require_ranking(rewards_PK: Tensor) -> None:
    if rewards_PK.dim() != 2 or rewards_PK.shape[0] < 1 or rewards_PK.shape[1] < 2:
        raise ValueError(f"rewards must be [P, K] with at least two responses each, got {tuple(rewards_PK.shape)}")
