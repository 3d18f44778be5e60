"""Who proposes the tokens that a target model verifies: a smaller model, or the prompt itself.

Unusual: a proposal comes with the distribution that it was drawn from, as the rule of acceptance needs it. What is
looked up in the prompt was drawn from nothing: its distribution is 1 at the token, and it is kept with probability p.

Sources: Leviathan et al. 2023, algorithm 1 (a model); Saxena 2023, prompt lookup decoding, in the form of transformers
5.23, ``PromptLookupCandidateGenerator``. Shapes: T tokens so far, g drafts, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import require_count
from kb.lm.decoding.stepping import LanguageModel, Stepper
from kb.lm.sampling import GREEDY, SamplingParams, draw, process, require_finite


def distribution(logits_BV: Tensor, tokens_BT: Tensor, sampling: SamplingParams) -> Tensor:
    """What the next token is drawn from, [B, V]: the filtered softmax, or 1 at the argmax where sampling is greedy.

    Raises:
        ValueError: logits that are not finite.
    """
    processed_BV = process(logits_BV, tokens_BT, sampling)
    require_finite(processed_BV)
    if sampling.greedy:
        return F.one_hot(processed_BV.argmax(dim=-1), processed_BV.shape[-1]).to(processed_BV.dtype)
    return processed_BV.softmax(dim=-1)


class Draft(Protocol):
    """Proposes tokens."""

    def propose(self, tokens_T: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """At most ``count`` tokens after these, int64 [g], and what each was drawn from, [g, V].

        Args:
            tokens_T: Prompt and output so far, int64 [T].
            count: Most tokens wanted, at least 1.
            generator: Source of the noise; None where nothing is drawn.
        """


class ModelDraft:
    """A smaller model of the same vocabulary, drawn from token by token.

    Args:
        model: A :class:`~kb.lm.DecoderLM`, or what is called like one.
        capacity: Most tokens of prompt and output.
        sampling: How it draws; best as the target does.
        use_cache: Whether to keep keys and values, where the model can.
    """

    def __init__(
        self, model: LanguageModel, *, capacity: int, sampling: SamplingParams = GREEDY, use_cache: bool = True
    ) -> None:
        require_count("capacity", capacity)
        self._sampling = sampling
        self._stepper = Stepper(model, batch=1, capacity=capacity, use_cache=use_cache)
        self._fed: list[int] = []

    @torch.inference_mode()
    def propose(self, tokens_T: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """As :meth:`Draft.propose`; what was fed and rejected is forgotten first."""
        require_count("count", count)
        self._rewind(tokens_T.tolist())
        sequence_1T = tokens_T[None]
        fresh_1T = sequence_1T[:, self._stepper.length :]
        rows = []
        for _ in range(count):
            logits_1V = self._stepper.feed(fresh_1T)[:, -1]
            self._fed += fresh_1T[0].tolist()
            q_1V = distribution(logits_1V, sequence_1T, self._sampling)
            fresh_1T = (q_1V.argmax(dim=-1) if generator is None else draw(q_1V.log(), (generator,)))[:, None]
            sequence_1T = torch.cat((sequence_1T, fresh_1T), dim=1)
            rows.append(q_1V)
        return sequence_1T[0, len(tokens_T) :], torch.cat(rows)

    def _rewind(self, tokens: list[int]) -> None:
        pairs = zip(self._fed, tokens[:-1], strict=False)  # the newest is always fed again: its logits are needed
        agreed = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(self._fed), len(tokens) - 1))
        self._stepper.truncate(agreed)
        del self._fed[agreed:]


class PromptLookup:
    """What followed the newest n-gram when it occurred before: no model at all.

    Tries the longest n-gram first and takes its first occurrence that something follows, as transformers does.

    Args:
        vocab_size: V, of the target.
        max_ngram: Longest n-gram that is looked up.
    """

    def __init__(self, vocab_size: int, max_ngram: int = 2) -> None:
        require_count("vocab_size", vocab_size)
        require_count("max_ngram", max_ngram)
        self._vocab_size, self._max_ngram = vocab_size, max_ngram

    def propose(self, tokens_T: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """As :meth:`Draft.propose`; nothing where no n-gram occurred before.

        Raises:
            ValueError: a token that was found is outside the vocabulary.
        """
        require_count("count", count)
        copied = self._lookup(tokens_T.tolist(), count)
        if copied and not 0 <= min(copied) <= max(copied) < self._vocab_size:
            raise ValueError(f"tokens must be 0 to {self._vocab_size - 1} (vocab_size), got {list(copied)}")
        found = torch.tensor(copied, dtype=torch.long, device=tokens_T.device)
        return found, F.one_hot(found, self._vocab_size).double()

    def _lookup(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        T = len(tokens)
        for n in range(min(self._max_ngram, T - 1), 0, -1):
            for start in range(T - n):  # the last n-gram itself has nothing behind it
                if tokens[start : start + n] == tokens[T - n :]:
                    return tokens[start + n : start + n + count]
        return ()
