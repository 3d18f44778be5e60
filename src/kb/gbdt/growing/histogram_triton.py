"""Histograms on a GPU: a lane for each row and feature, and atomic additions to sums of 64-bit integers.

With floats the order in which lanes come, which no two runs share, would show in the last digits; with integers every
order gives the same sums, those of ``histogram``. Unusual: there are several copies of the histogram, which are summed
at last, so that lanes whose rows share a bin, as in features of few bins, wait less for each other.

On the CPU the kernel runs in Triton's interpreter (``TRITON_INTERPRET=1``).

Source: Zhang, Si and Hsieh 2017, GPU-acceleration for Large-scale Tree Boosting, section 3.
Shapes: N rows, R rows of the leaf, F features, P features with padding, B bins, C copies; in the kernel R rows and F
features of a tile.
"""

# What a kernel's arguments are, Triton says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

# Annotations are not evaluated: without Triton there is no tl.constexpr.
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # this file can be imported all the same; the engine does not come here then
    triton = None

_COPIES = 8
_TILE_FEATURES = 32  # at most
_TILE = 4096  # rows times features


def histogram(rows_NP: Tensor, pairs_N2: Tensor, rows_R: Tensor, F: int, B: int) -> Tensor:
    """The sums of a leaf, int64 [F, B, 2]; see :func:`kb.gbdt.growing.histogram.histogram`.

    Args:
        rows_NP: Bins by row, uint8 or int32, contiguous; features from F on are not read.
        pairs_N2: int64, gradient and second derivative of each row, contiguous.
        rows_R: int32, which rows are in the leaf.
        F: How many features there are.
        B: The most bins.
    """
    sums_CFB2 = torch.zeros((_COPIES, F, B, 2), dtype=torch.int64, device=rows_NP.device)
    if len(rows_R):
        wide = min(_TILE_FEATURES, triton.next_power_of_2(F))
        high = _TILE // wide
        grid = (-(-len(rows_R) // high), -(-F // wide))
        _add_kernel[grid](
            rows_NP, pairs_N2, rows_R, sums_CFB2, len(rows_R), F, B, rows_NP.shape[1], _COPIES, high, wide
        )
    return sums_CFB2.sum(dim=0)


def _jit(function: Any) -> Any:
    """Triton's own, but for the number of rows: no variants for 1 and for multiples of 16."""
    return triton.jit(function, do_not_specialize=("R",)) if triton else function


@_jit
def _add_kernel(
    rows, pairs, order, sums, R,
    F: tl.constexpr, B: tl.constexpr, P: tl.constexpr, COPIES: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add a tile of rows and features to one of the copies."""
    place_R = tl.program_id(0) * HIGH + tl.arange(0, HIGH)
    real_R = place_R < R
    row_R = tl.load(order + place_R, mask=real_R, other=0).to(tl.int64)
    gradient_R = tl.load(pairs + row_R * 2, mask=real_R, other=0)
    hessian_R = tl.load(pairs + row_R * 2 + 1, mask=real_R, other=0)
    feature_F = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    mask_RF = real_R[:, None] & (feature_F < F)[None, :]
    bin_RF = tl.load(rows + row_R[:, None] * P + feature_F[None, :], mask=mask_RF, other=0).to(tl.int64)
    first_F = (tl.program_id(0) % COPIES * F + feature_F).to(tl.int64) * B
    to_RF = sums + (first_F[None, :] + bin_RF) * 2
    gradient_RF = tl.broadcast_to(gradient_R[:, None], (HIGH, WIDE))
    hessian_RF = tl.broadcast_to(hessian_R[:, None], (HIGH, WIDE))
    tl.atomic_add(to_RF, gradient_RF, mask=mask_RF, sem="relaxed")
    tl.atomic_add(to_RF + 1, hessian_RF, mask=mask_RF, sem="relaxed")
