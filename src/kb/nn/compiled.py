"""What the kernels that numba compiles share: how they are compiled, and what numba lacks.

Unusual: numba has neither prefetching nor an exponential that compiles to vectors, so both are made here, the one as an
instruction that LLVM knows, the other as a polynomial. Numba keeps what it compiled beside the file of the function
that was called, and looks at the age of that file alone: whoever edits this one, or ``tile_product``, deletes the
``*.nbi`` in ``__pycache__``.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Sums may be reordered, but NaN and infinity keep their meaning: a bad number must show, not vanish.
FLAGS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    "error_model": "numpy",
    "cache": True,
    "nogil": True,
}
LOG2_E = math.log2(math.e)
_TAYLOR = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(7))
_SMALLEST, _HALF = np.float32(-126), np.float32(0.5)


def use_torch_threads() -> int:
    """Let the next kernel run in as many threads as torch does; returns how many these are."""
    wanted = torch.get_num_threads()
    threads = min(wanted, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(threads)
    if torch.get_num_threads() != wanted:  # numba's first launch sets OpenMP's own number, which is torch's as well
        torch.set_num_threads(wanted)
    return threads


@njit(**FLAGS)
def exp2(x):
    """2^x for x < 127.5 by the Taylor polynomial about the nearest integer, in steps that compile to vectors."""
    x = _SMALLEST if x < _SMALLEST else x  # written so that NaN stays NaN
    whole = np.floor(x + _HALF)
    f = x - whole
    c0, c1, c2, c3, c4, c5, c6 = _TAYLOR
    power = c0 + f * (c1 + f * (c2 + f * (c3 + f * (c4 + f * (c5 + f * c6)))))
    return power * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(**FLAGS)
def address(array):
    """Where an array begins, signed, to count on from: numba's own address is not, and with a number makes a double.

    Numba frees an array after its last use by name, and an address is none: keep the array where a caller holds it.
    """
    return np.int64(array.ctypes.data)


def emit_prefetch(builder: Any, address: Any) -> None:
    """In LLVM's language: ask for the cache line at an address; nothing waits for it, and no address is wrong."""
    flag = ir.IntType(32)
    pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
    function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
    builder.call(function, [pointer, flag(0), flag(3), flag(1)])  # to read, into all levels, data


@intrinsic
def prefetch(typing_context: Any, address: Any) -> tuple[Any, Callable]:
    """The same, to call from a compiled function."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit_prefetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate
