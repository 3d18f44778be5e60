"""LightGBM's random numbers, so that the same rows and features are drawn: a linear congruential generator of 32 bits.

Its numbers have 15 bits, which would do for no simulation; here they choose samples, and the point is that they choose
those of LightGBM.

Source: LightGBM's ``Random``; the multiplier and increment are those of Microsoft's C library.
"""

import math
from functools import lru_cache

import numpy as np

from kb.installed import is_installed

MULTIPLIER, INCREMENT, MASK = 214013, 2531011, 0xFFFFFFFF
_SHORTS = 0x7FFF


class Drawing:
    """A generator with a state of its own.

    Args:
        seed: Its first state.
    """

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def shorts(self, count: int) -> np.ndarray:
        """The next numbers of 15 bits, int64 [count]."""
        # Jumping ahead: x after k steps is x a^k + c (a^k - 1)/(a - 1), both factors by doubling.
        factors, terms = _jumps(count)
        states = (factors * np.uint64(self.state) + terms) & np.uint64(MASK)
        if count:
            self.state = int(states[-1])
        return ((states >> np.uint64(16)) & np.uint64(_SHORTS)).astype(np.int64)

    def short(self, low: int, high: int) -> int:
        """An integer from ``low`` to before ``high``, of 15 bits."""
        return int(self.shorts(1)[0]) % (high - low) + low

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to before ``high``, of 31 bits."""
        self.state = (MULTIPLIER * self.state + INCREMENT) & MASK
        return (self.state & 0x7FFFFFFF) % (high - low) + low

    def fractions(self, count: int) -> np.ndarray:
        """Numbers from 0 to before 1 in steps of 2^-15, float64 [count]."""
        return self.shorts(count) / 32768.0

    def sample(self, total: int, count: int) -> np.ndarray:
        """``count`` of the integers below ``total``, in order, int64.

        Raises:
            ValueError: more are wanted than there are, or fewer than none.
        """
        if not 0 <= count <= total:
            raise ValueError(f"count must be from 0 to {total}, got {count}")
        if count == total:
            return np.arange(total)
        if count > 1 and count > total / math.log2(count):
            return self._one_pass(total, count) if is_installed("numba") else self.one_pass_loop(total, count)
        chosen: set[int] = set()
        for last in range(total - count, total):
            drawn = self.integer(0, last + 1)
            chosen.add(last if drawn in chosen else drawn)
        return np.array(sorted(chosen), np.int64)

    def _one_pass(self, total: int, count: int) -> np.ndarray:
        from kb.gbdt.sampling import drawing_numba

        chosen, self.state = drawing_numba.one_pass(self.state, total, count)
        return chosen

    def one_pass_loop(self, total: int, count: int) -> np.ndarray:
        """Each integer in turn with the chance that the rest needs; as many come out as are wanted, or few less."""
        fractions, chosen = self.fractions(total).tolist(), []
        missing = count
        for place, fraction in enumerate(fractions):
            if fraction < missing / (total - place):
                chosen.append(place)
                missing -= 1
        return np.array(chosen, np.int64)


@lru_cache(maxsize=2)  # bagging asks for blocks of one size again and again
def _jumps(count: int) -> tuple[np.ndarray, np.ndarray]:
    """For 1 to ``count`` steps ahead, what the state is multiplied by, and what is added, modulo 2^32."""
    mask = np.uint64(MASK)
    factors, terms = np.array([MULTIPLIER], np.uint64), np.array([INCREMENT], np.uint64)
    while len(factors) < count:
        last_factor, last_term = factors[-1], terms[-1]
        factors, terms = (
            np.concatenate([factors, factors * last_factor & mask]),
            np.concatenate([terms, (factors * last_term + terms) & mask]),
        )
    return factors[:count], terms[:count]
