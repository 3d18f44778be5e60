"""Attention of single queries to keys that are read where they lie, in pages, on the CPU.

Decoding reads every key and value once and does little with each, so it can be no faster than memory. This kernel reads
each page in the order in which it lies there, all heads at once, and copies nothing; it asks for the values of a tile
while it works on the keys. Unusual: work is divided by keys, not by requests. Each thread takes an equal share of all
keys of all requests, so threads end together whatever the lengths; a request that is cut between threads is put
together by its sums of exponentials.

Sources: Dao et al. 2022, section 3.1 (tiles, online softmax); Dao et al. 2023, Flash-Decoding (keys split).
Shapes: D queries attended one by one, T rows of the step, N query heads, G key-value heads, M = N / G, H head width,
F slots of the pool, I keys of a tile, R requests, W blocks of a table, Z = D + 1, V threads.
"""

# What a compiled function's arguments are, numba says and not Python; fields end in their shapes.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False
# ruff: noqa: N815

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange
from torch import Tensor

from kb.nn.compiled import FLAGS, LOG2_E, address, exp2, prefetch, use_torch_threads
from kb.serving.step_layout import StepLayout

_TILE = 64  # keys between two updates of the running maximum; a multiple of the 4 that are worked on at a time
_CACHE_LINE = 64  # bytes


class _Pages(NamedTuple):
    keys_FGH: np.ndarray
    values_FGH: np.ndarray
    tables_RW: np.ndarray
    block_size: int


class _Step(NamedTuple):
    q_TNH: np.ndarray
    rows_D: np.ndarray
    owners_D: np.ndarray
    positions_T: np.ndarray
    window: int
    slopes_N: np.ndarray  # to the base of 2, as the scale is
    scale: np.floating


class _Parts(NamedTuple):
    """What a thread knows of a query that it does not see whole: [v, 0] of its first, [v, 1] of its last."""

    owner_V2: np.ndarray  # which of the D queries; -1 for none
    top_V2N: np.ndarray  # largest score so far
    sum_V2N: np.ndarray  # of exponentials under it
    acc_V2NH: np.ndarray  # of values weighted with them


def attend_rows(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    out_TNH: Tensor,
    *,
    window: int | None = None,
    alibi_slopes_N: Tensor | None = None,
) -> None:
    """Attention of the rows ``layout.rows_D``, written to the same rows of ``out_TNH``.

    Arguments as of ``paged_attention``, contiguous float32 on the CPU, and checked by it. The first call
    compiles, and keeps what it compiled beside this file. Runs in as many threads as torch does.
    """
    if not layout.rows_D.numel():
        return
    q, (_, N, H) = q_TNH.numpy(), q_TNH.shape
    pages = _Pages(
        keys_PSGH.flatten(0, 1).numpy(), values_PSGH.flatten(0, 1).numpy(), layout.tables_RW.numpy(), layout.block_size
    )
    step = _Step(
        q,
        layout.rows_D.numpy(),
        layout.owners_D.numpy(),
        layout.positions_T.numpy(),
        np.iinfo(np.int64).max if window is None else window,
        np.zeros(N, np.float32) if alibi_slopes_N is None else (alibi_slopes_N * LOG2_E).numpy(),
        np.float32(LOG2_E / math.sqrt(H)),
    )
    threads = use_torch_threads()
    _attend(pages, step, threads, out_TNH.numpy())


@njit(**FLAGS)
def _find(tables_RW, r, block_size, begin, end, slots_I):
    """The slots of keys [begin, end), filled up with the last one to a multiple of 4; returns how many were written."""
    key = begin
    while key < end:
        page = key // block_size
        run = min(end, (page + 1) * block_size) - key
        base = tables_RW[r, page] * block_size + key - page * block_size
        for i in range(run):
            slots_I[key - begin + i] = base + i
        key += run
    count = end - begin
    padded = (count + 3) // 4 * 4
    for i in range(count, padded):
        slots_I[i] = slots_I[count - 1]
    return padded


@njit(**FLAGS)
def _ask(rows_FGH, g, slots_I, begin, end):
    """Ask for one head of some keys or values, to have them when they are needed; few at a time, or none is heard."""
    _, G, H = rows_FGH.shape
    for i in range(begin, end):
        for byte in range(0, H * 4, _CACHE_LINE):
            prefetch(address(rows_FGH) + (slots_I[i] * G + g) * H * 4 + byte)


