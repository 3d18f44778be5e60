"""Attention through block tables on CUDA: one kernel for requests that decode, one for prompts and their chunks.

Decoding splits the keys of a request between programs, as one request alone would keep one of a GPU's many processors
busy, and merges their results by log-sum-exp. Prompts of all lengths go in one launch: each program finds its request
by bisection. Both stand on the same scan over keys, a tile of them for a tile of queries. Unusual: the query heads
that share a key head are rows of the same tile, so a key is read once for all of them and the tensor cores get
rows even from a single token. Sums are float32 whatever the inputs.

On the CPU these kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), where arithmetic on bfloat16 is silently
wrong: tiles are cast to float32 first.

Sources: Dao et al. 2023, Flash-Decoding; Dao 2023, FlashAttention-2, section 3.
Shapes: T rows of the step, N query heads, G key-value heads, M = N / G, H head width, P pages, S slots of a page,
R requests, W blocks of a table, X splits of the keys; in the kernels I rows (queries times heads) and K keys of a tile.
"""

# What a kernel's arguments are, Triton says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

# Annotations are not evaluated: without Triton there is no tl.constexpr.
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from kb.serving.step_layout import StepLayout

try:
    import triton
    import triton.language as tl
except ImportError:  # this file can be imported all the same; paged_attention does not come here then
    triton = None


_LEAST = 16  # side of the smallest matrix that tensor cores multiply
_TILE_BYTES = 16384  # of the keys of a tile: with as many of values, a few tiles fit a processor's shared memory
_NO_WINDOW = 2**31 - 1


