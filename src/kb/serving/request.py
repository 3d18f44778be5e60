"""One request inside the engine: its continuations, and what is told of them.

A continuation is one of the n samples of a request: a sequence, its own generator, its text so far. It begins with the
others as one sequence, and is forked off when the prompt is computed.
"""

import time
from collections.abc import Iterable
from collections.abc import Sequence as Values
from dataclasses import dataclass, field

import torch

from kb.serving.detokenizer import Decoder, Detokenizer, decode_token
from kb.serving.logits_edits import SamplingRow
from kb.serving.outputs import (
    CompletionOutput,
    Finish,
    Logprob,
    LogprobsOnePosition,
    RequestOutput,
    RequestStateStats,
    check_stop,
)
from kb.serving.sampler import Candidate, Sampled
from kb.serving.sampling_params import RequestOutputKind, SamplingParams
from kb.serving.sequence import Sequence


@dataclass(eq=False)
class Continuation:
    """One completion while it grows.

    Args:
        index: Which of the request's n.
        sequence: Its tokens; None until it is forked off.
        generator: Its source of noise, None where it is greedy.
        detokenizer: Makes its text, where one is wanted.
    """

    index: int
    sequence: Sequence | None
    generator: torch.Generator | None
    detokenizer: Detokenizer
    logprobs: list[LogprobsOnePosition] = field(default_factory=list)
    cumulative: float = 0.0
    finish: Finish | None = None
    told: int = 0  # how many of its tokens were handed out as deltas


@dataclass(eq=False)
class Request:
    """A request of the engine.

    Args:
        id: Its name.
        prompt: Its text, None where it came as ids.
        prompt_ids: Its tokens.
        params: As they were given.
        limit: New tokens at most, the context considered.
        eos_ids: The model's.
        bad_words: Token ids of ``params.bad_words``.
        continuations: As many as ``params.n``.
        tokenizer: For the texts of log-probabilities; None for none.
    """

    id: str
    prompt: str | None
    prompt_ids: list[int]
    params: SamplingParams
    limit: int
    eos_ids: tuple[int, ...]
    bad_words: tuple[tuple[int, ...], ...]
    continuations: list[Continuation]
    tokenizer: Decoder | None = None
    stats: RequestStateStats = field(
        default_factory=lambda: RequestStateStats(arrival_time=time.time(), queued_ts=time.monotonic())
    )
    num_cached_tokens: int | None = None
    prompt_logprobs: list[LogprobsOnePosition | None] | None = None

    @property
    def finished(self) -> bool:
        """Whether all continuations are."""
        return all(one.finish is not None for one in self.continuations)

    @property
    def lacks_prompt_logprobs(self) -> bool:
        """Whether log-probabilities of the prompt are wanted, and not all are there yet."""
        return self.prompt_logprobs is not None and len(self.prompt_logprobs) < len(self.prompt_ids)

    def row(self, one: Continuation) -> SamplingRow:
        """What the sampler has to know of a continuation."""
        assert one.sequence is not None
        output = one.sequence.output
        return SamplingRow(self.params, self.prompt_ids, output, one.generator, self.eos_ids, self.bad_words)

    def take(self, one: Continuation, sampled: Sampled | Exception) -> None:
        """Give a continuation its next token, and decide whether it ends with it."""
        assert one.sequence is not None
        try:
            self._take(one, one.sequence, sampled)
        except Exception as error:  # a tokenizer that fails on these tokens, say: nobody else's business
            one.finish = Finish("error", str(error))
            self.stats.is_corrupted = True

    def _take(self, one: Continuation, sequence: Sequence, sampled: Sampled | Exception) -> None:
        if isinstance(sampled, Exception):
            raise sampled
        sequence.tokens.append(sampled.token)
        count = len(sequence.tokens) - sequence.prompt_length
        one.finish = check_stop(sampled.token, count, self.params, eos_ids=self.eos_ids, limit=self.limit)
        ended = one.finish is not None and one.finish.finish_reason == "stop"
        stop = one.detokenizer.append(sampled.token, stop_terminated=ended)
        if stop is not None:
            one.finish = Finish("stop", stop)
        if sampled.logprob is not None:
            one.logprobs.append(self.described(sampled.top, sequence.tokens[:-1]))
            one.cumulative += sampled.logprob
        now = time.monotonic()
        self.stats.num_generation_tokens += 1
        self.stats.last_token_ts = now
        if not self.stats.first_token_ts:
            self.stats.first_token_ts = now
            self.stats.first_token_latency = time.time() - self.stats.arrival_time

    def described(self, candidates: Iterable[Candidate], before: Values[int]) -> LogprobsOnePosition:
        """Candidates for the place after ``before`` as they are reported, with their text where text is made."""
        tokenizer = self.tokenizer
        return {
            token: Logprob(logprob, rank, None if tokenizer is None else decode_token(tokenizer, token, before))
            for token, logprob, rank in candidates
        }

    def output(self) -> RequestOutput | None:
        """What there is to tell now; None where the request wants to hear of nothing before its end."""
        kind = self.params.output_kind
        if kind is RequestOutputKind.FINAL_ONLY and not self.finished:
            return None
        outputs = [self._completion(one) for one in self.continuations]
        return RequestOutput(
            self.id,
            self.prompt,
            self.prompt_ids,
            self.prompt_logprobs,
            outputs,
            self.finished,
            self.stats,
            self.num_cached_tokens,
        )

    def _completion(self, one: Continuation) -> CompletionOutput:
        delta = self.params.output_kind is RequestOutputKind.DELTA
        tokens = one.sequence.output if one.sequence is not None else []
        first = one.told if delta else 0
        one.told = len(tokens)
        wants = self.params.logprobs is not None
        return CompletionOutput(
            one.index,
            one.detokenizer.get_next_output_text(one.finish is not None, delta),
            tokens[first:],
            one.cumulative if wants else None,
            one.logprobs[first:] if wants else None,
            one.finish.finish_reason if one.finish else None,
            one.finish.stop_reason if one.finish else None,
        )
