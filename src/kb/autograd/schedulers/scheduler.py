"""What all schedulers share: they write ``lr`` into an optimizer's groups, as a function of the steps so far.

Unusual: each schedule is a closed form of the step's number and the initial ``lr``, where torch multiplies what it
finds in the group. The numbers are the same, and no rounding adds up; but two schedulers on one optimizer do not
multiply, the last to step wins, and so does a schedule over an ``lr`` set by hand. ``SequentialLR`` puts one after the
other.

Source: torch's documentation of ``torch.optim.lr_scheduler``, for names and meaning.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from kb.arguments import is_integer


class LRScheduler:
    """Base of the schedulers.

    Args:
        optimizer: Anything with ``param_groups``, dicts with ``lr``. Each is given an ``initial_lr``, if it has none.
        last_epoch: Number of the last step, to go on from there; -1 at the start. A scheduler takes its first step when
            it is made, to number ``last_epoch + 1``.

    Attributes:
        optimizer: As given.
        base_lrs: The initial ``lr`` of each group.
        last_epoch: Number of the last step.

    Raises:
        TypeError: the optimizer has no groups.
        ValueError: ``last_epoch`` is no integer of at least -1, or it goes on with groups that have no ``initial_lr``.
    """

    not_saved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Any, last_epoch: int = -1) -> None:
        groups = groups_of(optimizer)
        if not is_integer(last_epoch) or last_epoch < -1:
            raise ValueError(f"last_epoch must be an integer of at least -1, got {last_epoch!r}")
        if last_epoch >= 0 and not all("initial_lr" in group for group in groups):
            raise ValueError(f"to go on from step {last_epoch}, each group of the optimizer must have an initial_lr")
        for group in groups:
            group.setdefault("initial_lr", group["lr"])
        self.optimizer = optimizer
        self.base_lrs = [float(group["initial_lr"]) for group in groups]
        self.last_epoch = last_epoch
        self.step()

    def step(self) -> None:
        """Go on to the next number, once a step of the optimizer or once an epoch, whichever is counted.

        Raises:
            ValueError: groups were added since, or the schedule is over.
        """
        self.go_to(self.last_epoch + 1)

    def go_to(self, epoch: int) -> None:
        """Write what the groups shall have at this number, whatever it was before."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(f"made for {len(self.base_lrs)} groups, but the optimizer has {len(groups)} now")
        rates = self._rates(epoch)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self.last_epoch = epoch

    def get_last_lr(self) -> list[float]:
        """The ``lr`` of each group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where it stands and how it was made, in numbers, strings and lists; functions are left out."""
        return {name: copy(value) for name, value in vars(self).items() if name not in self.not_saved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there: the groups get the ``lr`` that they had, as making a scheduler wrote the first one.

        Raises:
            TypeError: it is no dict.
            ValueError: it is of another kind of scheduler, or of another number of groups.
        """
        self._check_state(state_dict)
        vars(self).update({name: copy(value) for name, value in state_dict.items()})
        self._go_on()

    def _go_on(self) -> None:
        self.go_to(self.last_epoch)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"a state dict must be a dict, got {type(state_dict).__name__}")
        wanted = self.state_dict()
        if set(state_dict) != set(wanted):
            raise ValueError(f"a state dict of {type(self).__name__} has {sorted(wanted)}, got {sorted(state_dict)}")
        if len(state_dict.get("base_lrs", ())) != len(wanted.get("base_lrs", ())):
            raise ValueError(f"made for {len(wanted['base_lrs'])} groups, the state dict for another number")

    def _rates(self, epoch: int) -> list[float]:
        return [base * self._factor(epoch) for base in self.base_lrs]

    def _factor(self, epoch: int) -> float:
        """What the initial ``lr`` is multiplied by at this number."""
        raise NotImplementedError


def groups_of(optimizer: Any) -> list[dict[str, Any]]:
    """The groups of an optimizer.

    Raises:
        TypeError: it has none.
    """
    if not isinstance(getattr(optimizer, "param_groups", None), list):
        raise TypeError(f"optimizer must have param_groups, got {type(optimizer).__name__}")
    return optimizer.param_groups
