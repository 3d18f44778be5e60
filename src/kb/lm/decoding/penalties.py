"""Processors that look at what was said: penalties for repeating, forbidden n-grams, a least length.

Repetition penalty, n-grams and least lengths are transformers' classes of those names; presence and frequency
penalties are OpenAI's and vLLM's: mu_j - c_j alpha_frequency - [c_j > 0] alpha_presence, where c_j counts token j in
the output alone. Unusual: what counts differs. The repetition penalty and the n-grams look at the prompt too, so that
a prompt which holds the answer keeps it from being given. And CTRL divides scores of either sign; to multiply negative
ones, which dividing would make likelier, is the libraries' repair.

Sources: Keskar et al. 2019, CTRL, section 4.1 (repetition penalty); Paulus et al. 2018, "Repetition avoidance at test
time" (no n-gram twice); OpenAI, API reference, "Frequency and presence penalties".
Shapes: B sequences, T tokens so far, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_integer, is_number, require_count
from kb.lm.decoding.processor import require_scores
from kb.lm.sampling import penalize_repetition


@dataclass(frozen=True)
class RepetitionPenalty:
    """Divide the score of every token seen by ``penalty`` where positive, multiply where negative.

    Args:
        penalty: Above 1 discourages, below 1 encourages.
        prompt_ignore_length: So many tokens at the beginning do not count as seen.

    Raises:
        TypeError: ``penalty`` is no finite number.
        ValueError: it is not above 0, or ``prompt_ignore_length`` is a negative or no integer.
    """

    penalty: float
    prompt_ignore_length: int = 0

    def __post_init__(self) -> None:
        _require_number("penalty", self.penalty)
        if self.penalty <= 0:
            raise ValueError(f"penalty must be above 0, got {self.penalty}")
        require_count("prompt_ignore_length", self.prompt_ignore_length, least=0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] with those of the tokens seen made smaller."""
        require_scores(input_ids, scores)
        return penalize_repetition(scores, input_ids[:, self.prompt_ignore_length :].long(), self.penalty)


@dataclass(frozen=True)
class _OutputPenalty:
    """A penalty on what the output holds.

    Args:
        penalty: Positive discourages, negative encourages; OpenAI and vLLM allow -2 to 2.
        prompt_length: So many tokens at the beginning are the prompt and do not count.

    Raises:
        TypeError: ``penalty`` is no finite number.
        ValueError: ``prompt_length`` is a negative or no integer.
    """

    penalty: float
    prompt_length: int = 0

    def __post_init__(self) -> None:
        _require_number("penalty", self.penalty)
        require_count("prompt_length", self.prompt_length, least=0)


class PresencePenalty(_OutputPenalty):
    """Subtract ``penalty`` from the score of every token that the output holds, however often.

    The output begins at ``prompt_length``. TypeError where the penalty is no finite number, ValueError where the length
    is a negative or no integer.
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] less the penalty of each token."""
        require_scores(input_ids, scores)
        return scores - self.penalty * (_counts(input_ids, scores, self.prompt_length) > 0).to(scores.dtype)


class FrequencyPenalty(_OutputPenalty):
    """Subtract ``penalty`` from a score as often as the output holds the token; else as :class:`PresencePenalty`."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] less the penalty of each token."""
        require_scores(input_ids, scores)
        return scores - self.penalty * _counts(input_ids, scores, self.prompt_length)


@dataclass(frozen=True)
class NoRepeatNGram:
    """Forbid the tokens that would complete an n-gram which the sequence holds already, the prompt included.

    Raises:
        ValueError: ``ngram_size`` is no positive integer.
    """

    ngram_size: int

    def __post_init__(self) -> None:
        require_count("ngram_size", self.ngram_size)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], those of forbidden tokens minus infinity."""
        require_scores(input_ids, scores)
        T, n = input_ids.shape[1], self.ngram_size
        if n > T:
            return scores
        begun_B1n = input_ids[:, None, T + 1 - n :]  # the n - 1 newest tokens
        windows_BWn = input_ids.unfold(1, n, 1)
        same_BW = (windows_BWn[..., :-1] == begun_B1n).all(dim=-1)
        forbidden_BV = torch.zeros_like(scores, dtype=torch.int32)
        forbidden_BV.scatter_add_(1, windows_BWn[..., -1].long(), same_BW.int())
        return scores.masked_fill(forbidden_BV > 0, -torch.inf)


@dataclass(frozen=True)
class MinLength:
    """Forbid the end of the sequence until prompt and output together have ``min_length`` tokens.

    Raises:
        ValueError: ``min_length`` is a negative or no integer, or ``eos_token_id`` holds a negative id or none.
        TypeError: ``eos_token_id`` is neither an integer nor some.
    """

    min_length: int
    eos_token_id: int | tuple[int, ...]

    def __post_init__(self) -> None:
        require_count("min_length", self.min_length, least=0)
        _ends(self.eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], those of ends that are too early minus infinity."""
        require_scores(input_ids, scores)
        return _without_ends(scores, self.eos_token_id) if input_ids.shape[1] < self.min_length else scores


@dataclass(frozen=True)
class MinNewTokens:
    """Forbid the end of the sequence until the output alone has ``min_new_tokens`` tokens.

    Raises:
        ValueError: a length is a negative or no integer, or ``eos_token_id`` holds a negative id or none.
        TypeError: ``eos_token_id`` is neither an integer nor some.
    """

    prompt_length_to_skip: int
    min_new_tokens: int
    eos_token_id: int | tuple[int, ...]

    def __post_init__(self) -> None:
        require_count("prompt_length_to_skip", self.prompt_length_to_skip, least=0)
        require_count("min_new_tokens", self.min_new_tokens, least=0)
        _ends(self.eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V], those of ends that are too early minus infinity."""
        require_scores(input_ids, scores)
        early = input_ids.shape[1] - self.prompt_length_to_skip < self.min_new_tokens
        return _without_ends(scores, self.eos_token_id) if early else scores


def _require_number(name: str, value: object) -> None:
    if not is_number(value):
        raise TypeError(f"{name} must be a finite number, got {value!r}")


def _counts(input_ids: Tensor, scores: Tensor, skipped: int) -> Tensor:
    """How often a row holds each token after the first ``skipped``, [B, V] of the scores' dtype."""
    output_BT = input_ids[:, skipped:].long()
    return torch.zeros_like(scores).scatter_add(1, output_BT, torch.ones_like(output_BT, dtype=scores.dtype))


def _ends(eos_token_id: int | tuple[int, ...]) -> tuple[int, ...]:
    ids = (eos_token_id,) if isinstance(eos_token_id, int) else eos_token_id
    if not isinstance(ids, tuple | list) or not all(is_integer(one) for one in ids):
        raise TypeError(f"eos_token_id must be an integer or a tuple of them, got {eos_token_id!r}")
    if not ids or min(ids) < 0:
        raise ValueError(f"eos_token_id must be token ids, at least one, got {eos_token_id!r}")
    return tuple(ids)


def _without_ends(scores: Tensor, eos_token_id: int | tuple[int, ...]) -> Tensor:
    inside = [one for one in _ends(eos_token_id) if one < scores.shape[-1]]
    return scores.index_fill(1, torch.tensor(inside, dtype=torch.long, device=scores.device), -torch.inf)
