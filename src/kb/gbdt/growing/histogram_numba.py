"""Histograms on both cores: what ``histogram`` says, in compiled loops.

A leaf's rows lie scattered in memory, so the loop asks for those of a few steps ahead; a row's bins come in 32-bit
words, and gradient and second derivative are added as one pair of 64-bit integers. Each thread fills a histogram of its
own from its share of the rows; sums of integers do not depend on how many there are.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

FLAGS: dict[str, Any] = {"error_model": "numpy", "cache": True, "nogil": True}
_AHEAD = 16  # rows


@intrinsic
def _add_pair(typing_context: Any, target: Any, source: Any) -> Any:
    """Add the two integers at one address to the two at another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pair = ir.VectorType(ir.IntType(64), 2)
        to, of = (builder.inttoptr(argument, pair.as_pointer()) for argument in arguments)
        sums = builder.add(builder.load(to, align=16), builder.load(of, align=16))
        builder.store(sums, to, align=16)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address; nothing waits for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flag = ir.IntType(32)
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@njit(parallel=True, **FLAGS)
def fill_words(words_NW, pairs_N2, order_N, start, stop, parts_VPB2):
    """The histograms of the rows order_N[start:stop] of 8-bit bins, four to a word: one for each thread's share."""
    V, W, R = parts_VPB2.shape[0], words_NW.shape[1], stop - start
    words, pairs, parts = (
        np.int64(words_NW.ctypes.data),
        np.int64(pairs_N2.ctypes.data),
        np.int64(parts_VPB2.ctypes.data),
    )
    for thread in prange(V):
        parts_VPB2[thread] = 0
        sums = parts + np.int64(thread) * W * 4 * 4096
        first, last = start + R * thread // V, start + R * (thread + 1) // V
        for place in range(first, last):
            later = np.int64(order_N[min(place + _AHEAD, last - 1)])
            _prefetch(words + later * W * 4)
            _prefetch(pairs + later * 16)
            row = np.int64(order_N[place])
            pair, feature = pairs + row * 16, sums
            for word in range(W):
                four = np.int64(words_NW[row, word])
                _add_pair(feature + ((four & 255) << 4), pair)  # a bin has 16 bytes, a feature 256 bins
                _add_pair(feature + 4096 + ((four >> 4) & 4080), pair)
                _add_pair(feature + 8192 + ((four >> 12) & 4080), pair)
                _add_pair(feature + 12288 + ((four >> 20) & 4080), pair)
                feature += 16384


@njit(parallel=True, **FLAGS)
def fill(rows_NP, pairs_N2, order_N, start, stop, parts_VPB2):
    """The same for bins of any width."""
    V, P, R = parts_VPB2.shape[0], rows_NP.shape[1], stop - start
    for thread in prange(V):
        sums_PB2 = parts_VPB2[thread]
        sums_PB2[:] = 0
        for place in range(start + R * thread // V, start + R * (thread + 1) // V):
            row = order_N[place]
            for feature in range(P):
                bin_ = rows_NP[row, feature]
                sums_PB2[feature, bin_, 0] += pairs_N2[row, 0]
                sums_PB2[feature, bin_, 1] += pairs_N2[row, 1]


@njit(parallel=True, **FLAGS)
def settle(parts_VPB2, bins_F, small_FB2, parent_FB2, subtract):
    """Sum the threads' parts into a child's histogram, and take it from the parent's, then the other child's."""
    for feature in prange(len(bins_F)):
        for bin_ in range(bins_F[feature]):
            for column in range(2):
                total = np.int64(0)
                for thread in range(parts_VPB2.shape[0]):
                    total += parts_VPB2[thread, feature, bin_, column]
                small_FB2[feature, bin_, column] = total
                if subtract:
                    parent_FB2[feature, bin_, column] -= total