def paged_attention_triton(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    *,
    window: int | None = None,
    alibi_slopes_N: Tensor | None = None,
    splits: int | None = None,
) -> Tensor:
    """The same as ``paged_attention``, whose checks have been made, for float32, bfloat16 and float16.

    Args:
        q_TNH: Contiguous queries.
        keys_PSGH: One layer's keys.
        values_PSGH: One layer's values.
        layout: Which rows are whose.
        window: Keys that a query sees at most; None for all.
        alibi_slopes_N: float32 slopes; None for no bias.
        splits: X, programs that share the keys of one decoding request; by default as many as fill the GPU.

    Returns:
        [T, N, H].
    """
    (T, N, H), (_, S, G, _) = q_TNH.shape, keys_PSGH.shape
    out_TNH = torch.empty_like(q_TNH)
    if not T:
        return out_TNH
    block_h = max(_LEAST, triton.next_power_of_2(H))
    sizes = {"N": N, "G": G, "H": H, "S": S, "BLOCK_H": block_h, "BIASED": alibi_slopes_N is not None}
    sizes["BLOCK_K"] = max(_LEAST, min(128, _TILE_BYTES // (block_h * q_TNH.element_size())))
    sizes["UPCAST"] = not q_TNH.is_cuda
    slopes = q_TNH if alibi_slopes_N is None else alibi_slopes_N  # not read without a bias
    tensors = (q_TNH, keys_PSGH, values_PSGH, layout.tables_RW, layout.lengths_R, layout.offsets_Z, slopes, out_TNH)
    scale, keys_seen = math.log2(math.e) / math.sqrt(H), _NO_WINDOW if window is None else min(window, _NO_WINDOW)
    numbers = (scale, keys_seen, layout.tables_RW.stride(0))
    if 1 in layout.queries:
        longest = max(length for length, queries in zip(layout.lengths, layout.queries, strict=True) if queries == 1)
        tiles = -(-min(longest, keys_seen) // sizes["BLOCK_K"])
        programs = len(layout.queries) * G
        _decode(tensors, numbers, sizes, X=splits or _splits(programs, tiles, q_TNH.device))
    if max(layout.queries) > 1:
        _prefill(tensors, numbers, sizes)
    return out_TNH


def _decode(tensors: tuple[Tensor, ...], numbers: tuple[float, int, int], sizes: dict[str, int], X: int) -> None:
    q_TNH, *_, offsets_Z, _, out_TNH = tensors
    R, (N, H) = len(offsets_Z) - 1, q_TNH.shape[1:]
    # A request that is not split is written at once, and these are not used.
    part_RXNH = torch.empty(R, X if X > 1 else 0, N, H, device=q_TNH.device)
    lse_RXN = torch.empty(R, X if X > 1 else 0, N, device=q_TNH.device)
    rows = max(_LEAST, triton.next_power_of_2(N // sizes["G"]))
    _decode_kernel[(R, sizes["G"], X)](
        *tensors, part_RXNH, lse_RXN, *numbers, **sizes, BLOCK_I=rows, X=X, num_warps=4, num_stages=5
    )
    if X > 1:
        across = {"N": N, "H": H, "BLOCK_H": sizes["BLOCK_H"], "X": X, "BLOCK_X": triton.next_power_of_2(X)}
        _merge_kernel[(R, N)](part_RXNH, lse_RXN, offsets_Z, out_TNH, **across)


def _prefill(tensors: tuple[Tensor, ...], numbers: tuple[float, int, int], sizes: dict[str, int]) -> None:
    q_TNH, *_, offsets_Z, _, _ = tensors
    R, G, M = len(offsets_Z) - 1, sizes["G"], sizes["N"] // sizes["G"]
    # float32 is multiplied without tensor cores, in registers: half the rows and twice the warps fit.
    rows, warps = (32, 8) if q_TNH.dtype == torch.float32 else (64, 4)
    rows = max(rows, triton.next_power_of_2(M))
    sizes = {**sizes, "BLOCK_K": min(64, sizes["BLOCK_K"]), "BLOCK_I": rows, "PER_TILE": rows // M}
    grid = (len(q_TNH) // sizes["PER_TILE"] + R, G)
    _prefill_kernel[grid](*tensors, R, *numbers, **sizes, num_warps=warps, num_stages=3)


def _splits(programs: int, tiles: int, device: torch.device) -> int:
    """A power of two, so that few variants are compiled: about four programs a processor, of two tiles at least."""
    wanted = min(-(-4 * _processors(device) // programs), max(1, tiles // 2))
    return min(128, 1 << wanted.bit_length() - 1)


@lru_cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def jit(function: Any) -> Any:
    """Triton's own, but for numbers that change from step to step: no variants for 1 and for multiples of 16."""
    return triton.jit(function, do_not_specialize=("R", "W", "window")) if triton else function


@jit
def _scan(
    q_IH, position_I, slope_I, keys, values, table, first, last, scale, window,
    GH: tl.constexpr, H: tl.constexpr, S: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr, BIASED: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Keys [first, last) for a tile of rows: largest score, sum of exponentials and weighted values of each."""
    top_I = tl.full([BLOCK_I], float("-inf"), tl.float32)
    sum_I = tl.zeros([BLOCK_I], tl.float32)
    acc_IH = tl.zeros([BLOCK_I, BLOCK_H], tl.float32)
    feature_H = tl.arange(0, BLOCK_H)
    for begin in range(first, last, BLOCK_K):
        key_K = begin + tl.arange(0, BLOCK_K)
        real_K = key_K < last
        page_K = tl.load(table + key_K // S, mask=real_K, other=0)
        at_KH = (page_K * (S * GH) + key_K % S * GH)[:, None] + feature_H[None, :]
        mask_KH = real_K[:, None] & (feature_H < H)[None, :]
        k_KH = tl.load(keys + at_KH, mask=mask_KH, other=0.0)
        v_KH = tl.load(values + at_KH, mask=mask_KH, other=0.0)
        if UPCAST:
            k_KH, v_KH = k_KH.to(tl.float32), v_KH.to(tl.float32)
        score_IK = tl.dot(q_IH, tl.trans(k_KH), input_precision="ieee") * scale
        if BIASED:
            score_IK += slope_I[:, None] * (key_K[None, :] - position_I[:, None]).to(tl.float32)
        seen_IK = real_K[None, :] & (key_K[None, :] <= position_I[:, None])
        seen_IK = seen_IK & (key_K[None, :] > position_I[:, None] - window)
        score_IK = tl.where(seen_IK, score_IK, float("-inf"))
        new_I = tl.maximum(top_I, tl.max(score_IK, 1))
        base_I = tl.where(new_I == float("-inf"), 0.0, new_I)  # of a row that has seen nothing yet
        factor_I = tl.exp2(top_I - base_I)
        weight_IK = tl.exp2(score_IK - base_I[:, None])
        sum_I = sum_I * factor_I + tl.sum(weight_IK, 1)
        acc_IH = acc_IH * factor_I[:, None] + tl.dot(weight_IK.to(v_KH.dtype), v_KH, input_precision="ieee")
        top_I = new_I
    return top_I, sum_I, acc_IH


@jit
def _decode_kernel(
    q, keys, values, tables, lengths, offsets, slopes, out, part, lse, scale, window, W,
    N: tl.constexpr, G: tl.constexpr, H: tl.constexpr, S: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr, X: tl.constexpr, BIASED: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One part of the keys of one request, all query heads of one key-value head."""
    r, g, x = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = tl.load(offsets + r)
    if tl.load(offsets + r + 1) - row != 1:
        return
    length = tl.load(lengths + r).to(tl.int32)
    oldest = tl.maximum(0, length - window)
    share = tl.cdiv(tl.cdiv(length - oldest, BLOCK_K), X) * BLOCK_K
    first = oldest + x * share
    last = tl.minimum(first + share, length)
    head_I, feature_H = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H)
    real_I = head_I < N // G
    at_IH = (g * (N // G) + head_I)[:, None] * H + feature_H[None, :]
    mask_IH = real_I[:, None] & (feature_H < H)[None, :]
    q_IH = tl.load(q + row * (N * H) + at_IH, mask=mask_IH, other=0.0)
    if UPCAST:
        q_IH = q_IH.to(tl.float32)
    slope_I = tl.zeros([BLOCK_I], tl.float32)
    if BIASED:
        slope_I = tl.load(slopes + g * (N // G) + head_I, mask=real_I, other=0.0) * 1.4426950408889634
    position_I = tl.full([BLOCK_I], 0, tl.int32) + length - 1
    top_I, sum_I, acc_IH = _scan(
        q_IH, position_I, slope_I, keys + g * H, values + g * H, tables + r * W, first, last, scale, window,
        G * H, H, S, BLOCK_I, BLOCK_H, BLOCK_K, BIASED, UPCAST,
    )  # fmt: skip
    if X == 1:
        tl.store(out + row * (N * H) + at_IH, acc_IH / sum_I[:, None], mask=mask_IH)
    else:
        r_x = r.to(tl.int64) * X + x
        empty_I = sum_I == 0
        tl.store(part + r_x * (N * H) + at_IH, acc_IH / tl.where(empty_I, 1.0, sum_I)[:, None], mask=mask_IH)
        lse_I = tl.where(empty_I, float("-inf"), top_I + tl.log2(sum_I))
        tl.store(lse + r_x * N + g * (N // G) + head_I, lse_I, mask=real_I)


@jit
def _merge_kernel(
    part, lse, offsets, out, N: tl.constexpr, H: tl.constexpr, BLOCK_H: tl.constexpr, X: tl.constexpr,
    BLOCK_X: tl.constexpr,
):  # fmt: skip
    """The parts of one request and one head, each weighted by its sum of exponentials."""
    r, n = tl.program_id(0), tl.program_id(1)
    row = tl.load(offsets + r)
    if tl.load(offsets + r + 1) - row != 1:
        return
    x_X, feature_H = tl.arange(0, BLOCK_X), tl.arange(0, BLOCK_H)
    at_X = (r.to(tl.int64) * X + x_X) * N + n
    lse_X = tl.load(lse + at_X, mask=x_X < X, other=float("-inf"))
    weight_X = tl.exp2(lse_X - tl.max(lse_X, 0))
    mask_XH = (x_X < X)[:, None] & (feature_H < H)[None, :]
    part_XH = tl.load(part + at_X[:, None] * H + feature_H[None, :], mask=mask_XH, other=0.0)
    merged_H = tl.sum(weight_X[:, None] * part_XH, 0) / tl.sum(weight_X, 0)
    tl.store(out + (row * N + n) * H + feature_H, merged_H, mask=feature_H < H)


@jit
def _prefill_kernel(
    q, keys, values, tables, lengths, offsets, slopes, out, R, scale, window, W,
    N: tl.constexpr, G: tl.constexpr, H: tl.constexpr, S: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr, PER_TILE: tl.constexpr, BIASED: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """PER_TILE queries of one request, all query heads of one key-value head."""
    tile, g = tl.program_id(0), tl.program_id(1)
    # Request r owns the tiles from offsets[r] // PER_TILE + r on: always enough, and known without counting.
    r, end = 0, R
    while end - r > 1:
        middle = (r + end) // 2
        if tl.load(offsets + middle) // PER_TILE + middle <= tile:
            r = middle
        else:
            end = middle
    row = tl.load(offsets + r)
    queries = (tl.load(offsets + r + 1) - row).to(tl.int32)
    query = (tile - (row // PER_TILE + r)).to(tl.int32) * PER_TILE
    if (queries == 1) | (query >= queries):
        return
    length = tl.load(lengths + r).to(tl.int32)
    start = length - queries + query
    i_I, feature_H = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_H)
    query_I, head_I = i_I // (N // G), i_I % (N // G)
    real_I = (query_I < PER_TILE) & (query + query_I < queries)
    at_IH = ((row + query + query_I) * N + g * (N // G) + head_I)[:, None] * H + feature_H[None, :]
    mask_IH = real_I[:, None] & (feature_H < H)[None, :]
    q_IH = tl.load(q + at_IH, mask=mask_IH, other=0.0)
    if UPCAST:
        q_IH = q_IH.to(tl.float32)
    slope_I = tl.zeros([BLOCK_I], tl.float32)
    if BIASED:
        slope_I = tl.load(slopes + g * (N // G) + head_I) * 1.4426950408889634
    first, last = tl.maximum(0, start - window + 1), tl.minimum(start + PER_TILE, length)
    _, sum_I, acc_IH = _scan(
        q_IH, start + query_I, slope_I, keys + g * H, values + g * H, tables + r * W, first, last, scale, window,
        G * H, H, S, BLOCK_I, BLOCK_H, BLOCK_K, BIASED, UPCAST,
    )  # fmt: skip
    tl.store(out + at_IH, acc_IH / sum_I[:, None], mask=mask_IH)
