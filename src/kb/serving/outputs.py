"""What a request gives back, and when it ends: vLLM's ``RequestOutput`` and what is in it.

Fields have the names and the meaning of vLLM 0.32, less what is not implemented here (LoRA, encoders, transfers).
Unusual: a sequence ends for the first of three reasons that holds, in vLLM's order: an end-of-sequence token, which
leaves no ``stop_reason``; a stop token, which is it; the length. Stop strings are found where there is text, in
:mod:`kb.serving.detokenizer`, and go before all three.

Source: vLLM 0.32, ``vllm/outputs.py``, ``vllm/logprobs.py`` and ``check_stop`` in ``vllm/v1/core/sched/utils.py``. Here
are ints and texts only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kb.serving.sampling_params import SamplingParams

FinishReason = Literal["stop", "length", "abort", "error"]


@dataclass(frozen=True)
class Logprob:
    """How likely a token was at its place.

    Args:
        logprob: Natural logarithm of its probability in the model's own distribution.
        rank: 1 for the most likely token.
        decoded_token: Its text, None where no text is made.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


# By token id; the chosen token (of the prompt: the token that is there) comes first, then the most likely ones.
LogprobsOnePosition = dict[int, Logprob]


@dataclass
class CompletionOutput:
    """One completion of a prompt, as far as it has come.

    Args:
        index: Which of the ``n`` of its request.
        text: All so far, or what is new where the request asks for deltas.
        token_ids: The same, as ids. The token that ended it is among them, although not in the text.
        cumulative_logprob: Sum over its tokens, None where ``logprobs`` was not asked for.
        logprobs: One mapping a token, None where not asked for.
        finish_reason: None while it is running; "stop", "length", "abort", or "error" where it failed.
        stop_reason: The stop string or the stop token that ended it, None after an end-of-sequence token.
    """

    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[LogprobsOnePosition] | None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None

    def finished(self) -> bool:
        """Whether nothing more comes."""
        return self.finish_reason is not None


@dataclass
class RequestStateStats:
    """When a request got how far.

    Args:
        num_generation_tokens: New tokens.
        num_preemptions: How often it lost its blocks.
        arrival_time: Seconds since the epoch.
        queued_ts: When it was queued, in seconds of a monotonic clock, as are the next three; 0 is never.
        scheduled_ts: When it was first computed on.
        first_token_ts: When its first token was chosen.
        last_token_ts: When its newest token was chosen.
        first_token_latency: Seconds from arrival to the first token.
        is_corrupted: Whether its logits held no distribution.
    """

    num_generation_tokens: int = 0
    num_preemptions: int = 0
    arrival_time: float = 0.0
    queued_ts: float = 0.0
    scheduled_ts: float = 0.0
    first_token_ts: float = 0.0
    last_token_ts: float = 0.0
    first_token_latency: float = 0.0
    is_corrupted: bool = False


@dataclass
class RequestOutput:
    """What a request has given so far.

    Args:
        request_id: Its name.
        prompt: Its text, None where it was given as ids.
        prompt_token_ids: Its tokens.
        prompt_logprobs: One mapping a token, but None for the first, which nothing predicts; None where not asked for.
        outputs: Its completions.
        finished: Whether all of them are.
        metrics: Its times and counts.
        num_cached_tokens: Tokens of the prompt that were not computed, as the prefix cache had them.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    prompt_logprobs: list[LogprobsOnePosition | None] | None
    outputs: list[CompletionOutput]
    finished: bool
    metrics: RequestStateStats | None = None
    num_cached_tokens: int | None = None


@dataclass
class BeamSearchSequence:
    """One beam.

    Args:
        tokens: Prompt and new tokens.
        logprobs: For every new token the candidates that it was one of.
        cum_logprob: Sum over its new tokens.
        text: Of all its tokens, prompt included; set at the end.
        finish_reason: As in :class:`CompletionOutput`.
        stop_reason: As in :class:`CompletionOutput`.
    """

    tokens: list[int]
    logprobs: list[LogprobsOnePosition] = field(default_factory=list)
    cum_logprob: float = 0.0
    text: str | None = None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None


@dataclass
class BeamSearchOutput:
    """The beams of one prompt, best first, as many as the beam is wide."""

    sequences: list[BeamSearchSequence]


class Finish(NamedTuple):
    """Why a sequence ended."""

    finish_reason: FinishReason
    stop_reason: int | str | None


def check_stop(
    token: int, num_output_tokens: int, params: SamplingParams, *, eos_ids: Sequence[int], limit: int
) -> Finish | None:
    """Whether a sequence ends with the token that was just chosen.

    ``min_tokens`` needs no look here: until then the sampler chooses no token that would end it.

    Args:
        token: The newest.
        num_output_tokens: New tokens, it included.
        params: Of the request.
        eos_ids: The model's end-of-sequence tokens. The first is the tokenizer's own; the others, which a generation
            config adds, end a sequence like stop tokens and are given as the reason, as in vLLM.
        limit: New tokens at most, :meth:`SamplingParams.limit` of the room in the context.

    Returns:
        The reasons, or None where it goes on.
    """
    ends = () if params.ignore_eos else eos_ids
    if token in ends[:1]:
        return Finish("stop", None)
    if token in ends or token in params.stop_token_ids:
        return Finish("stop", token)
    return Finish("length", None) if num_output_tokens >= limit else None
