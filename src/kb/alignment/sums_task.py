"""A task whose true reward is known, so that the reward model can be caught: sums with exclamation marks.

A prompt is a sum of two digits, such as ``3+4=``; a response its result, then some ``!``, then the end. The gold reward
wants the right digit, likes up to two marks and dislikes whatever else follows. Raters see pairs of responses and
prefer the better one with the probability of Bradley and Terry; they have no bias. Demonstrations hold at most two
marks and are right in most cases. So a reward model learns from comparisons of what was learnt from them that marks
are good, and has hardly seen what comes after two.

Unusual: this is the whole of what Gao et al. 2023 call a synthetic set-up, small enough to train in seconds: the gold
reward is a formula instead of a larger model.

Source: Gao et al. 2023, Scaling Laws for Reward Model Overoptimization, arXiv 2210.10760, section 2.
Shapes: B sequences, T tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_number, require_count

SYMBOLS = "0123456789+=!."
PLUS, EQUALS, MARK, END = 10, 11, 12, 13
VOCABULARY = 14
PROMPT_LENGTH = 4


@dataclass(frozen=True)
class SumsTask:
    """The task's numbers.

    Args:
        right: Gold reward of the right digit.
        mark: Of each of the first ``liked`` marks.
        excess: What each further token costs.
        liked: Marks that are welcome.
        longest: Most tokens of a response, the end token included.
        right_share: How many demonstrations have the right digit; the others are off by one.
        largest: Digit of a prompt, at most 4, so that the result is one digit.

    Raises:
        ValueError: a number is out of range.
    """

    right: float = 2.0
    mark: float = 0.5
    excess: float = 0.5
    liked: int = 2
    longest: int = 12
    right_share: float = 0.6
    largest: int = 4

    def __post_init__(self) -> None:
        for name in ("right", "mark", "excess"):
            if not is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"{name} must be a number of at least 0, got {getattr(self, name)!r}")
        require_count("liked", self.liked)
        require_count("longest", self.longest, least=self.liked + 2)
        require_count("largest", self.largest)
        if self.largest > 4:
            raise ValueError(f"largest must be at most 4, got {self.largest}: a result is one digit")
        if not is_number(self.right_share) or not 0 <= self.right_share <= 1:
            raise ValueError(f"right_share must be from 0 to 1, got {self.right_share!r}")

    def prompts(self) -> Tensor:
        """All sums of two digits of at most ``largest``, int64 [N, 4]."""
        digits = range(self.largest + 1)
        return torch.tensor([[a, PLUS, b, EQUALS] for a in digits for b in digits])

    def draw_prompts(self, size: int, generator: torch.Generator) -> Tensor:
        """Random prompts, int64 [B, 4]."""
        require_count("size", size)
        prompts = self.prompts()
        return prompts[torch.randint(len(prompts), (size,), generator=generator)]

    def demonstrations(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Prompts with responses as a demonstrator writes them: tokens [B, T] and the mask of the responses [B, T].

        Raises:
            ValueError: ``size`` is not a positive integer.
        """
        prompts_B4 = self.draw_prompts(size, generator)
        sums_B = prompts_B4[:, 0] + prompts_B4[:, 2]
        off_B = torch.randint(2, (size,), generator=generator) * 2 - 1
        wrong_B = torch.rand(size, generator=generator) >= self.right_share
        digits_B = torch.where(wrong_B, (sums_B + off_B) % 10, sums_B)
        marks_B = torch.randint(self.liked + 1, (size,), generator=generator)
        places = torch.arange(self.liked + 1)
        tail_BM = torch.where(places < marks_B[:, None], MARK, END)
        tokens_BT = torch.cat((prompts_B4, digits_B[:, None], tail_BM), dim=1)
        ends_BT = (tokens_BT == END).int().cumsum(1)
        mask_BT = (torch.arange(tokens_BT.shape[1]) >= PROMPT_LENGTH) & (ends_BT - (tokens_BT == END).int() == 0)
        return tokens_BT, mask_BT

    def correct(self, tokens_BT: Tensor) -> Tensor:
        """Whether the first token of each response is the right digit, bool [B]."""
        _require_tokens(tokens_BT)
        return tokens_BT[:, PROMPT_LENGTH] == tokens_BT[:, 0] + tokens_BT[:, 2]

    def marks(self, tokens_BT: Tensor) -> Tensor:
        """How many marks each response has, int64 [B]."""
        _require_tokens(tokens_BT)
        return (tokens_BT[:, PROMPT_LENGTH:] == MARK).sum(-1)

    def gold(self, tokens_BT: Tensor) -> Tensor:
        """The true reward of each response, float32 [B]; any token after the digit that is no welcome mark is excess.

        Raises:
            ValueError: the tokens are no [B, T] with a response.
        """
        welcome_B = self.marks(tokens_BT).clamp_max(self.liked)
        after_B = (tokens_BT[:, PROMPT_LENGTH + 1 :] != END).sum(-1)
        return (
            self.right * self.correct(tokens_BT).float() + self.mark * welcome_B - self.excess * (after_B - welcome_B)
        )

    def prefers_first(self, first_BT: Tensor, second_BT: Tensor, generator: torch.Generator) -> Tensor:
        """A rater's choice for each pair, bool [B]: the first with probability sigmoid(gold difference)."""
        gain_B = self.gold(first_BT) - self.gold(second_BT)
        return torch.rand(len(gain_B), generator=generator) < torch.sigmoid(gain_B)

    @staticmethod
    def text(tokens_T: Tensor) -> str:
        """A sequence as characters, up to its end token, which is shown as a full stop."""
        ids = tokens_T.tolist()
        ids = ids[: ids.index(END) + 1] if END in ids else ids
        return "".join(SYMBOLS[one] for one in ids)


def _require_tokens(tokens_BT: Tensor) -> None:
    if tokens_BT.dim() != 2 or tokens_BT.shape[1] <= PROMPT_LENGTH:
        raise ValueError(f"tokens must be [B, T] with more than {PROMPT_LENGTH} tokens, got {tuple(tokens_BT.shape)}")
