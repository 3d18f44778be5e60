"""Perplexity of a text that may be longer than the context, per token and per byte.

Unusual: the plan of the windows is made of integers alone and tested without a model. Every token but the first is
scored exactly once, with at least ``context - stride`` tokens before it wherever the text has as many. Perplexity per
token depends on the tokenizer; the same nats spread over the bytes of the text do not.

Sources: Jelinek et al. 1977 (perplexity); the sliding window of Hugging Face's guide to the perplexity of fixed-length
models; bits per byte as in Gao et al. 2020, The Pile, section 3.1. Shapes: B windows, T tokens, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kb.arguments import is_number, require_count

LanguageModel = Callable[[Tensor], Tensor]  # tokens [B, T] to logits [B, T, V]


class TextTokenizer(Protocol):
    """What scoring asks of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...


@dataclass(frozen=True)
class Window:
    """Tokens ``start`` to ``end`` go through the model; those from ``scored`` on are predicted and counted."""

    start: int
    end: int
    scored: int


@dataclass(frozen=True)
class Perplexity:
    """What a text costs a model.

    Args:
        nats: Sum of -ln p over the predicted tokens.
        tokens: How many were predicted.
        bytes: Length of the predicted text in UTF-8.

    Raises:
        ValueError: the nats are no number of at least 0, or there is no token or byte.
    """

    nats: float
    tokens: int
    bytes: int

    def __post_init__(self) -> None:
        if not is_number(self.nats) or self.nats < 0:
            raise ValueError(f"nats must be a number of at least 0, got {self.nats!r}")
        require_count("tokens", self.tokens)
        require_count("bytes", self.bytes)

    @property
    def loss(self) -> float:
        """Mean nats of a token: the cross-entropy that training reports."""
        return self.nats / self.tokens

    @property
    def per_token(self) -> float:
        """Exp of the loss: as unsure as among so many equally likely tokens."""
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Bits that the text would take, coded with the model, over its bytes: comparable across tokenizers."""
        return self.nats / math.log(2) / self.bytes

    @property
    def per_byte(self) -> float:
        """Perplexity of a byte, 2 to the bits per byte."""
        return 2**self.bits_per_byte


def windows(length: int, context: int, stride: int) -> list[Window]:
    """The windows over a text of ``length`` tokens: each but the first scores ``stride`` tokens at most.

    Args:
        length: Tokens of the text, at least 2.
        context: Most tokens that the model takes at once, at least 2.
        stride: By how much a window moves on, less than ``context``: small is slow, and gives each token more context.

    Raises:
        ValueError: a number is none or out of its range.
    """
    require_count("length", length, least=2)
    require_count("context", context, least=2)
    require_count("stride", stride)
    if stride >= context:
        raise ValueError(f"stride must be less than context = {context}, as a token needs one before it, got {stride}")
    found = [Window(0, min(context, length), 1)]
    while found[-1].end < length:
        end = min(found[-1].end + stride, length)
        found.append(Window(end - context, end, found[-1].end))
    return found


@torch.inference_mode()
def token_log_likelihoods(model: LanguageModel, tokens_T: Tensor, *, context: int, stride: int) -> Tensor:
    """Ln p of every token but the first, [T - 1] float32.

    Args:
        model: Tokens [B, T] to logits [B, T, V].
        tokens_T: Ids of the text.
        context: As in :func:`windows`.
        stride: As in :func:`windows`.

    Raises:
        ValueError: the ids are not [T] of at least two integers, or :func:`windows` refuses the numbers.
    """
    _require_ids(tokens_T)
    found = []
    for window in windows(len(tokens_T), context, stride):
        ids = tokens_T[window.start : window.end]
        log_p_TV = model(ids[None, :-1])[0].float().log_softmax(dim=-1)
        log_p_T = log_p_TV.gather(1, ids[1:, None])[:, 0]
        found.append(log_p_T[window.scored - window.start - 1 :])
    return torch.cat(found)


@torch.inference_mode()
def token_log_likelihoods_loop(model: LanguageModel, tokens_T: Tensor, *, context: int, stride: int) -> Tensor:
    """The same, one token at a time: the reference."""
    _require_ids(tokens_T)
    found = []
    for window in windows(len(tokens_T), context, stride):
        for place in range(window.scored, window.end):
            logits_V = model(tokens_T[None, window.start : place])[0, -1].float()
            found.append(float(logits_V[tokens_T[place]] - torch.logsumexp(logits_V, dim=0)))
    return torch.tensor(found)


def perplexity(model: LanguageModel, tokenizer: TextTokenizer, text: str, *, context: int, stride: int) -> Perplexity:
    """What a text costs, in tokens of its own tokenizer and in bytes.

    The first token is given and not predicted, so that its bytes are not counted either where the tokenizer can say
    what they are: those of its decoded text, where the text begins with it. A token that begins every text counts for
    none, and one that holds a part of a character for one byte.

    Raises:
        ValueError: the text has fewer than two tokens, or :func:`windows` refuses the numbers.
    """
    ids = tokenizer.encode(text)
    if len(ids) < 2:
        raise ValueError(f"text must have at least two tokens, got {len(ids)}")
    log_p = token_log_likelihoods(model, torch.tensor(ids), context=context, stride=stride)
    given = _bytes_of_first(tokenizer, ids, text)
    return Perplexity(max(0.0, -float(log_p.double().sum())), len(ids) - 1, len(text.encode()) - given)


def _bytes_of_first(tokenizer: TextTokenizer, ids: list[int], text: str) -> int:
    """Bytes of the text that its first token stands for, as :func:`perplexity` says."""
    decode = getattr(tokenizer, "decode", None)
    if decode is None:
        return 0
    try:
        first: str = decode(ids[:1])
    except UnicodeDecodeError:
        return 1
    if text.startswith(first):
        return len(first.encode())
    return 1 if "\ufffd" in first else 0


def _require_ids(tokens_T: Tensor) -> None:
    if not isinstance(tokens_T, Tensor) or tokens_T.dim() != 1 or tokens_T.is_floating_point() or len(tokens_T) < 2:
        came = tuple(tokens_T.shape) if isinstance(tokens_T, Tensor) else type(tokens_T).__name__
        raise ValueError(f"tokens_T must be at least two integer ids in a tensor [T], got {came}")
