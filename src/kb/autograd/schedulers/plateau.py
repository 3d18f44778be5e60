"""Lower the learning rate when a metric has stopped to improve.

A metric is better if it beats the best so far by ``threshold``: below best (1 - threshold) with "rel", below
best - threshold with "abs", and above with the other sign where ``mode`` is "max". After more than ``patience`` values
in a row that are not better, lr <- max(factor lr, min_lr). Unusual: this scheduler multiplies what it finds in the
groups, and ``step`` wants the metric. NaN is never better.

Source: torch's documentation of ``ReduceLROnPlateau``.
"""

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

from kb.arguments import is_number, require_count
from kb.autograd.schedulers.scheduler import LRScheduler, groups_of


class ReduceLROnPlateau(LRScheduler):
    """Times ``factor`` on a plateau.

    Args:
        optimizer: See :class:`LRScheduler`.
        mode: "min" where less is better, else "max".
        factor: At least 0 and below 1.
        patience: How many values in a row may be no better.
        threshold: By how much the best must be beaten, at least 0.
        threshold_mode: "rel" for a share of the best, "abs" for a difference.
        cooldown: How many values after a reduction do not count as bad.
        min_lr: The least ``lr``, or one for each group.
        eps: A change of ``lr`` by no more than this is left out.

    Raises:
        TypeError: as :class:`LRScheduler`.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        optimizer: Any,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        count = len(groups_of(optimizer))
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        if not is_number(factor) or not 0 <= factor < 1:
            raise ValueError(f"factor must be a number of at least 0 and below 1, got {factor!r}")
        require_count("patience", patience, least=0)
        require_count("cooldown", cooldown, least=0)
        least = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * count
        if len(least) != count:
            raise ValueError(f"min_lr must be one number or {count}, one for each group; got {len(least)}")
        for name, value in (("threshold", threshold), ("eps", eps), *(("min_lr", one) for one in least)):
            if not is_number(value) or value < 0:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
        self.optimizer = optimizer
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.min_lrs, self.eps = factor, least, eps
        self.patience, self.cooldown = patience, cooldown
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Take note of a metric, and lower ``lr`` if there have been too many that were no better.

        Raises:
            ValueError: groups were added since.
        """
        groups, value = self.optimizer.param_groups, float(metrics)
        if len(groups) != len(self.min_lrs):
            raise ValueError(f"made for {len(self.min_lrs)} groups, but the optimizer has {len(groups)} now")
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(groups, self.min_lrs, strict=True):
                old = float(group["lr"])
                new = max(old * self.factor, least)
                if old - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _go_on(self) -> None:
        """What it multiplies comes with the optimizer's own state dict."""

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold
