"""From a step's logits to one token a sequence: every row by its own params, with noise from its own generator.

For temperature, top-k, top-p, min-p and repetition penalty these are the filters and the draw of :mod:`kb.lm.sampling`,
so that a request gets the tokens of :func:`kb.lm.generate`. Unusual: rows with equal filters are processed together,
yet no row depends on another: a row without a distribution gets an error as its result, and the others their tokens.

Source: vLLM 0.32, ``vllm/v1/sample/sampler.py``; log-probabilities are its ``raw_logprobs``, of the model's own
distribution. Shapes: R rows, V vocabulary, T tokens of a prompt, K reported tokens.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kb import lm
from kb.lm.sampling import draw, process, require_finite
from kb.serving.logits_edits import SamplingRow, edit, edit_loop, edits
from kb.serving.sampling_params import SamplingParams

_CACHED_LOGITS = 2**18


class Candidate(NamedTuple):
    """A token that is reported with its log-probability; rank 1 is the most likely."""

    token: int
    logprob: float
    rank: int


class Sampled(NamedTuple):
    """A chosen token; with ``logprobs`` its log-probability, and the candidates, of which it is the first."""

    token: int
    logprob: float | None = None
    top: tuple[Candidate, ...] = ()


def sample(logits_RV: Tensor, rows: Sequence[SamplingRow]) -> list[Sampled | Exception]:
    """Choose the next token of every row.

    Args:
        logits_RV: Any floating dtype; the arithmetic is float32. Left alone.
        rows: One for each row of logits.

    Returns:
        For each row its token, or a ValueError where its logits hold NaN, plus infinity, or nothing finite once its
        params have forbidden tokens, or where it samples without a generator. Such a row draws nothing.

    Raises:
        TypeError: the logits are not of a floating dtype.
        ValueError: not one row for each row of logits.
    """
    _require_rows(logits_RV, rows)
    raw_RV = logits_RV.float()
    edited_RV = _edited(raw_RV, rows)
    alike = defaultdict(list)
    for r, row in enumerate(rows):
        alike[row.params.temperature, row.params.top_k, row.params.top_p, row.params.min_p].append(r)
    chosen: list[int | Exception] = [-1] * len(rows)
    for group in alike.values():
        filters = _filters(rows[group[0]].params)
        for members in [group] if filters.greedy else _parts(group, raw_RV):  # greedy rows need no temporaries
            generators = [rows[r].generator for r in members]
            for r, one in zip(members, _choose(_rows(edited_RV, members), filters, generators), strict=True):
                chosen[r] = one
    return _with_logprobs(raw_RV, chosen, rows)


def sample_loop(logits_RV: Tensor, rows: Sequence[SamplingRow]) -> list[Sampled | Exception]:
    """Reference: the same, one row after the other, with the functions of :mod:`kb.lm.sampling`."""
    _require_rows(logits_RV, rows)
    results: list[Sampled | Exception] = []
    for logits_V, row in zip(logits_RV.float(), rows, strict=True):
        edited_1V = edit_loop(logits_V, row)[None]
        filtered_1V = process(edited_1V, _no_tokens(edited_1V), _filters(row.params))
        if not _has_distribution(logits_V) or not _has_distribution(filtered_1V):
            results.append(_no_distribution())
            continue
        if row.params.greedy:
            token = int(filtered_1V.argmax())
        elif row.generator is None:
            results.append(_no_generator())
            continue
        else:
            token = int(draw(filtered_1V, [row.generator]))
        count = row.params.logprobs
        top = None if count is None else prompt_logprobs(logits_V[None], [token], count)[0]
        results.append(Sampled(token) if top is None else Sampled(token, top[0].logprob, top))
    return results


def prompt_logprobs(logits_TV: Tensor, next_tokens: Sequence[int], count: int) -> list[tuple[Candidate, ...]]:
    """The log-probability of the token that follows each position, and of the most likely ones.

    Args:
        logits_TV: Of some consecutive positions; of the last one only where a token follows it.
        next_tokens: The T tokens that follow them.
        count: K, how many of the most likely ones to report; -1 for the whole vocabulary.

    Returns:
        For each position the token that follows, then the most likely ones without it, most likely first. Ranks count
        as in vLLM: a token that is not among the most likely K has the number of tokens that are at least as likely.

    Raises:
        ValueError: not one token for each position, a token or ``count`` out of range, or logits without a
            distribution.
    """
    T, V = logits_TV.shape
    if len(next_tokens) != T or not all(0 <= token < V for token in next_tokens):
        raise ValueError(f"next_tokens must be {T} ids from 0 to {V - 1}, one a row of logits, got {next_tokens!r}")
    if not -1 <= count <= V:
        raise ValueError(f"count must be from 0 to {V}, or -1 for all, got {count}")
    require_finite(logits_TV)
    logprobs_TV = logits_TV.float().log_softmax(dim=-1)
    tokens_T1 = torch.tensor(next_tokens, dtype=torch.long, device=logits_TV.device)[:, None]
    own_T1 = logprobs_TV.gather(1, tokens_T1)
    ranks = (logprobs_TV >= own_T1).sum(dim=-1).tolist()
    top_TK, ids_TK = logprobs_TV.topk(V if count == -1 else count)
    positions = zip(next_tokens, own_T1[:, 0].tolist(), ranks, ids_TK.tolist(), top_TK.tolist(), strict=True)
    return [_candidates(*position) for position in positions]


def row_generator(
    params: SamplingParams, index: int, fresh: torch.Generator, device: torch.device | str = "cpu"
) -> torch.Generator | None:
    """The generator of one completion.

    Args:
        params: Of its request.
        index: Which of the request's ``n`` it is; as in vLLM, its seed is the request's plus this.
        fresh: The engine's own, on the CPU: gives 63 bits as a seed where the request has none, and nothing otherwise,
            so that a seeded request changes no other one.
        device: Of the logits.

    Returns:
        None for a greedy request.
    """
    if params.greedy:
        return None
    own = params.seed
    seed = int(torch.randint(2**63 - 1, (), generator=fresh)) if own is None else own + index
    return torch.Generator(device).manual_seed(seed)


def _filters(params: SamplingParams) -> lm.SamplingParams:
    """What is left to do once a row is edited: temperature and filters."""
    return lm.SamplingParams(params.temperature, max(params.top_k, 0), params.top_p, params.min_p)


def _edited(raw_RV: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    members = [r for r, row in enumerate(rows) if edits(row)]
    if not members:
        return raw_RV
    edited_RV = raw_RV.clone()
    for r in members:
        if _has_distribution(raw_RV[r]):  # else it stays as it is: a mask could hide the NaN
            edited_RV[r] = edit(raw_RV[r], rows[r])
    return edited_RV


def _has_distribution(logits_V: Tensor) -> bool:
    return bool(logits_V.amax().isfinite())  # amax hands a NaN on


def _choose(
    logits_RV: Tensor, filters: lm.SamplingParams, generators: Sequence[torch.Generator | None]
) -> list[int | Exception]:
    """One token a row, or why there is none."""
    filtered_RV = process(logits_RV, _no_tokens(logits_RV), filters)
    if filters.greedy:
        best_R = _argmax(filtered_RV)
        finite = filtered_RV.gather(1, best_R[:, None])[:, 0].isfinite().tolist()
        return [token if fine else _no_distribution() for token, fine in zip(best_R.tolist(), finite, strict=True)]
    finite = filtered_RV.amax(dim=-1).isfinite().tolist()
    results: list[int | Exception] = [_no_generator() if fine else _no_distribution() for fine in finite]
    sound = {r: one for r, one in enumerate(generators) if finite[r] and one is not None}
    if sound:
        part_RV = filtered_RV if len(sound) == len(results) else filtered_RV[list(sound)]
        for r, token in zip(sound, draw(part_RV, list(sound.values())).tolist(), strict=True):
            results[r] = token
    return results


def _argmax(logits_RV: Tensor) -> Tensor:
    """The first largest number of each row, or the first NaN; on the CPU by numpy, whose search is in vectors."""
    if logits_RV.device.type == "cpu":
        return torch.from_numpy(logits_RV.detach().numpy().argmax(axis=-1))
    return logits_RV.argmax(dim=-1)


def _with_logprobs(
    raw_RV: Tensor, chosen: Sequence[int | Exception], rows: Sequence[SamplingRow]
) -> list[Sampled | Exception]:
    results = [one if isinstance(one, Exception) else Sampled(one) for one in chosen]
    asking = defaultdict(list)  # by count, as another count could report another one of several equally likely tokens
    for r, (one, row) in enumerate(zip(chosen, rows, strict=True)):
        if row.params.logprobs is not None and isinstance(one, int):
            asking[row.params.logprobs].append(r)
    for count, group in asking.items():
        for members in _parts(group, raw_RV):
            tokens = [one for r in members if isinstance(one := chosen[r], int)]
            for r, top in zip(members, prompt_logprobs(_rows(raw_RV, members), tokens, count), strict=True):
                results[r] = Sampled(top[0].token, top[0].logprob, top)
    return results


def _parts(members: list[int], logits_RV: Tensor) -> list[list[int]]:
    """Rows in parts whose temporaries fit a CPU's caches; a GPU takes all at once."""
    most = len(members) if logits_RV.is_cuda else max(1, _CACHED_LOGITS // logits_RV.shape[1])
    return [members[begin : begin + most] for begin in range(0, len(members), most)]


def _rows(logits_RV: Tensor, members: list[int]) -> Tensor:
    """Some rows, in ascending order; without a copy where they lie side by side."""
    begin, end = members[0], members[-1] + 1
    return logits_RV[begin:end] if end - begin == len(members) else logits_RV[members]


def _candidates(
    token: int, logprob: float, rank: int, ids: Sequence[int], logprobs: Sequence[float]
) -> tuple[Candidate, ...]:
    top = {one: Candidate(one, value, place) for place, (one, value) in enumerate(zip(ids, logprobs, strict=True), 1)}
    return (top.pop(token, Candidate(token, logprob, rank)), *top.values())


def _no_tokens(logits_RV: Tensor) -> Tensor:
    """For :func:`process`, which looks at tokens for the repetition penalty only."""
    return torch.empty(len(logits_RV), 0, dtype=torch.long, device=logits_RV.device)


def _no_distribution() -> ValueError:
    return ValueError("the logits hold NaN, plus infinity or nothing finite that is allowed: no token can be chosen")


def _no_generator() -> ValueError:
    return ValueError("sampling needs a generator, one of each row's own: no hidden global state")


def _require_rows(logits_RV: Tensor, rows: Sequence[SamplingRow]) -> None:
    if not logits_RV.is_floating_point():
        raise TypeError(f"logits must be floating-point numbers, got {logits_RV.dtype}")
    if logits_RV.dim() != 2 or len(logits_RV) != len(rows):
        raise ValueError(f"wanted logits [R, V] and R rows, got {tuple(logits_RV.shape)} and {len(rows)} rows")
