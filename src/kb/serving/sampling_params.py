"""What a request may ask for: ``SamplingParams``, with the names, order, defaults and meaning of vLLM 0.32.

Unusual: they are frozen, so that requests can share them and equal ones compare equal, and lists become tuples.
Parameters of vLLM that are not implemented are fields that refuse all but their default, so that a script written for
vLLM is told what is missing.

Source: vLLM 0.32, ``vllm/sampling_params.py``. Token ids are ints; no tensor here.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from kb import lm
from kb.arguments import is_integer, is_number, require_count
from kb.serving.parameter_checks import absent, listed, refuse_absent, require, require_types

MOST_SEQUENCES = 16384
_MOST_BAD_WORDS = 128
# vLLM raises a temperature between 0 and this to it: the quotients would lose their precision.
_LEAST_TEMPERATURE = 0.01
_LOWEST_SEED, _HIGHEST_SEED = -(2**63), 2**64 - 1  # what torch.Generator.manual_seed takes


class RequestOutputKind(Enum):
    """What the outputs of a request hold while it is running."""

    CUMULATIVE = 0  # all that was generated so far
    DELTA = 1  # what is new since the last one
    FINAL_ONLY = 2  # nothing before the end


class Encoder(Protocol):
    """What is needed of a tokenizer here; :class:`kb.checkpoints.Tokenizer` is one."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""


