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
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic
from torch import Tensor

from kb.serving.step_layout import StepLayout

# Sums may be reordered, but NaN and infinity keep their meaning: a bad key must show, not vanish.
_FLAGS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    "error_model": "numpy",
    "cache": True,
    "nogil": True,
}
_TILE = 64  # keys between two updates of the running maximum; a multiple of the 4 that are worked on at a time
_AHEAD, _CACHE_LINE = 8, 64  # keys, bytes
_LOG2_E = math.log2(math.e)
_TAYLOR = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(7))
_SMALLEST, _HALF = np.float32(-126), np.float32(0.5)


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
        np.zeros(N, np.float32) if alibi_slopes_N is None else (alibi_slopes_N * _LOG2_E).numpy(),
        np.float32(_LOG2_E / math.sqrt(H)),
    )
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(threads)
    _attend(pages, step, threads, out_TNH.numpy())


@njit(**_FLAGS)
def _exp2(x):
    """2^x by the Taylor polynomial about the nearest integer, in steps that compile to vectors."""
    x = _SMALLEST if x < _SMALLEST else x  # written so that NaN stays NaN
    whole = np.floor(x + _HALF)
    f = x - whole
    c0, c1, c2, c3, c4, c5, c6 = _TAYLOR
    power = c0 + f * (c1 + f * (c2 + f * (c3 + f * (c4 + f * (c5 + f * c6)))))
    return power * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@intrinsic
