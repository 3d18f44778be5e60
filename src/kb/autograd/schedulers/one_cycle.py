"""One cycle over a whole training: up to a large learning rate, then down to nearly nothing; momentum the other way.

    lr:        max_lr / div_factor  ->  max_lr  ->  max_lr / (div_factor final_div_factor)
    momentum:  max_momentum  ->  base_momentum  ->  max_momentum

The first phase ends at number ``pct_start total_steps - 1``, which need not be whole. With ``three_phase``, the way
down first mirrors the way up, and the fall to nearly nothing is a third phase.

Source: Smith and Topin 2018, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates; two
phases with cosines are fast.ai's.
"""

import math
from typing import Any

from kb.arguments import is_number, require_count
from kb.autograd.schedulers.scheduler import LRScheduler, groups_of

# Keys of a group between which a phase leads: lr from, lr to, momentum from, momentum to.
_UP = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
_DOWN = ("max_lr", "min_lr", "base_momentum", "max_momentum")
_BACK = ("max_lr", "initial_lr", "base_momentum", "max_momentum")
_OUT = ("initial_lr", "min_lr", "max_momentum", "max_momentum")


class OneCycleLR(LRScheduler):
    """One cycle; its numbers are those of ``torch.optim.lr_scheduler.OneCycleLR``.

    Args:
        optimizer: See :class:`LRScheduler`. Its ``lr`` does not matter.
        max_lr: The peak, or a list of peaks, one for each group.
        total_steps: Length of the training; or give ``epochs`` and ``steps_per_epoch``.
        epochs: How often the data is gone through.
        steps_per_epoch: Steps each time.
        pct_start: Share of the steps that lead up, from 0 to 1.
        anneal_strategy: Along which curve, "cos" or "linear".
        cycle_momentum: Whether ``momentum``, or the first of ``betas``, goes along.
        base_momentum: Its least value, or one for each group.
        max_momentum: Its largest value, or one for each group.
        div_factor: Peak over initial ``lr``.
        final_div_factor: Initial over final ``lr``.
        three_phase: Whether to come back to the initial ``lr`` before the fall.
        last_epoch: See :class:`LRScheduler`.

    Raises:
        TypeError: as :class:`LRScheduler`.
        ValueError: as :class:`LRScheduler`; or an argument is out of range, or there is no momentum to cycle.
    """

    def __init__(
        self,
        optimizer: Any,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        groups = groups_of(optimizer)
        self.total_steps = _count_steps(total_steps, epochs, steps_per_epoch)
        if not is_number(pct_start) or not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start must be a number from 0 to 1, got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not is_number(value) or value <= 0:
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if cycle_momentum and not all("momentum" in group or "betas" in group for group in groups):
            raise ValueError("cycle_momentum wants an optimizer with momentum or betas")
        self.pct_start, self.three_phase = pct_start, three_phase
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        peaks = _one_each("max_lr", max_lr, len(groups))
        bases = _one_each("base_momentum", base_momentum, len(groups))
        tops = _one_each("max_momentum", max_momentum, len(groups))
        if last_epoch == -1:
            for group, peak, base, top in zip(groups, peaks, bases, tops, strict=True):
                initial = peak / div_factor
                group.update(initial_lr=initial, max_lr=peak, min_lr=initial / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=top, base_momentum=base)
        super().__init__(optimizer, last_epoch)

    def go_to(self, epoch: int) -> None:
        """Write what the groups shall have at this number, momentum included."""
        super().go_to(epoch)
        if not self.cycle_momentum:
            return
        (_, _, start, end), share = self._phase(epoch)
        for group in self.optimizer.param_groups:
            momentum = self._between(group[start], group[end], share)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def _rates(self, epoch: int) -> list[float]:
        if epoch > self.total_steps:
            raise ValueError(f"the cycle is over after total_steps {self.total_steps}, there is no step {epoch}")
        (start, end, _, _), share = self._phase(epoch)
        return [self._between(group[start], group[end], share) for group in self.optimizer.param_groups]

    def _phase(self, epoch: int) -> tuple[tuple[str, str, str, str], float]:
        """The phase that a number lies in, and how far on in it."""
        up, last = self.pct_start * self.total_steps - 1.0, self.total_steps - 1.0
        phases = [(up, _UP), (last, _DOWN)]
        if self.three_phase:
            phases = [(up, _UP), (2 * self.pct_start * self.total_steps - 2, _BACK), (last, _OUT)]
        place = next((place for place, (end, _) in enumerate(phases[:-1]) if epoch <= end), len(phases) - 1)
        start = phases[place - 1][0] if place else 0.0
        end, keys = phases[place]
        return keys, (epoch - start) / (end - start) if end != start else 1.0

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _count_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        require_count("total_steps", total_steps)
        return total_steps
    if epochs is None or steps_per_epoch is None:
        raise ValueError("total_steps must be given, or both epochs and steps_per_epoch")
    require_count("epochs", epochs)
    require_count("steps_per_epoch", steps_per_epoch)
    return epochs * steps_per_epoch


def _one_each(name: str, value: float | list[float], count: int) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * count
    if len(values) != count or not all(is_number(one) and one >= 0 for one in values):
        raise ValueError(f"{name} must be a number of at least 0, or one for each of {count} groups, got {value!r}")
    return values
