"""Matrix products with weights that lie in panels, and what comes before and after them.

Unusual: a product's tiles are worked on while they are in the cache, so that the norm of the input, the bias, silu of
the gate and the residual stream cost no pass over memory. A number of the result is the same whatever rows stand beside
its own, and however many threads there are.

Shapes: M rows, K inputs, N outputs, P panels, J columns of a panel, R rows of a tile, S rows of a stripe, T tokens, H
head width.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import numpy as np
from numba import njit, prange

from kb.nn.compiled import FLAGS, LOG2_E, address, exp2
from kb.nn.tile_product import ROWS, WIDTH, multiply_tile

_BYTES = 4
_STRIPE = 256  # rows that go through all panels before the next ones do
_LOG2_E, _ZERO, _ONE = np.float32(LOG2_E), np.float32(0), np.float32(1)


@njit(**FLAGS)
def _normalize(x_MK, gain_K, eps, out_MK):
    for m in range(len(x_MK)):
        total = _ZERO
        for k in range(x_MK.shape[1]):
            total += x_MK[m, k] * x_MK[m, k]
        scale = _ONE / np.sqrt(total / np.float32(x_MK.shape[1]) + eps)
        for k in range(x_MK.shape[1]):
            out_MK[m, k] = gain_K[k] * (x_MK[m, k] * scale)


@njit(**FLAGS)
def _gate(tiles_2RJ):
    """In the first tile silu(gate) times up; silu(a) = a / (1 + exp(-a)), exp by :func:`exp2`, never under 2^-126."""
    for r in range(ROWS):
        for j in range(WIDTH):
            a = tiles_2RJ[0, r, j]
            small = exp2(-abs(a) * _LOG2_E)
            tiles_2RJ[0, r, j] = a * (small if a < _ZERO else _ONE) / (_ONE + small) * tiles_2RJ[1, r, j]


@njit(**FLAGS)
def _copy_in(source_MN, top, left, tile_RJ):
    for r in range(min(ROWS, len(source_MN) - top)):
        for j in range(min(WIDTH, source_MN.shape[1] - left)):
            tile_RJ[r, j] = source_MN[top + r, left + j]


@njit(**FLAGS)
def _copy_out(tile_RJ, target_MN, top, left):
    width = min(WIDTH, target_MN.shape[1] - left)
    for r in range(min(ROWS, len(target_MN) - top)):
        if width == WIDTH:  # a number that is known makes straight code
            for j in range(WIDTH):
                target_MN[top + r, left + j] = tile_RJ[r, j]
        else:
            for j in range(width):
                target_MN[top + r, left + j] = tile_RJ[r, j]


@njit(**FLAGS)
def _copy(x_SK, out_SK):
    for s in range(len(x_SK)):
        for k in range(x_SK.shape[1]):
            out_SK[s, k] = x_SK[s, k]


@njit(**FLAGS)
def _stripe(first, last, column, source, soon_step, panels_PKJ, bias_PJ, add_MN, out_MN, own, tiles_2RJ):
    """One column of rows [first, last), which begin at the address ``source``."""
    (K, N), left, tile_bytes = (panels_PKJ.shape[1], out_MN.shape[1]), column * WIDTH, WIDTH * _BYTES
    panel_bytes, tile_0, tile_1 = K * tile_bytes, address(tiles_2RJ), address(tiles_2RJ) + ROWS * tile_bytes
    panel, bias = address(panels_PKJ) + column * own * panel_bytes, (address(bias_PJ) + column * own * tile_bytes, 0)
    soon, whole = panel + own * panel_bytes, N - left >= WIDTH and len(out_MN) >= ROWS
    for row in range(first, last, ROWS):
        top = max(first, min(row, last - ROWS))
        place = (top * N + left) * _BYTES
        x = (source + (top - first) * K * _BYTES, K * _BYTES)
        ask = (soon + (row - first) // ROWS * K * soon_step, soon_step)
        add, out = bias, (tile_0, tile_bytes)
        if own == 1 and whole:
            out = (address(out_MN) + place, N * _BYTES)
        if len(add_MN) and whole:
            add = (address(add_MN) + place, N * _BYTES)
        elif len(add_MN):
            _copy_in(add_MN, top, left, tiles_2RJ[0])
            add = out
        multiply_tile(x, panel, add, out, ask, K)
        if own == 2:
            bias_1 = (bias[0] + tile_bytes, 0)
            multiply_tile(x, panel + panel_bytes, bias_1, (tile_1, tile_bytes), (ask[0] + panel_bytes, soon_step), K)
            _gate(tiles_2RJ)
        if own == 2 or not whole:
            _copy_out(tiles_2RJ[0], out_MN, top, left)


@njit(**FLAGS)
def _share(begin, end, x_MK, gain_K, eps, panels_PKJ, bias_PJ, add_MN, out_MN, own):
    """Columns [begin, end) of all stripes, counted stripe by stripe; a column takes ``own`` panels."""
    (M, K), across, current = x_MK.shape, len(panels_PKJ) // own, -1
    tiles_2RJ = np.empty((2, ROWS, WIDTH), np.float32)
    # A tile needs its 8 rows, so where there are fewer they are copied; and normed rows must lie somewhere.
    copied = len(gain_K) > 0 or M < ROWS
    rows_SK = np.zeros((max(ROWS, min(M, _STRIPE)) if copied else 0, K), np.float32)
    for item in range(begin, end):
        stripe, column = item // across, item % across
        last = min(M, (stripe + 1) * _STRIPE)
        first = max(0, min(stripe * _STRIPE, last - ROWS))
        if copied and stripe != current:
            if len(gain_K):
                _normalize(x_MK[first:last], gain_K, eps, rows_SK)
            else:
                _copy(x_MK[first:last], rows_SK)
        current = stripe
        source = address(rows_SK) if copied else address(x_MK) + first * K * _BYTES
        # The next panels are asked for bit by bit while these are used.
        soon_step = WIDTH * _BYTES // -(-(last - first) // ROWS)
        _stripe(first, last, column, source, soon_step, panels_PKJ, bias_PJ, add_MN, out_MN, own, tiles_2RJ)


@njit(parallel=True, **FLAGS)
def product(x_MK, gain_K, eps, panels_PKJ, bias_PJ, add_MN, out_MN, own, threads):
    """``out`` = norm(x) W^T + bias + add; with two panels for a column silu(their first) times their second.

    All are contiguous float32. An empty ``gain_K`` stands for no norm, an empty ``add_MN`` for nothing to add; with
    something to add there is no bias, and one panel for a column.
    """
    items = -(-len(x_MK) // _STRIPE) * (len(panels_PKJ) // own)
    for v in prange(threads):
        begin, end = items * v // threads, items * (v + 1) // threads
        _share(begin, end, x_MK, gain_K, eps, panels_PKJ, bias_PJ, add_MN, out_MN, own)


@njit(**FLAGS)
def _rotate(x_NH, cos_P, sin_P):
    P = len(cos_P)
    for n in range(len(x_NH)):
        for p in range(P):
            a, b = x_NH[n, p], x_NH[n, P + p]
            x_NH[n, p] = a * cos_P[p] - b * sin_P[p]
            x_NH[n, P + p] = b * cos_P[p] + a * sin_P[p]


@njit(parallel=True, **FLAGS)
def rotate(x_TNH, heads, cos_TP, sin_TP, threads):
    """Turn the pairs of the first ``heads`` heads of every token, in place."""
    T = len(x_TNH)
    for v in prange(threads):
        for t in range(T * v // threads, T * (v + 1) // threads):
            _rotate(x_TNH[t, :heads], cos_TP[t], sin_TP[t])
