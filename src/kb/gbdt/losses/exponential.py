"""An exponential whose bytes are the same on every machine.

``numpy.exp`` has other last digits with other processors and versions, and so, after some rounds, a loss that uses it
grows other trees. Here all is IEEE additions, multiplications, rounding and a table. With
x = (128 m + j) ln 2 / 128 + r, exp(x) is 2^m times 2^(j/128), from the table, times exp(r), a short polynomial as |r|
is below 0.0028. The table's entries have a second part beyond their 53 bits, so that little more is lost than by the
last rounding: results are off by less than 0.52 units of the last place, and by one at most where they are subnormal.
Nothing may be contracted to fused operations; numba's compiler does not.

Unusual: the nearest integer comes from adding 1.5 * 2^52, whose lowest bits then hold it.

Source: Tang 1989, Table-driven implementation of the exponential function in IEEE floating-point arithmetic (there with
32 entries).
Shapes: J entries of the table.
"""

from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from kb.installed import is_installed

STEPS = 128
LOWEST, HIGHEST = -746.0, 710.0  # beyond which there is nothing but 0 and infinity
_BLOCK = 4096  # numbers whose intermediate results stay in the cache


def _constants() -> tuple[np.ndarray, np.ndarray, float, float, float]:
    """The table in two parts [J], 128 / ln 2, and ln 2 / 128 in two parts."""
    with localcontext() as context:
        context.prec = 60
        step = Decimal(2).ln() / STEPS
        entries = [(step * place).exp() for place in range(STEPS)]
        leads = [float(entry) for entry in entries]
        trails = [float(entry - Decimal(lead)) for entry, lead in zip(entries, leads, strict=True)]
        # Of 34 bits, so that its product with an integer of up to 18 is exact.
        lead = float(int(step * 2**41)) / 2**41
        return np.array(leads), np.array(trails), float(1 / step), lead, float(step - Decimal(lead))


LEADS_J, TRAILS_J, PER_STEP, STEP_LEAD, STEP_TRAIL = _constants()
ROUNDER = 1.5 * 2.0**52
C2, C3, C4, C5 = 1 / 2, 1 / 6, 1 / 24, 1 / 120


def exponential(values: Any) -> np.ndarray:
    """The exponential of each number, float64 in the shape of ``values``.

    NaN stays NaN; what is too large becomes infinity and what is too small 0, without a warning.

    Args:
        values: Floats of any shape, or one.
    """
    values = np.asarray(values, np.float64)
    given, found = np.ascontiguousarray(values).reshape(-1), np.empty(values.size)
    if is_installed("numba"):
        from kb.gbdt.losses import exponential_numba

        exponential_numba.fill(given, found)
    else:
        for start in range(0, len(given), _BLOCK):
            found[start : start + _BLOCK] = _of_block(given[start : start + _BLOCK])
    return found.reshape(values.shape)


def _of_block(x: np.ndarray) -> np.ndarray:
    """The definition; other versions do these operations and no others."""
    x = np.clip(x, LOWEST, HIGHEST)
    shifted = x * PER_STEP + ROUNDER
    places = shifted.view(np.int64)
    count = shifted - ROUNDER
    r = (x - count * STEP_LEAD) - count * STEP_TRAIL
    p = r + (r * r) * (C2 + r * (C3 + r * (C4 + r * C5)))
    j = places & (STEPS - 1)
    lead = LEADS_J[j]
    value = lead + (TRAILS_J[j] + lead * p)
    # Two factors, as 2^m itself may be no normal number; the shifts leave nothing of 1.5 * 2^52 in the exponents.
    m = (places << 13) >> 20
    first = m >> 1
    with np.errstate(over="ignore", under="ignore"):
        return value * _power(first) * _power(m - first)


def _power(exponents: np.ndarray) -> np.ndarray:
    """2 to integers, by writing them into the bits of floats."""
    return ((exponents + 1023) << 52).view(np.float64)
