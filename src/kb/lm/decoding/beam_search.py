"""Beam search: a reference over Python lists, and a fast path for many prompts with a KV cache.

Both give transformers' sequences and scores for the same weights. Unusual, as there: processors edit log-probabilities
instead of logits, and what they leave is not normalised again; an end is only accepted where it is among the W best
successors; and one search keeps two lists, the running beams and the finished texts, which compete only by the rule for
stopping. Where fewer than W beams exist (small vocabularies) ours has fewer, where transformers repeats the first.

Source: transformers 5.23, ``generation/utils.py``, ``_beam_search``; Wu et al. 2016, equation 14 (length penalty).
Shapes: B prompts, W beams, K candidates, T prompt tokens, S tokens so far, N new tokens at most, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.lm.decoding.beam_config import BeamConfig
from kb.lm.decoding.penalties import MinNewTokens
from kb.lm.decoding.processor import Processors
from kb.lm.decoding.stepping import LanguageModel, Stepper, Tokens, read_request
from kb.lm.sampling import require_finite


@dataclass(frozen=True)
class Hypothesis:
    """One text: prompt and output, and its sum of log-probabilities, or its score once it is finished."""

    tokens: tuple[int, ...]
    score: float = 0.0


@dataclass(frozen=True)
class BeamOutput:
    """What was found, best first, prompt after prompt.

    Args:
        sequences: Prompt and output, filled up behind the end, int64 [B * num_return_sequences, S].
        sequences_scores: Sum of log-probabilities over the length penalty, [B * num_return_sequences]; minus infinity
            where there are fewer texts than were asked for.
    """

    sequences: Tensor
    sequences_scores: Tensor


def _all_processors(processors: Processors, config: BeamConfig, T: int, eos_ids: Sequence[int]) -> Processors:
    if not config.min_new_tokens or not eos_ids:
        return processors
    return Processors([MinNewTokens(T, config.min_new_tokens, tuple(eos_ids)), *processors])


@torch.inference_mode()
def beam_search_loop(
    model: LanguageModel,
    prompt: Sequence[int],
    config: BeamConfig,
    *,
    eos_ids: Sequence[int] = (),
    processors: Processors | None = None,
) -> list[Hypothesis]:
    """Reference: every beam alone through the whole model at every step.

    Args:
        model: Tokens [1, T] to logits [1, T, V].
        prompt: Ids, at least one.
        config: How to search.
        eos_ids: What ends a text.
        processors: Edits of the log-probabilities.

    Returns:
        The ``num_return_sequences`` best finished texts, best first; fewer where there are fewer.

    Raises:
        ValueError: logits that are not finite.
    """
    processors = _all_processors(processors or Processors(), config, len(prompt), eos_ids)
    running, finished = [Hypothesis(tuple(prompt))], list[Hypothesis]()
    for new in range(1, config.max_new_tokens + 1):
        successors = []
        for beam in running:
            tokens = torch.tensor([beam.tokens])
            logits = model(tokens)[:, -1].float()
            require_finite(logits)
            log_p = processors(tokens, logits.log_softmax(dim=-1))[0]
            successors += [
                Hypothesis((*beam.tokens, token), beam.score + one)
                for token, one in enumerate(log_p.tolist())
                if one > -torch.inf
            ]
        successors.sort(key=lambda one: one.score, reverse=True)
        successors = successors[: config.candidates(len(eos_ids))]
        ended = [new == config.max_new_tokens or one.tokens[-1] in eos_ids for one in successors]
        for one, ends in zip(successors[: config.num_beams], ended, strict=False):
            if ends:
                finished.append(Hypothesis(one.tokens, one.score / config.divisor(new)))
        finished = sorted(finished, key=lambda one: one.score, reverse=True)[: config.num_beams]
        running = [one for one, ends in zip(successors, ended, strict=True) if not ends][: config.num_beams]
        if not running or _may_stop(running[0].score, finished, new, config):
            break
    return finished[: config.num_return_sequences]


def _may_stop(best: float, finished: Sequence[Hypothesis], new: int, config: BeamConfig) -> bool:
    if len(finished) < config.num_beams:
        return False
    return config.early_stopping is True or best / config.hoped_divisor(new) <= finished[-1].score


class _Finished:
    """The W best finished texts of every prompt; minus infinity where there is none yet."""

    def __init__(self, prompt_BT: Tensor, config: BeamConfig, dtype: torch.dtype) -> None:
        (B, T), W = prompt_BT.shape, config.num_beams
        self.tokens_BWS = prompt_BT.new_zeros(B, W, T + config.max_new_tokens)
        self.tokens_BWS[:, :, :T] = prompt_BT[:, None]
        self.lengths_BW = prompt_BT.new_full((B, W), T)
        self.scores_BW = torch.full((B, W), -torch.inf, dtype=dtype, device=prompt_BT.device)

    def add(self, tokens_BKS: Tensor, scores_BK: Tensor) -> None:
        """Keep the best of what is there and of these, of which those with minus infinity do not count."""
        B, K, S = tokens_BKS.shape
        padded_BKS = self.tokens_BWS[:, :1].repeat(1, K, 1)
        padded_BKS[:, :, :S] = tokens_BKS
        lengths_BK = torch.full((B, K), S, device=scores_BK.device)
        W = self.scores_BW.shape[1]
        self.scores_BW, best_BW = torch.cat((self.scores_BW, scores_BK), dim=1).topk(W)
        self.lengths_BW = torch.cat((self.lengths_BW, lengths_BK), dim=1).gather(1, best_BW)
        self.tokens_BWS = _rows(torch.cat((self.tokens_BWS, padded_BKS), dim=1), best_BW)

    def output(self, count: int, T: int, pad: int) -> BeamOutput:
        """The ``count`` best of every prompt, as long as the longest of them."""
        lengths_BR, scores_BR = self.lengths_BW[:, :count], self.scores_BW[:, :count]
        lengths_BR = lengths_BR.where(scores_BR > -torch.inf, T)
        tokens_BRS = self.tokens_BWS[:, :count, : int(lengths_BR.max())]
        behind = torch.arange(tokens_BRS.shape[-1], device=tokens_BRS.device) >= lengths_BR[..., None]
        return BeamOutput(tokens_BRS.masked_fill(behind, pad).flatten(0, 1), scores_BR.flatten())


def _rows(values_BKS: Tensor, index_BW: Tensor) -> Tensor:
    return values_BKS.gather(1, index_BW[..., None].expand(-1, -1, values_BKS.shape[-1]))


def beam_search(
    model: LanguageModel,
    tokens: Tokens,
    config: BeamConfig,
    *,
    stop_ids: Iterable[int] | None = None,
    pad_id: int | None = None,
    processors: Processors | None = None,
    use_cache: bool = True,
) -> BeamOutput:
    """The most likely continuations that W beams find.

    Args:
        model: A :class:`~kb.lm.DecoderLM`, or any callable from tokens [B, T] to logits [B, T, V].
        tokens: Prompt ids, [T] or [B, T].
        config: How to search.
        stop_ids: What ends a text; the model's end-of-sequence ids if not given, ``()`` for nothing.
        pad_id: Fills up what ended before the others; the first of ``stop_ids`` if not given.
        processors: Edits of the log-probabilities, given prompts and outputs [B * W, S].
        use_cache: Whether a :class:`~kb.lm.DecoderLM` keeps keys and values between steps.

    Raises:
        TypeError: ``config`` is something else, or ids are no integers.
        ValueError: an empty or ragged prompt, an id outside the vocabulary, more tokens than the model's context, or
            logits that are not finite.
    """
    if not isinstance(config, BeamConfig):
        raise TypeError(f"config must be a BeamConfig, got {type(config).__name__}")
    prompt_BT, stops = read_request(model, tokens, config.max_new_tokens, stop_ids)
    B, T = prompt_BT.shape
    pad = pad_id if pad_id is not None else stops[0] if stops else 0
    edits = _all_processors(processors or Processors(), config, T, stops)
    stepper = Stepper(model, batch=B, capacity=T + config.max_new_tokens, use_cache=use_cache)
    with torch.inference_mode():
        finished = _search(stepper, prompt_BT, config, torch.tensor(stops, device=prompt_BT.device).long(), edits)
    found = finished.output(config.num_return_sequences, T, pad)
    return BeamOutput(found.sequences.clone(), found.sequences_scores.clone())


def _search(stepper: Stepper, prompt_BT: Tensor, config: BeamConfig, stops: Tensor, edits: Processors) -> _Finished:
    (B, T), W, N = prompt_BT.shape, config.num_beams, config.max_new_tokens
    logits_RV = stepper.feed(prompt_BT)[:, -1].repeat_interleave(W, dim=0)
    stepper.select(torch.arange(B, device=prompt_BT.device).repeat_interleave(W))
    beams_BWS = prompt_BT[:, None].expand(B, W, T)
    sums_BW = logits_RV.new_zeros(B, W).index_fill(1, torch.arange(1, W, device=prompt_BT.device), -torch.inf)
    finished = _Finished(prompt_BT, config, logits_RV.dtype)
    open_B = torch.ones(B, dtype=torch.bool, device=prompt_BT.device)
    for new in range(1, N + 1):
        require_finite(logits_RV)
        log_p_RV = edits(beams_BWS.flatten(0, 1), logits_RV.log_softmax(dim=-1))
        V = log_p_RV.shape[-1]
        totals = (sums_BW[..., None] + log_p_RV.unflatten(0, (B, W))).flatten(1)
        sums_BK, index_BK = totals.topk(min(config.candidates(len(stops)), W * V))
        parents_BK, tokens_BK = index_BK // V, index_BK % V
        grown_BKS = torch.cat((_rows(beams_BWS, parents_BK), tokens_BK[..., None]), dim=-1)
        ends_BK = torch.isin(tokens_BK, stops) | (new == N)
        accepted_BK = ends_BK & open_B[:, None]
        accepted_BK[:, W:] = False
        finished.add(grown_BKS, (sums_BK / config.divisor(new)).masked_fill(~accepted_BK, -torch.inf))
        sums_BW, best_BW = sums_BK.masked_fill(ends_BK, -torch.inf).topk(W)
        open_B = open_B & _open(sums_BW[:, 0], finished.scores_BW, new, config)
        if new == N or not bool(open_B.any()):
            break
        beams_BWS = _rows(grown_BKS, best_BW)
        first_B1 = torch.arange(0, B * W, W, device=prompt_BT.device)[:, None]
        stepper.select((parents_BK.gather(1, best_BW) + first_B1).flatten())
        logits_RV = stepper.feed(beams_BWS[..., -1].reshape(-1, 1))[:, -1]
    return finished


def _open(best_B: Tensor, finished_BW: Tensor, new: int, config: BeamConfig) -> Tensor:
    full_B = finished_BW[:, -1] > -torch.inf
    improvable_B = best_B / config.hoped_divisor(new) > finished_BW[:, -1]
    if config.early_stopping is True:
        improvable_B = improvable_B & ~full_B
    return (best_B > -torch.inf) & (improvable_B | ~full_B)