def _prefetch(typing_context: Any, address: Any) -> tuple[Any, Callable]:
    """Ask the processor for the cache line at an address; nothing waits for it, and no address is wrong."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flag = ir.IntType(32)
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])  # to read, into all levels, data
        return context.get_dummy_value()

    return types.void(types.int64), generate


@njit(**_FLAGS)
def _find(table_W, block_size, begin, end, slots_I):
    """The slots of keys [begin, end), filled up with the last one to a multiple of 4; returns how many were written."""
    key = begin
    while key < end:
        page = key // block_size
        run = min(end, (page + 1) * block_size) - key
        base = table_W[page] * block_size + key - page * block_size
        for i in range(run):
            slots_I[key - begin + i] = base + i
        key += run
    count = end - begin
    padded = (count + 3) // 4 * 4
    slots_I[count:padded] = slots_I[count - 1]
    return padded


@njit(**_FLAGS)
def _score(q_NH, keys_FGH, values_FGH, slots_I, padded, scores_NI):
    """Scores q · k, four keys at a time; asks for the values at the same slots, and for keys that come soon."""
    (N, H), G = q_NH.shape, keys_FGH.shape[1]
    zero, row_bytes, keys_at, values_at = np.float32(0), G * H * 4, keys_FGH.ctypes.data, values_FGH.ctypes.data
    for i in range(0, padded, 4):
        for j in range(i, i + 4):
            soon = slots_I[min(j + _AHEAD, padded - 1)]
            for byte in range(0, row_bytes, _CACHE_LINE):
                _prefetch(values_at + slots_I[j] * row_bytes + byte)
                _prefetch(keys_at + soon * row_bytes + byte)
        for g in range(G):
            k0, k1 = keys_FGH[slots_I[i], g], keys_FGH[slots_I[i + 1], g]
            k2, k3 = keys_FGH[slots_I[i + 2], g], keys_FGH[slots_I[i + 3], g]
            for n in range(N // G * g, N // G * (g + 1)):
                a0 = a1 = a2 = a3 = zero
                for h in range(H):
                    x = q_NH[n, h]
                    a0 += x * k0[h]
                    a1 += x * k1[h]
                    a2 += x * k2[h]
                    a3 += x * k3[h]
                scores_NI[n, i], scores_NI[n, i + 1], scores_NI[n, i + 2], scores_NI[n, i + 3] = a0, a1, a2, a3


@njit(**_FLAGS)
def _weigh(scores_NI, count, padded, scale, slopes_N, distance, top_N, sum_N, acc_NH):
    """Scores to 2^(score - running maximum), in place; what was summed under an older maximum is scaled down."""
    for n in range(len(top_N)):
        new = top_N[n]
        for i in range(count):
            score = scores_NI[n, i] * scale + slopes_N[n] * np.float32(distance + i)
            scores_NI[n, i] = score
            new = score if score > new else new
        factor, total = _exp2(top_N[n] - new), np.float32(0)
        for i in range(count):
            weight = _exp2(scores_NI[n, i] - new)
            scores_NI[n, i] = weight
            total += weight
        scores_NI[n, count:padded] = 0
        top_N[n], sum_N[n] = new, sum_N[n] * factor + total
        for h in range(acc_NH.shape[1]):
            acc_NH[n, h] *= factor


@njit(**_FLAGS)
def _add_values(weights_NI, values_FGH, slots_I, padded, acc_NH):
    (N, H), G = acc_NH.shape, values_FGH.shape[1]
    for i in range(0, padded, 4):
        for g in range(G):
            v0, v1 = values_FGH[slots_I[i], g], values_FGH[slots_I[i + 1], g]
            v2, v3 = values_FGH[slots_I[i + 2], g], values_FGH[slots_I[i + 3], g]
            for n in range(N // G * g, N // G * (g + 1)):
                w0, w1, w2, w3 = weights_NI[n, i], weights_NI[n, i + 1], weights_NI[n, i + 2], weights_NI[n, i + 3]
                for h in range(H):
                    acc_NH[n, h] += w0 * v0[h] + w1 * v1[h] + w2 * v2[h] + w3 * v3[h]


@njit(**_FLAGS)
def _share(v, threads, ends_Z, pages, step, parts, out_TNH):
    """Thread v's share of all keys of all queries, which ``ends_Z`` counts through."""
    scores_NI, slots_I = np.empty((step.q_TNH.shape[1], _TILE), np.float32), np.empty(_TILE, np.int64)
    begin, end = ends_Z[-1] * v // threads, ends_Z[-1] * (v + 1) // threads
    d = np.searchsorted(ends_Z, begin, side="right") - 1
    while begin < end:
        row, last, table_W = step.rows_D[d], min(end, ends_Z[d + 1]), pages.tables_RW[step.owners_D[d]]
        position = step.positions_T[row]
        part = 0 if begin > ends_Z[d] else 1
        top_N, sum_N, acc_NH = parts.top_V2N[v, part], parts.sum_V2N[v, part], parts.acc_V2NH[v, part]
        top_N[:], sum_N[:], acc_NH[:] = -np.inf, 0, 0
        for tile in range(begin, last, _TILE):
            key = position + 1 - ends_Z[d + 1] + tile
            count = min(_TILE, last - tile)
            padded = _find(table_W, pages.block_size, key, key + count, slots_I)
            _score(step.q_TNH[row], pages.keys_FGH, pages.values_FGH, slots_I, padded, scores_NI)
            _weigh(scores_NI, count, padded, step.scale, step.slopes_N, key - position, top_N, sum_N, acc_NH)
            _add_values(scores_NI, pages.values_FGH, slots_I, padded, acc_NH)
        if begin == ends_Z[d] and last == ends_Z[d + 1]:
            _divide(acc_NH, sum_N, out_TNH[row])
        else:
            parts.owner_V2[v, part] = d
        begin, d = last, d + 1


@njit(**_FLAGS)
def _divide(acc_NH, sum_N, out_NH):
    for n in range(len(sum_N)):
        for h in range(acc_NH.shape[1]):
            out_NH[n, h] = acc_NH[n, h] / sum_N[n]


@njit(**_FLAGS)
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
                ours, theirs = _exp2(top_N[n] - new), _exp2(parts.top_V2N[u, 0, n] - new)
                top_N[n], sum_N[n] = new, ours * sum_N[n] + theirs * parts.sum_V2N[u, 0, n]
                for h in range(acc_NH.shape[1]):
                    acc_NH[n, h] = ours * acc_NH[n, h] + theirs * parts.acc_V2NH[u, 0, n, h]
        _divide(acc_NH, sum_N, out_TNH[step.rows_D[d]])


@njit(**_FLAGS)
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


@njit(parallel=True, **_FLAGS)
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
