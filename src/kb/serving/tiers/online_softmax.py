"""Exact attention in pieces: softmax over keys of which only a part is there at a time.

The result over some of the keys is kept with the logarithm of its denominator, the log-sum-exp of the scores. That pair
is all that is needed to join it with the result over other keys, in any order: the one with the larger share of the sum
weighs more, and shares come from a difference of logarithms, so that nothing overflows. Sums are always taken in
float32 (float64 for float64), whatever the keys are stored in.

Sources: Milakov & Gimelshein 2018, algorithm 3 (softmax in one pass); Rabe & Staats 2021, section 2 (attention in
chunks); Dao et al. 2022, FlashAttention, section 3.1; Dao et al. 2023, flash-decoding (joining by log-sum-exp).
Shapes: T queries, S keys, N query heads, G key-value heads, H head width. Query head n reads K and V of head
n // (N / G). Positions tell which key a query sees: those up to its own, and with a window only the newest of them.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

_SCORES = 1 << 22  # numbers at a time: more keys or queries are taken in tiles, so that memory is bounded


class Partial(NamedTuple):
    """Attention over some of the keys. Where a query sees none of them: 0, and minus infinity."""

    out: Tensor  # [T, N, H]
    lse: Tensor  # [T, N]


def streamed_attention_loop(
    q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, *, first_query: int, first_key: int = 0, window: int | None = None
) -> Partial:
    """Reference: one query of one head at a time, key by key, as in Milakov & Gimelshein's algorithm 3."""
    (T, N, H), (S, G) = q_TNH.shape, k_SGH.shape[:2]
    out_TNH = torch.zeros(T, N, H, dtype=torch.float64)
    lse_TN = torch.full((T, N), -torch.inf, dtype=torch.float64)
    for t in range(T):
        for n in range(N):
            largest, total, mean_H = -math.inf, 0.0, torch.zeros(H, dtype=torch.float64)
            for s in range(S):
                behind = first_query + t - first_key - s
                if behind < 0 or (window is not None and behind >= window):
                    continue
                g = n // (N // G)
                score = float(q_TNH[t, n].double() @ k_SGH[s, g].double()) / math.sqrt(H)
                shrink, weight = math.exp(min(0.0, largest - score)), math.exp(min(0.0, score - largest))
                total, largest = total * shrink + weight, max(largest, score)
                mean_H += (v_SGH[s, g].double() - mean_H) * (weight / total)
            if total:
                out_TNH[t, n], lse_TN[t, n] = mean_H, largest + math.log(total)
    return Partial(out_TNH, lse_TN)


def attention_in_two_passes(q_TNH: Tensor, chunks: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> Tensor:
    """Reference for what is too large for a loop: all T · N · S scores in float64, one softmax, then the values.

    Args:
        q_TNH: Queries that see every key.
        chunks: Gives the keys and values [S, G, H], chunk by chunk, each time that it is called.

    Returns:
        [T, N, H] in float64.
    """
    T, N, H = q_TNH.shape
    scores = []
    for k_SGH, _ in chunks():
        q_TGRH = q_TNH.double().unflatten(1, (k_SGH.shape[1], -1))
        scores.append(torch.einsum("tgrh,sgh->tgrs", q_TGRH, k_SGH.double()) / math.sqrt(H))
    weights_TGRS = torch.cat(scores, dim=-1).softmax(dim=-1)
    out_TNH, start = torch.zeros(T, N, H, dtype=torch.float64, device=q_TNH.device), 0
    for _, v_SGH in chunks():
        part_TGRS = weights_TGRS[..., start : start + len(v_SGH)]
        out_TNH += torch.einsum("tgrs,sgh->tgrh", part_TGRS, v_SGH.double()).flatten(1, 2)
        start += len(v_SGH)
    return out_TNH


def partial_attention(
    q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, *, first_query: int, first_key: int = 0, window: int | None = None
) -> Partial:
    """The same at once, by matrix products.

    Args:
        q_TNH: Queries at the positions ``first_query``, ``first_query`` + 1, …
        k_SGH: Keys at the positions ``first_key``, ``first_key`` + 1, …; N must be a multiple of G.
        v_SGH: Values.
        first_query: Not negative, like ``first_key``.
        first_key: See above.
        window: How many keys a query sees at most, its own included; None for all.

    Returns:
        In float32, or float64 for queries in float64.
    """
    (T, N, H), S = q_TNH.shape, len(k_SGH)
    dtype = torch.float64 if q_TNH.dtype == torch.float64 else torch.float32
    k_SGH, v_SGH = k_SGH.to(dtype), v_SGH.to(dtype)
    q_TNH = q_TNH.to(dtype) / math.sqrt(H)
    out_TNH, lse_TN = q_TNH.new_empty(T, N, H), q_TNH.new_empty(T, N)
    step = max(1, _SCORES // (N * max(1, S)))
    for start in range(0, T, step):
        tile = slice(start, start + step)
        masked_TS = _masked(first_query + start, min(step, T - start), first_key, S, window, q_TNH.device)
        out_TNH[tile], lse_TN[tile] = _tile(q_TNH[tile], k_SGH, v_SGH, masked_TS)
    return Partial(out_TNH, lse_TN)


def merge(a: Partial, b: Partial) -> Partial:
    """Attention over the keys of both, which must be different keys."""
    lse_TN = torch.logaddexp(a.lse, b.lse)
    nothing_TN = lse_TN == -torch.inf  # the difference of two infinities would be NaN
    shares = [(part.lse - lse_TN).exp().masked_fill(nothing_TN, 0)[..., None] for part in (a, b)]
    return Partial(a.out * shares[0] + b.out * shares[1], lse_TN)


def _tile(q_TNH: Tensor, k_SGH: Tensor, v_SGH: Tensor, masked_TS: Tensor | None) -> Partial:
    (T, N), G = q_TNH.shape[:2], k_SGH.shape[1]
    # Query heads that share a key become rows of one matrix: [G, T · N/G, H].
    q_GRH = q_TNH.unflatten(1, (G, N // G)).transpose(0, 1).flatten(1, 2)
    scores_GRS = q_GRH @ k_SGH.permute(1, 2, 0)
    if masked_TS is not None:
        scores_GRS.unflatten(1, (T, N // G)).masked_fill_(masked_TS[:, None], -torch.inf)
    lse_GR = scores_GRS.logsumexp(dim=-1)
    weights_GRS = scores_GRS.sub_(lse_GR.masked_fill(lse_GR == -torch.inf, 0)[..., None]).exp_()
    out_GRH = weights_GRS @ v_SGH.transpose(0, 1)
    out_TNH = out_GRH.unflatten(1, (T, N // G)).transpose(0, 1).flatten(1, 2)
    return Partial(out_TNH, lse_GR.unflatten(1, (T, N // G)).transpose(0, 1).flatten(1, 2))


def _masked(
    first_query: int, T: int, first_key: int, S: int, window: int | None, device: torch.device
) -> Tensor | None:
    """True where a query must not look, [T, S]; None if all of them see all keys."""
    sees_newest = first_key + S - 1 <= first_query
    sees_oldest = window is None or first_query + T - 1 - first_key < window
    if sees_newest and sees_oldest:
        return None
    behind_TS = torch.arange(first_query - first_key, first_query - first_key + T, device=device)[
        :, None
    ] - torch.arange(S, device=device)
    return behind_TS < 0 if window is None else (behind_TS < 0) | (behind_TS >= window)