@njit(**FLAGS)
def _score(q_TNH, row, keys_FGH, values_FGH, slots_I, padded, scores_NI):
    """Scores q · k, four keys at a time, while the values at the same slots are asked for."""
    (_, N, H), G, zero = q_TNH.shape, keys_FGH.shape[1], np.float32(0)
    for i in range(0, padded, 4):
        for g in range(G):
            _ask(values_FGH, g, slots_I, i, i + 4)
            k0, k1 = keys_FGH[slots_I[i], g], keys_FGH[slots_I[i + 1], g]
            k2, k3 = keys_FGH[slots_I[i + 2], g], keys_FGH[slots_I[i + 3], g]
            for n in range(N // G * g, N // G * (g + 1)):
                a0 = a1 = a2 = a3 = zero
                for h in range(H):
                    x = q_TNH[row, n, h]
                    a0 += x * k0[h]
                    a1 += x * k1[h]
                    a2 += x * k2[h]
                    a3 += x * k3[h]
                scores_NI[n, i], scores_NI[n, i + 1], scores_NI[n, i + 2], scores_NI[n, i + 3] = a0, a1, a2, a3


@njit(**FLAGS)
def _weigh(scores_NI, count, padded, scale, slopes_N, distance, top_N, sum_N, acc_NH):
    """Scores to 2^(score - running maximum), in place; what was summed under an older maximum is scaled down."""
    for n in range(len(top_N)):
        new = top_N[n]
        for i in range(count):
            score = scores_NI[n, i] * scale + slopes_N[n] * np.float32(distance + i)
            scores_NI[n, i] = score
            new = score if score > new else new
        factor, total = exp2(top_N[n] - new), np.float32(0)
        for i in range(count):
            weight = exp2(scores_NI[n, i] - new)
            scores_NI[n, i] = weight
            total += weight
        for i in range(count, padded):
            scores_NI[n, i] = 0
        top_N[n], sum_N[n] = new, sum_N[n] * factor + total
        for h in range(acc_NH.shape[1]):
            acc_NH[n, h] *= factor


@njit(**FLAGS)
def _add_values(weights_NI, values_FGH, slots_I, padded, keys_FGH, next_I, next_padded, acc_NH):
    """Values, weighted, to their sum, while the keys of the next tile are asked for."""
    (N, H), G = acc_NH.shape, values_FGH.shape[1]
    for i in range(0, padded, 4):
        for g in range(G):
            _ask(keys_FGH, g, next_I, next_padded * i // padded, next_padded * (i + 4) // padded)
            v0, v1 = values_FGH[slots_I[i], g], values_FGH[slots_I[i + 1], g]
            v2, v3 = values_FGH[slots_I[i + 2], g], values_FGH[slots_I[i + 3], g]
            for n in range(N // G * g, N // G * (g + 1)):
                w0, w1, w2, w3 = weights_NI[n, i], weights_NI[n, i + 1], weights_NI[n, i + 2], weights_NI[n, i + 3]
                for h in range(H):
                    acc_NH[n, h] += w0 * v0[h] + w1 * v1[h] + w2 * v2[h] + w3 * v3[h]


@njit(**FLAGS)
def _tile(at, end, d, ends_Z, step, pages, slots_I):
    """The tile of query d that begins at key ``at`` of all, up to ``end`` at most; how many keys, and with padding."""
    count, position = min(end, ends_Z[d + 1], at + _TILE) - at, step.positions_T[step.rows_D[d]]
    key = position + 1 - ends_Z[d + 1] + at
    return count, _find(pages.tables_RW, step.owners_D[d], pages.block_size, key, key + count, slots_I), key - position


@njit(**FLAGS)
def _forget(top_N, sum_N, acc_NH):
    for n in range(len(top_N)):
        top_N[n], sum_N[n] = -np.inf, 0
        for h in range(acc_NH.shape[1]):
            acc_NH[n, h] = 0


@njit(**FLAGS)
def _share(v, threads, ends_Z, pages, step, parts, out_TNH):
    """Thread v's share of all keys of all queries, which ``ends_Z`` counts through."""
    _, N, H = step.q_TNH.shape
    keys_FGH, values_FGH, q_TNH = pages.keys_FGH, pages.values_FGH, step.q_TNH
    scale, slopes_N = step.scale, step.slopes_N
    scores_NI, slots_I, next_I = np.empty((N, _TILE), np.float32), np.empty(_TILE, np.int64), np.empty(_TILE, np.int64)
    top_N, sum_N, acc_NH = np.empty(N, np.float32), np.empty(N, np.float32), np.empty((N, H), np.float32)
    _forget(top_N, sum_N, acc_NH)
    begin, end = ends_Z[-1] * v // threads, ends_Z[-1] * (v + 1) // threads
    d, at = np.searchsorted(ends_Z, begin, side="right") - 1, begin
    count, padded, distance = _tile(at, end, d, ends_Z, step, pages, slots_I) if begin < end else (0, 0, 0)
    while at < end:
        row, following = step.rows_D[d], at + count
        over = following == ends_Z[d + 1]
        next_count, next_padded, next_distance = 0, 0, 0
        if following < end:
            next_count, next_padded, next_distance = _tile(following, end, d + over, ends_Z, step, pages, next_I)
        _score(q_TNH, row, keys_FGH, values_FGH, slots_I, padded, scores_NI)
        _weigh(scores_NI, count, padded, scale, slopes_N, distance, top_N, sum_N, acc_NH)
        _add_values(scores_NI, values_FGH, slots_I, padded, keys_FGH, next_I, next_padded, acc_NH)
        if over and begin <= ends_Z[d]:
            _divide(acc_NH, sum_N, row, out_TNH)
        elif over or following == end:
            part = 0 if begin > ends_Z[d] else 1
            parts.owner_V2[v, part] = d
            for n in range(N):
                parts.top_V2N[v, part, n], parts.sum_V2N[v, part, n] = top_N[n], sum_N[n]
                for h in range(H):
                    parts.acc_V2NH[v, part, n, h] = acc_NH[n, h]
        if over:
            _forget(top_N, sum_N, acc_NH)
        at, d, count, padded, distance = following, d + over, next_count, next_padded, next_distance
        slots_I, next_I = next_I, slots_I


@njit(**FLAGS)
def _divide(acc_NH, sum_N, row, out_TNH):
    for n in range(len(sum_N)):
        for h in range(acc_NH.shape[1]):
            out_TNH[row, n, h] = acc_NH[n, h] / sum_N[n]


@njit(**FLAGS)
def _merge(step, parts, out_TNH):
    """Put together each query whose first keys fell to thread v and the next ones to the threads after it."""
    for v in range(len(parts.owner_V2)):
        d = parts.owner_V2[v, 1]
        if d < 0:
            continue
        top_N, sum_N, acc_NH = parts.top_V2N[v, 1], parts.sum_V2N[v, 1], parts.acc_V2NH[v, 1]
        for u in range(v + 1, len(parts.owner_V2)):
            if parts.owner_V2[u, 0] != d:
                break
            for n in range(len(top_N)):
                new = max(top_N[n], parts.top_V2N[u, 0, n])
                ours, theirs = exp2(top_N[n] - new), exp2(parts.top_V2N[u, 0, n] - new)
                top_N[n], sum_N[n] = new, ours * sum_N[n] + theirs * parts.sum_V2N[u, 0, n]
                for h in range(acc_NH.shape[1]):
                    acc_NH[n, h] = ours * acc_NH[n, h] + theirs * parts.acc_V2NH[u, 0, n, h]
        _divide(acc_NH, sum_N, step.rows_D[d], out_TNH)


@njit(**FLAGS)
def _prepare(step, threads):
    """How many keys the queries before each see in all, [D + 1]; and room for the two ends of each thread's share."""
    ends_Z = np.zeros(len(step.rows_D) + 1, np.int64)
    for d in range(len(step.rows_D)):
        ends_Z[d + 1] = ends_Z[d] + min(step.window, step.positions_T[step.rows_D[d]] + 1)
    N, H = step.q_TNH.shape[1:]
    parts = _Parts(
        np.full((threads, 2), -1, np.int64),
        np.empty((threads, 2, N), np.float32),
        np.empty((threads, 2, N), np.float32),
        np.empty((threads, 2, N, H), np.float32),
    )
    return ends_Z, parts


@njit(parallel=True, **FLAGS)
def _attend(pages, step, threads, out_TNH):
    ends_Z, parts = _prepare(step, threads)
    # Numba takes no tuple into a parallel loop, so each thread packs its own.
    keys_FGH, values_FGH, tables_RW, block_size = pages
    q_TNH, rows_D, owners_D, positions_T, window, slopes_N, scale = step
    owner_V2, top_V2N, sum_V2N, acc_V2NH = parts
    for v in prange(threads):
        its_pages = _Pages(keys_FGH, values_FGH, tables_RW, block_size)
        its_step = _Step(q_TNH, rows_D, owners_D, positions_T, window, slopes_N, scale)
        its_parts = _Parts(owner_V2, top_V2N, sum_V2N, acc_V2NH)
        _share(v, threads, ends_Z, its_pages, its_step, its_parts, out_TNH)
    _merge(step, parts, out_TNH)
