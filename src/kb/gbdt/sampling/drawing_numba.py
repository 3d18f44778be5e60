"""Drawing many integers at once: what ``Drawing.one_pass_loop`` says, in a compiled loop that steps the generator.

Source: as of ``drawing``.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import numpy as np
from numba import njit

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.sampling import drawing

# Globals of a compiled function are constants in it.
_MULTIPLIER, _INCREMENT = np.uint32(drawing.MULTIPLIER), np.uint32(drawing.INCREMENT)


def one_pass(state: int, total: int, count: int) -> tuple[np.ndarray, int]:
    """The integers that are drawn, in order, int64; and the generator's state afterwards."""
    chosen = np.empty(count, np.int64)
    found, after = _one_pass(np.uint32(state), total, chosen)
    return chosen[:found], int(after)


@njit(**FLAGS)
def _one_pass(state, total, chosen):
    missing, found = len(chosen), 0
    for place in range(total):
        state = np.uint32(state * _MULTIPLIER + _INCREMENT)
        fraction = np.float64((state >> np.uint32(16)) & np.uint32(0x7FFF)) / 32768.0
        if fraction < missing / (total - place):
            chosen[found] = place
            found += 1
            missing -= 1
    return found, state
