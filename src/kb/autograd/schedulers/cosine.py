"""Schedules along half a wave of the cosine, from the initial learning rate down to ``eta_min``.

    lr = eta_min + (initial - eta_min) (1 + cos(π T_cur / T)) / 2

CosineAnnealingLR goes on along the wave after T = T_max steps, and is back at the top after twice as many.
CosineAnnealingWarmRestarts jumps back to the top, and each way down is T_mult times as long as the one before.

Source: Loshchilov and Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts, equation 5.
Symbols: T_cur steps since the last restart, T_i steps from there to the next one.
"""

import math
from typing import Any

from kb.arguments import is_number, require_count
from kb.autograd.schedulers.scheduler import LRScheduler


class CosineAnnealingLR(LRScheduler):
    """Down along a cosine in ``T_max`` steps.

    Args:
        optimizer: See :class:`LRScheduler`.
        T_max: How many steps the way down takes.
        eta_min: The least ``lr``.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError, ValueError: as :class:`LRScheduler`; or an argument is out of range.
    """

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        require_count("T_max", T_max)
        _require_least("eta_min", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _rates(self, epoch: int) -> list[float]:
        return [_cosine(base, self.eta_min, epoch / self.T_max) for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Down along a cosine, again and again.

    Args:
        optimizer: See :class:`LRScheduler`.
        T_0: How many steps the first way down takes.
        T_mult: How many times longer each is than the one before.
        eta_min: The ``lr`` that is not quite reached before a restart.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError, ValueError: as :class:`LRScheduler`; or an argument is out of range.
    """

    def __init__(self, optimizer: Any, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        require_count("T_0", T_0)
        require_count("T_mult", T_mult)
        _require_least("eta_min", eta_min)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next number, or to this one, which may have a fraction: epoch + batch / batches.

        Raises:
            ValueError: the number is negative, or groups were added since.
        """
        if epoch is None:
            return super().step()
        if not is_number(epoch) or epoch < 0:
            raise ValueError(f"epoch must be a number of at least 0, got {epoch!r}")
        self.go_to(epoch)  # type: ignore[arg-type]  # the only schedule with fractions
        self.last_epoch = math.floor(epoch)
        return None

    def _rates(self, epoch: float) -> list[float]:
        T_cur, T_i = epoch, self.T_0
        if self.T_mult == 1:
            T_cur %= T_i
        while T_cur >= T_i:
            T_cur -= T_i
            T_i *= self.T_mult
        return [_cosine(base, self.eta_min, T_cur / T_i) for base in self.base_lrs]


def _cosine(top: float, bottom: float, share: float) -> float:
    return bottom + (top - bottom) * (1 + math.cos(math.pi * share)) / 2


def _require_least(name: str, value: float) -> None:
    if not is_number(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
