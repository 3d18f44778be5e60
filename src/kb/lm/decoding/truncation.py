"""Processors that reshape a distribution or cut its tail: temperature, top-k, top-p, min-p, typical, epsilon, eta.

Each is transformers' class of that name, bit for bit: the filters that ``kb.lm.sampling`` has are called, the others
are written here in the same order of operations, as near a threshold another rounding keeps another token. Unusual:
typical sampling drops from both ends, so that the most likely token may go.

Sources: Fan et al. 2018 (top-k); Holtzman et al. 2020 (top-p); Nguyen et al. 2024 (min-p); Meister et al. 2023,
Locally Typical Sampling; Hewitt et al. 2022, Truncation Sampling as Language Model Desmoothing (epsilon and eta).
Shapes: B sequences, T tokens so far, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.lm.decoding.processor import require_scores
from kb.lm.sampling import keep_min_p, keep_top_k, keep_top_p


def _require_between(name: str, value: object, low: float, high: float, *, open_low: bool, open_high: bool) -> None:
    if not is_number(value):
        raise TypeError(f"{name} must be a finite number, got {value!r}")
    if not low <= value <= high or (open_low and value == low) or (open_high and value == high):
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        raise ValueError(f"{name} must be in {left}{low:g}, {high:g}{right}, got {value}")


@dataclass(frozen=True)
class Temperature:
    """Divide the scores: below 1 the distribution sharpens, above it flattens; the order of the tokens stays.

    Raises:
        TypeError: ``temperature`` is no finite number.
        ValueError: it is not above 0 (for the most likely token at each step take the argmax).
    """

    temperature: float

    def __post_init__(self) -> None:
        _require_between("temperature", self.temperature, 0, math.inf, open_low=True, open_high=True)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] over the temperature."""
        require_scores(input_ids, scores)
        return scores / self.temperature


@dataclass(frozen=True)
class TopK:
    """Keep the k most likely tokens, and what is tied with the k-th.

    Raises:
        ValueError: ``top_k`` or ``min_tokens_to_keep`` is no positive integer.
    """

    top_k: int
    min_tokens_to_keep: int = 1

    def __post_init__(self) -> None:
        require_count("top_k", self.top_k)
        require_count("min_tokens_to_keep", self.min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], all but those of the kept tokens minus infinity."""
        require_scores(input_ids, scores)
        return keep_top_k(scores, max(self.top_k, self.min_tokens_to_keep))


@dataclass(frozen=True)
class TopP:
    """Keep the smallest set of most likely tokens that together have at least probability p: the nucleus.

    Raises:
        TypeError: ``top_p`` is no finite number.
        ValueError: it is not in (0, 1], or ``min_tokens_to_keep`` is no positive integer.
    """

    top_p: float
    min_tokens_to_keep: int = 1

    def __post_init__(self) -> None:
        _require_between("top_p", self.top_p, 0, 1, open_low=True, open_high=False)
        require_count("min_tokens_to_keep", self.min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], all but those of the kept tokens minus infinity."""
        require_scores(input_ids, scores)
        return keep_top_p(scores, self.top_p, least=self.min_tokens_to_keep)


