"""Learning rates over a run, as factors of the highest one: functions of how much of the run is done, 0 to 1.

The warm-up is not among them: the loop does it, in steps, before the run that these see.

Sources: Loshchilov and Hutter 2017, SGDR, equation 5 (cosine); Hu et al. 2024, MiniCPM, section 4.2 (warm-up, stable,
decay).
"""

import math
from collections.abc import Callable
from functools import partial

from kb.arguments import is_number

Schedule = Callable[[float], float]


def constant(done: float) -> float:
    """1 throughout."""
    return 1.0


def cosine(done: float, *, floor: float = 0.1) -> float:
    """From 1 down to ``floor`` along half a wave of a cosine."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def linear(done: float, *, floor: float = 0.0) -> float:
    """From 1 down to ``floor`` along a line."""
    return 1 + (floor - 1) * done


def warmup_stable_decay(decay: float = 0.2, *, floor: float = 0.0) -> Schedule:
    """1 until the last share ``decay`` of the run, then down to ``floor`` along a line.

    Raises:
        ValueError: the share is not above 0 and at most 1.
    """
    if not is_number(decay) or not 0 < decay <= 1:
        raise ValueError(f"decay must be a share above 0 and at most 1, got {decay!r}")
    return partial(_stable_then_down, decay=decay, floor=floor)


def _stable_then_down(done: float, *, decay: float, floor: float) -> float:
    return linear(max(0.0, (done - (1 - decay)) / decay), floor=floor)
