"""A model that is fed a few tokens at a time, may take the newest back, and may carry on with other rows.

What every search of this package needs of a model. With a :class:`~kb.lm.DecoderLM` the keys and values stay in a
:class:`~kb.lm.KVCache`; any other callable from tokens [B, T] to logits [B, T, V] is run over all of them again.

Shapes: B sequences, T new tokens, S tokens seen, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from kb.arguments import is_integer, require_count
from kb.lm.cache import KVCache
from kb.lm.generation import end_ids, prompt_ids
from kb.lm.model import DecoderLM

LanguageModel = Callable[[Tensor], Tensor]  # tokens [B, T] to logits [B, T, V]
Tokens = Tensor | Sequence[int] | Sequence[Sequence[int]]


class Stepper:
    """A model and the tokens that it has seen.

    Args:
        model: A :class:`~kb.lm.DecoderLM`, or what is called like one.
        batch: B, sequences at the beginning.
        capacity: Most tokens that a sequence may reach.
        use_cache: Whether to keep keys and values, where the model can.
    """

    def __init__(self, model: LanguageModel, *, batch: int, capacity: int, use_cache: bool = True) -> None:
        self._model = model
        self._cache: KVCache | None = None
        self._seen_BS: Tensor | None = None
        self.calls = 0
        self.length = 0
        if use_cache and isinstance(model, DecoderLM):
            weight = model.embed_tokens.weight
            self._cache = KVCache(
                model.config, batch=batch, capacity=capacity, dtype=weight.dtype, device=weight.device
            )

    def feed(self, tokens_BT: Tensor) -> Tensor:
        """Logits after each of the new tokens, [B, T, V], float32 or float64."""
        T = tokens_BT.shape[1]
        self.calls += 1
        if self._cache is not None and isinstance(self._model, DecoderLM):
            logits_BTV = self._model(tokens_BT, cache=self._cache)
        else:
            seen_BS = tokens_BT if self._seen_BS is None else torch.cat((self._seen_BS, tokens_BT), dim=1)
            logits_BTV = self._model(seen_BS)[:, -T:]
            self._seen_BS = seen_BS
        self.length += T
        return logits_BTV if logits_BTV.dtype == torch.float64 else logits_BTV.float()

    def truncate(self, length: int) -> None:
        """Forget all tokens from position ``length`` on."""
        if self._cache is not None:
            self._cache.truncate(length)
        elif self._seen_BS is not None:
            self._seen_BS = self._seen_BS[:, :length]
        self.length = length

    def select(self, rows_R: Tensor) -> None:
        """Carry on with the sequences at ``rows_R``, int64 [R], some of them repeatedly or never."""
        if self._cache is not None:
            self._cache.select(rows_R)
        elif self._seen_BS is not None:
            self._seen_BS = self._seen_BS[rows_R]


def read_tokens(model: LanguageModel, tokens: Tokens) -> Tensor:
    """Ids as int64 [B, T] where the model is.

    Raises:
        TypeError: the model cannot be called, or ids are no integers.
        ValueError: an empty or ragged text, or an id outside the vocabulary.
    """
    if not callable(model):
        raise TypeError(f"model must be callable, tokens [B, T] to logits [B, T, V], got {type(model).__name__}")
    if isinstance(model, DecoderLM):
        return prompt_ids(tokens, model.config.vocab_size, model.embed_tokens.weight.device)[0]
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return prompt_ids(tokens, None, None if parameter is None else parameter.device)[0]


def read_request(
    model: LanguageModel, tokens: Tokens, max_new_tokens: int, stop_ids: Iterable[int] | None
) -> tuple[Tensor, tuple[int, ...]]:
    """Prompts [B, T] where the model is, and the ids that end a sequence (the model's own where None is given).

    Raises:
        TypeError: the model cannot be called, or ids are no integers.
        ValueError: an empty or ragged prompt, an id outside the vocabulary, ``max_new_tokens`` below 1, or more tokens
            than the model's context.
    """
    prompt_BT = read_tokens(model, tokens)
    require_count("max_new_tokens", max_new_tokens)
    if isinstance(model, DecoderLM):
        T, limit = prompt_BT.shape[1], model.config.context_length
        if T + max_new_tokens > limit:
            raise ValueError(f"{T} prompt tokens and {max_new_tokens} new ones exceed the model's context of {limit}")
        return prompt_BT, end_ids(stop_ids, model.config)
    stops = () if stop_ids is None else tuple(stop_ids)
    for stop in stops:
        if not is_integer(stop) or stop < 0:
            raise ValueError(f"stop_ids must be token ids, got {stop!r}")
    return prompt_BT, stops