@dataclass(frozen=True)
class MinP:
    """Keep tokens with at least this share of the most likely token's probability.

    Raises:
        TypeError: ``min_p`` is no finite number.
        ValueError: it is not in [0, 1], or ``min_tokens_to_keep`` is no positive integer.
    """

    min_p: float
    min_tokens_to_keep: int = 1

    def __post_init__(self) -> None:
        _require_between("min_p", self.min_p, 0, 1, open_low=False, open_high=False)
        require_count("min_tokens_to_keep", self.min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], all but those of the kept tokens minus infinity."""
        require_scores(input_ids, scores)
        return keep_min_p(scores, self.min_p, least=self.min_tokens_to_keep)


@dataclass(frozen=True)
class Typical:
    """Keep the tokens whose information -log p is nearest to the entropy, until together they have probability mass.

    Raises:
        TypeError: ``mass`` is no finite number.
        ValueError: it is not in (0, 1), or ``min_tokens_to_keep`` is no positive integer.
    """

    mass: float = 0.9
    min_tokens_to_keep: int = 1

    def __post_init__(self) -> None:
        _require_between("mass", self.mass, 0, 1, open_low=True, open_high=True)
        require_count("min_tokens_to_keep", self.min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], all but those of the kept tokens minus infinity."""
        require_scores(input_ids, scores)
        log_p_BV = scores.log_softmax(dim=-1)
        entropy_B1 = -(log_p_BV * log_p_BV.exp()).nansum(dim=-1, keepdim=True)  # minus infinity times 0 is nan
        distance_BV, order_BV = (-log_p_BV - entropy_B1).abs().sort(descending=False)
        mass_BV = scores.gather(1, order_BV).softmax(dim=-1).cumsum(dim=-1)
        last_B1 = (mass_BV < self.mass).sum(dim=1, keepdim=True).clamp_max(scores.shape[-1] - 1)
        drop_BV = distance_BV > distance_BV.gather(1, last_B1)
        drop_BV[:, : self.min_tokens_to_keep] = False
        return scores.masked_fill(drop_BV.scatter(1, order_BV, drop_BV), -torch.inf)


@dataclass(frozen=True)
class Epsilon:
    """Keep tokens with at least this probability, and the most likely in any case.

    Raises:
        TypeError: ``epsilon`` is no finite number.
        ValueError: it is not in (0, 1), or ``min_tokens_to_keep`` is no positive integer.
    """

    epsilon: float
    min_tokens_to_keep: int = 1

    def __post_init__(self) -> None:
        _require_between("epsilon", self.epsilon, 0, 1, open_low=True, open_high=True)
        require_count("min_tokens_to_keep", self.min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], all but those of the kept tokens minus infinity."""
        require_scores(input_ids, scores)
        drop_BV = (scores.softmax(dim=-1) < self.epsilon) & _not_among(scores, self.min_tokens_to_keep)
        return scores.masked_fill(drop_BV, -torch.inf)


@dataclass(frozen=True)
class Eta:
    """Epsilon with a threshold that sinks where the model is unsure: min(epsilon, sqrt(epsilon) exp(-entropy)).

    Raises:
        TypeError: ``epsilon`` is no finite number.
        ValueError: it is not in (0, 1), or ``min_tokens_to_keep`` is no positive integer.
    """

    epsilon: float
    min_tokens_to_keep: int = 1

    def __post_init__(self) -> None:
        _require_between("epsilon", self.epsilon, 0, 1, open_low=True, open_high=True)
        require_count("min_tokens_to_keep", self.min_tokens_to_keep)

    def thresholds(self, scores: Tensor) -> Tensor:
        """The probability below which a token of each row is dropped, [B, 1]."""
        log_p_BV = scores - scores.logsumexp(dim=-1, keepdim=True)
        finite_BV = log_p_BV.clamp_min(torch.finfo(scores.dtype).min)  # minus infinity times 0 would be nan
        entropy_B1 = -(finite_BV * log_p_BV.softmax(dim=-1)).sum(dim=-1, keepdim=True)
        # A tensor of single precision, as theirs: its root is another than that of Python's number.
        epsilon = torch.tensor(self.epsilon, device=scores.device)
        return torch.min(epsilon, epsilon.sqrt() * (-entropy_B1).exp())

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], all but those of the kept tokens minus infinity."""
        require_scores(input_ids, scores)
        low_BV = scores.softmax(dim=-1) < self.thresholds(scores)
        return scores.masked_fill(low_BV & _not_among(scores, self.min_tokens_to_keep), -torch.inf)


def _not_among(scores: Tensor, count: int) -> Tensor:
    """Whether a token is below the ``count`` largest of its row; what is tied with the last of them is not."""
    return scores < scores.topk(min(count, scores.shape[-1])).values[:, -1:]
