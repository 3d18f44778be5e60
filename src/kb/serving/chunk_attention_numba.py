"""Attention of the many queries of a chunk to their sequence's keys, on processors with AVX-512.

As two matrix products by the tile of ``kb.nn.tile_product``, with the softmax between them: 8 queries of the heads that
share keys go through all the keys that they see, whose scores stay in the cache. Unusual: no online softmax. Scores of
so few queries have room, so each row gets its maximum first and its exponentials once.

Shapes: T rows of the step, N query heads, G key-value heads, M = N / G, H head width, F slots of the pool, R requests,
W blocks of a table, U units of work, K keys of a unit, P panels of J columns, X = M * 8 rows of scores, Z = V + 1 of V
threads.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import math

import numpy as np
from numba import njit, prange
from torch import Tensor

from kb.nn.compiled import FLAGS, LOG2_E, address, exp2, use_torch_threads
from kb.nn.tile_product import ROWS, WIDTH, multiply_tile
from kb.serving.step_layout import StepLayout

_QUERIES = 256  # of a unit of work: for so many, its keys and values are put in order once
_BYTES = 4


def attend_chunks(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    out_TNH: Tensor,
    *,
    window: int | None = None,
    alibi_slopes_N: Tensor | None = None,
) -> None:
    """Attention of the requests ``layout.chunked``, written to their rows of ``out_TNH``.

    Arguments as of ``paged_attention``, float32 on the CPU, and checked by it; queries and result are contiguous.
    """
    if not layout.chunked:
        return
    reach = min(max(layout.lengths), window or max(layout.lengths))
    units_U5, (N, H) = np.array(_units(layout, reach)), q_TNH.shape[1:]
    _, _, queries_U, positions_U, oldest_U = units_U5.T
    # Each thread takes a run of heads of units, whose queries see about as many keys as any other thread's.
    costs = np.repeat(queries_U * (positions_U + queries_U - oldest_U), keys_PSGH.shape[2])
    threads = use_torch_threads()
    shares_Z = np.searchsorted(np.cumsum(costs) - costs, costs.sum() * np.arange(threads + 1) / threads)
    _attend(
        q_TNH.numpy(),
        keys_PSGH.flatten(0, 1).numpy(),
        values_PSGH.flatten(0, 1).numpy(),
        layout.tables_RW.numpy(),
        layout.block_size,
        units_U5,
        shares_Z,
        int((positions_U + queries_U - oldest_U).max()),
        reach,
        np.zeros(N, np.float32) if alibi_slopes_N is None else (alibi_slopes_N * LOG2_E).numpy(),
        np.float32(LOG2_E / math.sqrt(H)),
        out_TNH.numpy(),
    )


def _units(layout: StepLayout, reach: int) -> list[tuple[int, int, int, int, int]]:
    """Request, row of the first query, queries, position of the first one, and the oldest key that it sees."""
    units = []
    for r in layout.chunked:
        start = layout.lengths[r] - layout.queries[r]
        for first in range(0, layout.queries[r], _QUERIES):
            # The last unit has queries of the one before it, if it takes them to fill a tile.
            first = max(0, min(first, layout.queries[r] - ROWS))
            queries, position = min(_QUERIES, layout.queries[r] - first), start + first
            units.append((r, layout.offsets[r] + first, queries, position, max(0, position - reach + 1)))
    return units


@njit(**FLAGS)
def _order(keys_FGH, values_FGH, tables_RW, r, block_size, g, oldest, count, keys_PHJ, values_PKJ):
    """Keys [oldest, oldest + count) to panels that are multiplied with queries, values to such for weights."""
    H = keys_FGH.shape[2]
    for k in range(count):
        page = (oldest + k) // block_size
        slot = tables_RW[r, page] * block_size + oldest + k - page * block_size
        k_H, v_H, panel_HJ, j = keys_FGH[slot, g], values_FGH[slot, g], keys_PHJ[k // WIDTH], k % WIDTH
        for h in range(H):
            panel_HJ[h, j] = k_H[h]
        for p in range(len(values_PKJ)):
            left, out_J = p * WIDTH, values_PKJ[p, k]
            for h in range(min(WIDTH, H - left)):
                out_J[h] = v_H[left + h]


@njit(**FLAGS)
def _weigh(scores_K, scale, slope):
    """Scores to 2^(score - maximum), in place; returns their sum."""
    top, total, newest = np.float32(-np.inf), np.float32(0), len(scores_K) - 1
    for k in range(len(scores_K)):
        score = scores_K[k] * scale + slope * np.float32(k - newest)
        scores_K[k] = score
        top = score if score > top else top
    for k in range(len(scores_K)):
        weight = exp2(scores_K[k] - top)
        scores_K[k] = weight
        total += weight
    return total


@njit(**FLAGS)
def _divide(tile_RJ, sums_R, row, n, left, out_TNH):
    width = min(WIDTH, out_TNH.shape[2] - left)
    for r in range(ROWS):
        factor = np.float32(1) / sums_R[r]
        for j in range(width):
            out_TNH[row + r, n, left + j] = tile_RJ[r, j] * factor


@njit(**FLAGS)
def _attend_tile(
    q_TNH, row, g, position, oldest, reach, keys_PHJ, values_PKJ, slopes_N, scale, scores_XK, tile_RJ, zeros_J, out_TNH
):
    """8 queries from ``row`` on, the first one at ``position``, of the heads that share head g of keys and values."""
    (_, N, H), (panels, K, _), M = q_TNH.shape, values_PKJ.shape, len(scores_XK) // ROWS
    begin, end = max(0, position - reach + 1) - oldest, position + ROWS - oldest
    row_bytes, panel_bytes, score_bytes = N * H * _BYTES, H * WIDTH * _BYTES, scores_XK.shape[1] * _BYTES
    tile_bytes, sums_R = WIDTH * _BYTES, np.empty(ROWS, np.float32)
    queries, scores, zeros = address(q_TNH) + row * row_bytes, address(scores_XK), (address(zeros_J), 0)
    for p in range(begin // WIDTH, (end - 1) // WIDTH + 1):
        panel = address(keys_PHJ) + p * panel_bytes
        for m in range(M):
            x = (queries + (g * M + m) * H * _BYTES, row_bytes)
            out = (scores + m * ROWS * score_bytes + p * tile_bytes, score_bytes)
            multiply_tile(x, panel, zeros, out, (panel + panel_bytes, 0), H)
    for m in range(M):
        for r in range(ROWS):
            low, high = max(0, position + r - reach + 1) - oldest, position + r + 1 - oldest
            sums_R[r] = _weigh(scores_XK[m * ROWS + r, low:high], scale, slopes_N[g * M + m])
            for k in range(begin, low):
                scores_XK[m * ROWS + r, k] = 0
            for k in range(high, end):
                scores_XK[m * ROWS + r, k] = 0
        for p in range(panels):
            x = (scores + m * ROWS * score_bytes + begin * _BYTES, score_bytes)
            panel = address(values_PKJ) + (p * K + begin) * tile_bytes
            multiply_tile(x, panel, zeros, (address(tile_RJ), tile_bytes), (panel, 0), end - begin)
            _divide(tile_RJ, sums_R, row, g * M + m, p * WIDTH, out_TNH)


@njit(parallel=True, **FLAGS)
def _attend(
    q_TNH, keys_FGH, values_FGH, tables_RW, block_size, units_U5, shares_Z, longest, reach, slopes_N, scale, out_TNH
):
    (_, N, H), G = q_TNH.shape, keys_FGH.shape[1]
    key_panels, value_panels = -(-longest // WIDTH), -(-H // WIDTH)
    for v in prange(len(shares_Z) - 1):
        keys_PHJ = np.zeros((key_panels, H, WIDTH), np.float32)
        values_PKJ = np.zeros((value_panels, longest, WIDTH), np.float32)
        scores_XK = np.empty((N // G * ROWS, key_panels * WIDTH), np.float32)
        tile_RJ, zeros_J = np.empty((ROWS, WIDTH), np.float32), np.zeros(WIDTH, np.float32)
        for item in range(shares_Z[v], shares_Z[v + 1]):
            (r, top, queries, position, oldest), g = units_U5[item // G], item % G
            count = position + queries - oldest
            _order(keys_FGH, values_FGH, tables_RW, r, block_size, g, oldest, count, keys_PHJ, values_PKJ)
            for i in range(0, queries, ROWS):
                first = min(i, queries - ROWS)
                _attend_tile(
                    q_TNH, top + first, g, position + first, oldest, reach,
                    keys_PHJ, values_PKJ, slopes_N, scale, scores_XK, tile_RJ, zeros_J, out_TNH,
                )  # fmt: skip
