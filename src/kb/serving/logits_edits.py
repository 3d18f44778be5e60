"""What vLLM does to the logits of one row before its temperature: forbid tokens, add biases, penalise repetition.

In vLLM's order: only the allowed tokens; no last token of a bad word; nothing that ends the sequence before
``min_tokens``; biases; then the repetition, frequency and presence penalties. Unusual: most rows ask for none of it, so
that it is done row by row and costs the others nothing.

Source: vLLM 0.32, ``vllm/v1/sample/sampler.py`` and what it calls. Shapes: V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.lm.sampling import penalize_repetition
from kb.serving.sampling_params import SamplingParams


@dataclass(frozen=True, eq=False, slots=True)
class SamplingRow:
    """What the sampler has to know of the sequence that a row of logits belongs to.

    Args:
        params: Of its request; their ids are in the vocabulary (:meth:`SamplingParams.verify`).
        prompt: Its prompt.
        output: Its tokens after the prompt.
        generator: Its own source of noise, on the logits' device; None where it is greedy.
        eos_ids: The model's end-of-sequence tokens.
        bad_words: What :meth:`SamplingParams.bad_words_token_ids` gave.
    """

    params: SamplingParams
    prompt: Sequence[int]
    output: Sequence[int]
    generator: torch.Generator | None = None
    eos_ids: Sequence[int] = ()
    bad_words: Sequence[Sequence[int]] = ()


def forbidden(row: SamplingRow) -> set[int]:
    """Tokens that must not come next: ends that are too early, and last tokens of bad words that would be completed.

    An end-of-sequence token is too early also where ``ignore_eos`` lets it pass, as in vLLM.
    """
    output, params = row.output, row.params
    early = len(output) < params.min_tokens
    ends = {*row.eos_ids, *params.stop_token_ids} if early else set()
    for word in row.bad_words:
        begun = len(word) - 1
        if list(output[len(output) - begun :]) == list(word[:-1]):
            ends.add(word[-1])
    return ends


def edits(row: SamplingRow) -> bool:
    """Whether :func:`edit` would change anything."""
    params = row.params
    return bool(
        params.repetition_penalty != 1
        or params.frequency_penalty
        or params.presence_penalty
        or params.logit_bias
        or params.allowed_token_ids
        or row.bad_words
        or len(row.output) < params.min_tokens
    )


def edit(logits_V: Tensor, row: SamplingRow) -> Tensor:
    """The logits of one row as its params want them before temperature and filters, [V]; the input is left alone."""
    params, logits_V = row.params, logits_V.clone()
    if params.allowed_token_ids:
        allowed = _ids(params.allowed_token_ids, logits_V)
        logits_V = torch.full_like(logits_V, -torch.inf).index_copy(0, allowed, logits_V[allowed])
    if unwanted := forbidden(row):
        logits_V[_ids(unwanted, logits_V)] = -torch.inf
    if params.logit_bias:
        logits_V[_ids(params.logit_bias, logits_V)] += logits_V.new_tensor(list(params.logit_bias.values()))
    if params.repetition_penalty != 1:
        seen_1T = _ids([*row.prompt, *row.output], logits_V)[None]
        logits_V = penalize_repetition(logits_V[None], seen_1T, params.repetition_penalty)[0]
    if params.frequency_penalty or params.presence_penalty:
        tokens, counts = _ids(row.output, logits_V).unique(return_counts=True)
        logits_V[tokens] -= params.frequency_penalty * counts
        logits_V[tokens] -= params.presence_penalty
    return logits_V


def edit_loop(logits_V: Tensor, row: SamplingRow) -> Tensor:
    """Reference: the same, one token of the vocabulary at a time."""
    params, logits_V = row.params, logits_V.clone()
    unwanted = forbidden(row)
    for token in range(len(logits_V)):
        allowed = not params.allowed_token_ids or token in params.allowed_token_ids
        if not allowed or token in unwanted:
            logits_V[token] = -torch.inf
        logits_V[token] += (params.logit_bias or {}).get(token, 0.0)
        if token in row.prompt or token in row.output:
            factor = logits_V.new_tensor(params.repetition_penalty)
            logits_V[token] = logits_V[token] * factor if logits_V[token] < 0 else logits_V[token] / factor
        if count := list(row.output).count(token):
            logits_V[token] -= logits_V.new_tensor(params.frequency_penalty) * count
            logits_V[token] -= params.presence_penalty
    return logits_V


def _ids(tokens: Iterable[int], like: Tensor) -> Tensor:
    return torch.tensor(list(tokens), dtype=torch.long, device=like.device)
