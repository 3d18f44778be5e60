"""Schedules that multiply the initial learning rate by a function of the step's number n.

    LambdaLR       f(n)
    StepLR         gamma^⌊n / step_size⌋
    MultiStepLR    gamma^(how many milestones are at most n)
    ExponentialLR  gamma^n
    LinearLR       start_factor + (end_factor - start_factor) min(n, total_iters) / total_iters

Source: torch's documentation of ``torch.optim.lr_scheduler``.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kb.arguments import is_number, require_count
from kb.autograd.schedulers.scheduler import LRScheduler, groups_of


class LambdaLR(LRScheduler):
    """Times a function of the number.

    Args:
        optimizer: See :class:`LRScheduler`.
        lr_lambda: From the number to the factor; or a list of such functions, one for each group. They are no part of
            the state dict.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError, ValueError: as :class:`LRScheduler`; or there are not as many functions as groups.
    """

    not_saved = ("optimizer", "lr_lambdas")

    def __init__(
        self, optimizer: Any, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]], last_epoch: int = -1
    ) -> None:
        count = len(groups_of(optimizer))
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, Sequence) else [lr_lambda] * count
        if len(self.lr_lambdas) != count:
            raise ValueError(f"lr_lambda must be one function, or one for each of {count} groups, got {lr_lambda!r}")
        if not all(callable(one) for one in self.lr_lambdas):
            raise TypeError(f"lr_lambda must be made of functions, got {lr_lambda!r}")
        super().__init__(optimizer, last_epoch)

    def _rates(self, epoch: int) -> list[float]:
        return [base * function(epoch) for base, function in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """Times ``gamma`` every ``step_size`` steps.

    Args:
        optimizer: See :class:`LRScheduler`.
        step_size: How many steps there are between two drops.
        gamma: The factor, at least 0.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError, ValueError: as :class:`LRScheduler`; or an argument is out of range.
    """

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        require_count("step_size", step_size)
        _require_factor("gamma", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Times ``gamma`` at each milestone; at one that is named twice, twice.

    Args:
        optimizer: See :class:`LRScheduler`.
        milestones: Numbers of steps, in any order.
        gamma: The factor, at least 0.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError, ValueError: as :class:`LRScheduler`; or an argument is out of range.
    """

    def __init__(self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        listed = list(milestones)
        for milestone in listed:
            require_count("milestones", milestone)
        _require_factor("gamma", gamma)
        self.milestones, self.gamma = sorted(listed), gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        return self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(LRScheduler):
    """Times ``gamma`` every step.

    Args:
        optimizer: See :class:`LRScheduler`.
        gamma: The factor, at least 0.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError, ValueError: as :class:`LRScheduler`; or ``gamma`` is out of range.
    """

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1) -> None:
        _require_factor("gamma", gamma)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        return self.gamma**epoch


class LinearLR(LRScheduler):
    """On a straight line from one factor to another, for instance to warm up; then constant.

    Args:
        optimizer: See :class:`LRScheduler`.
        start_factor: Factor of the first step, above 0 and at most 1.
        end_factor: Factor from ``total_iters`` on, in [0, 1].
        total_iters: How many steps the way takes.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError, ValueError: as :class:`LRScheduler`; or an argument is out of range.
    """

    def __init__(
        self,
        optimizer: Any,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not is_number(start_factor) or not 0 < start_factor <= 1:
            raise ValueError(f"start_factor must be a number above 0 and at most 1, got {start_factor!r}")
        if not is_number(end_factor) or not 0 <= end_factor <= 1:
            raise ValueError(f"end_factor must be a number from 0 to 1, got {end_factor!r}")
        require_count("total_iters", total_iters)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        share = min(epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * share


def _require_factor(name: str, value: float) -> None:
    if not is_number(value) or value < 0:
        raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