@dataclass(frozen=True)
class SamplingParams:
    """How the tokens of a request are chosen, when it ends and what is reported.

    Args:
        n: Completions of the prompt. Their seeds are ``seed``, ``seed + 1`` and so on.
        presence_penalty: Subtracted once from the logit of every token in the output so far; -2 to 2.
        frequency_penalty: Subtracted as often as the token stands in the output so far; -2 to 2.
        repetition_penalty: Divides positive and multiplies negative logits of tokens in prompt and output.
        temperature: Logits are divided by it, 0 to 2; 0 is greedy, and under 0.01 counts as 0.01.
        watermarking: Not here.
        top_p: Keep the smallest set of most likely tokens with at least this probability.
        top_k: Keep the k most likely tokens; 0 or -1 keeps all.
        min_p: Keep tokens with at least this share of the most likely token's probability. Unlike vLLM, which does it
            before top-k and top-p, it is done after them, as in transformers and ``kb.lm``.
        seed: Of the request's own generator; None or -1 for one that the engine draws.
        stop: A string or strings that end the text, when they appear in it.
        stop_token_ids: Tokens that end it as the end-of-sequence token does.
        ignore_eos: Whether to go on after an end-of-sequence token.
        max_tokens: New tokens at most; None for as many as the context has room for.
        min_tokens: New tokens before an end-of-sequence or stop token can be chosen or a stop string counts.
        logprobs: Report the log-probabilities of this many most likely tokens and of the chosen one, of the model's
            own distribution; -1 for the whole vocabulary.
        prompt_logprobs: The same for the prompt's tokens.
        prompt_logprob_token_ids, prompt_logprob_start, logprob_token_ids, flat_logprobs: Not here.
        detokenize: Whether to make text of the tokens.
        skip_special_tokens: Whether to leave special tokens out of the text.
        spaces_between_special_tokens: Not here.
        include_stop_str_in_output: Whether the text keeps the stop string or stop token that ended it.
        output_kind: What outputs hold while the request is running.
        stream_interval, skip_clone, structured_outputs: Not here.
        logit_bias: Added to the logits of these tokens.
        allowed_token_ids: The only tokens that may be chosen.
        extra_args: Not here.
        bad_words: Words whose last token is not chosen where it would complete them.
        skip_reading_prefix_cache: Whether to compute a prompt anew that the prefix cache knows; if not given, only
            where ``prompt_logprobs`` needs the logits.
        thinking_token_budget, repetition_detection, routed_experts_prompt_start, trace_decode_token_ids: Not here.

    Raises:
        TypeError: an argument is of another type: True is no number.
        ValueError: it is out of its range, contradicts another one, or is not here.
    """

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    watermarking: None = absent(None)
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    prompt_logprob_token_ids: None = absent(None)
    prompt_logprob_start: None = absent(None)
    logprob_token_ids: None = absent(None)
    flat_logprobs: bool = absent(False)
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = absent(True)
    include_stop_str_in_output: bool = False
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    stream_interval: None = absent(None)
    skip_clone: bool = absent(False)
    structured_outputs: None = absent(None)
    logit_bias: Mapping[int, float] | None = field(default=None, hash=False)  # compared, but a dict has no hash
    allowed_token_ids: Sequence[int] | None = None
    extra_args: None = absent(None)
    bad_words: Sequence[str] = ()
    skip_reading_prefix_cache: bool | None = None
    thinking_token_budget: None = absent(None)
    repetition_detection: None = absent(None)
    routed_experts_prompt_start: int = absent(0)
    trace_decode_token_ids: None = absent(None)

    def __post_init__(self) -> None:
        refuse_absent(self)
        penalties = ("presence_penalty", "frequency_penalty", "repetition_penalty")
        flags = ("ignore_eos", "detokenize", "skip_special_tokens", "include_stop_str_in_output")
        require_types(self, (*penalties, "temperature", "top_p", "top_k", "min_p"), flags)
        self._check_numbers()
        self._check_counts()
        self._set_lists()
        self._set_defaults()
        if self.stop and not self.detokenize:
            raise ValueError(f"stop strings need text: stop is {list(self.stop)!r}, but detokenize is False")

    def _check_numbers(self) -> None:
        for name in ("presence_penalty", "frequency_penalty"):
            require(-2 <= getattr(self, name) <= 2, name, getattr(self, name), "between -2 and 2")
        require(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "above 0")
        require(0 <= self.temperature <= 2, "temperature", self.temperature, "between 0 (greedy) and 2")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        whole = is_integer(self.top_k) and self.top_k >= -1
        require(whole, "top_k", self.top_k, "0 or -1 (keep all) or a positive integer")
        require(0 <= self.min_p <= 1, "min_p", self.min_p, "between 0 and 1")

    def _check_counts(self) -> None:
        require_count("n", self.n)
        require(self.n <= MOST_SEQUENCES, "n", self.n, f"at most {MOST_SEQUENCES}")
        require(self.n == 1 or not self.greedy, "n", self.n, "1 with temperature 0: all would be the same")
        if self.max_tokens is not None:
            require_count("max_tokens", self.max_tokens)
        require_count("min_tokens", self.min_tokens, least=0)
        most = self.max_tokens
        require(most is None or self.min_tokens <= most, "min_tokens", self.min_tokens, f"at most max_tokens={most}")
        for name in ("logprobs", "prompt_logprobs"):
            value = getattr(self, name)
            if value is True:  # as in vLLM, whose server's clients send it
                object.__setattr__(self, name, 1)
            elif value is not None and value != -1:
                require_count(name, value, least=0)
        if self.seed is not None:
            last = _HIGHEST_SEED - self.n + 1  # the n-th completion's seed has to be one, too
            fits = is_integer(self.seed) and _LOWEST_SEED <= self.seed <= last
            require(fits, "seed", self.seed, f"an integer from {_LOWEST_SEED} to {last}")
            object.__setattr__(self, "seed", int(self.seed))  # a small integer of NumPy could not count on

    def _set_lists(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        object.__setattr__(self, "stop", listed("stop", stop, str))
        object.__setattr__(self, "bad_words", listed("bad_words", self.bad_words, str))
        object.__setattr__(self, "stop_token_ids", listed("stop_token_ids", self.stop_token_ids, int))
        if self.allowed_token_ids is not None:
            allowed = listed("allowed_token_ids", self.allowed_token_ids, int)
            require(len(allowed) > 0, "allowed_token_ids", list(allowed), "None (all) or hold at least one id")
            object.__setattr__(self, "allowed_token_ids", allowed)
        if self.logit_bias is not None:
            if not isinstance(self.logit_bias, Mapping):
                raise TypeError(f"logit_bias must map token ids to numbers, got {self.logit_bias!r}")
            listed("logit_bias", list(self.logit_bias), int)
            require(all(map(is_number, self.logit_bias.values())), "logit_bias", self.logit_bias, "finite numbers")
            object.__setattr__(self, "logit_bias", dict(self.logit_bias))

    def _set_defaults(self) -> None:
        if not isinstance(self.output_kind, RequestOutputKind):
            raise TypeError(f"output_kind must be a RequestOutputKind, got {self.output_kind!r}")
        if self.seed == -1:
            object.__setattr__(self, "seed", None)
        if self.greedy:  # nothing is drawn, so nothing is filtered, and equal requests are equal params
            for name, value in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0)):
                object.__setattr__(self, name, value)
        elif self.temperature < _LEAST_TEMPERATURE:
            warnings.warn(f"temperature {self.temperature} is raised to {_LEAST_TEMPERATURE}", stacklevel=4)
            object.__setattr__(self, "temperature", _LEAST_TEMPERATURE)
        skip = self.skip_reading_prefix_cache
        if skip is not None and not isinstance(skip, bool):
            raise TypeError(f"skip_reading_prefix_cache must be True, False or None, got {skip!r}")
        object.__setattr__(
            self, "skip_reading_prefix_cache", self.prompt_logprobs is not None if skip is None else skip
        )

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken and nothing is drawn."""
        return self.temperature == 0

    def to_lm(self) -> lm.SamplingParams:
        """What :func:`kb.lm.generate` has to be given for the same tokens; it knows these five parameters."""
        top_k = max(self.top_k, 0)
        return lm.SamplingParams(self.temperature, top_k, self.top_p, self.min_p, self.repetition_penalty)

    def verify(self, vocab_size: int, *, max_logprobs: int = 20) -> None:
        """Check what depends on the model.

        Args:
            vocab_size: Of the model: ids are below it.
            max_logprobs: Most log-probabilities a token that the engine reports; -1 for any number.

        Raises:
            ValueError: an id is outside the vocabulary, or more log-probabilities are wanted than allowed.
        """
        for name in ("stop_token_ids", "allowed_token_ids", "logit_bias"):
            wrong = [token for token in getattr(self, name) or () if not 0 <= token < vocab_size]
            require(not wrong, name, wrong and wrong[0], f"ids from 0 to {vocab_size - 1}")
        most = vocab_size if max_logprobs == -1 else min(max_logprobs, vocab_size)
        for name in ("logprobs", "prompt_logprobs"):
            wanted = getattr(self, name)
            fits = wanted is None or (vocab_size if wanted == -1 else wanted) <= most
            require(fits, name, wanted, f"at most {most}, the engine's max_logprobs")

    def limit(self, room: int) -> int:
        """New tokens after which the request ends, with a context that has room for ``room`` of them.

        Raises:
            ValueError: ``max_tokens`` is None, and ``min_tokens`` exceed the room.
        """
        if self.max_tokens is not None:
            return min(self.max_tokens, room)
        require(self.min_tokens <= room, "min_tokens", self.min_tokens, f"at most {room}, the room in the context")
        return room

    def bad_words_token_ids(self, tokenizer: Encoder) -> tuple[tuple[int, ...], ...]:
        """Token ids of the bad words, each as it stands at the beginning of a text and after a space.

        The second form counts only where the space makes it another first token and no further ones, as in byte-level
        BPE, where it is part of the word.

        Raises:
            ValueError: a word has no tokens, or there are more than 128 forms.
        """
        forms: list[tuple[int, ...]] = []
        for word in self.bad_words:
            bare = tuple(tokenizer.encode(word.lstrip(), add_special_tokens=False))
            require(len(bare) > 0, "bad_words", word, "words that have tokens")
            spaced = tuple(tokenizer.encode(" " + word.lstrip(), add_special_tokens=False))
            other = len(spaced) == len(bare) and spaced[0] != bare[0]
            forms += [bare, spaced] if other else [bare]
        require(len(forms) <= _MOST_BAD_WORDS, "bad_words", len(forms), f"at most {_MOST_BAD_WORDS} token sequences")
        return tuple(forms)
