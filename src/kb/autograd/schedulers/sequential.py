"""Schedulers one after the other, for instance a warm-up and then a cosine.

At each milestone the next scheduler takes over, and counts from 0.

Source: torch's documentation of ``SequentialLR``.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from kb.arguments import require_count
from kb.autograd.schedulers.plateau import ReduceLROnPlateau
from kb.autograd.schedulers.scheduler import LRScheduler, groups_of


class SequentialLR(LRScheduler):
    """Each scheduler in its turn.

    Args:
        optimizer: That of all the schedulers.
        schedulers: In order; all start from the same initial ``lr``.
        milestones: Numbers of steps at which the second one and those after it take over, rising.

    Raises:
        TypeError: one is no scheduler of this package.
        ValueError: there is none, or one that wants metrics or is of another optimizer; or the milestones are not one
            fewer, or do not rise.
    """

    not_saved = ("optimizer", "schedulers")

    def __init__(self, optimizer: Any, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        groups_of(optimizer)
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if not self.schedulers:
            raise ValueError("schedulers must hold at least one, got none")
        for place, one in enumerate(self.schedulers):
            if not isinstance(one, LRScheduler):
                raise TypeError(f"schedulers[{place}] must be a scheduler, got {type(one).__name__}")
            if isinstance(one, ReduceLROnPlateau):
                raise ValueError(f"schedulers[{place}] wants a metric in each step, which is not handed on")
            if one.optimizer is not optimizer:
                raise ValueError(f"schedulers[{place}] is of another optimizer")
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(f"{len(self.schedulers)} schedulers want one milestone fewer, got {len(self.milestones)}")
        for milestone in self.milestones:
            require_count("milestones", milestone)
        if any(later <= earlier for earlier, later in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError(f"milestones must rise, got {self.milestones}")
        self.optimizer, self.last_epoch = optimizer, 0
        self.go_to(0)

    def go_to(self, epoch: int) -> None:
        """Write what the groups shall have at this number."""
        turn = bisect_right(self.milestones, epoch)
        self.schedulers[turn].go_to(epoch - (self.milestones[turn - 1] if turn else 0))
        self.last_epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, with the state dicts of its schedulers."""
        return {**super().state_dict(), "schedulers": [one.state_dict() for one in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            TypeError: it is no dict.
            ValueError: it is of other schedulers; then nothing was loaded.
        """
        self._check_state(state_dict)
        for one, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            one.load_state_dict(state)
        vars(self).update({name: value for name, value in state_dict.items() if name != "schedulers"})
        self.go_to(self.last_epoch)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        if len(state_dict["schedulers"]) != len(self.schedulers):
            raise ValueError(f"made of {len(self.schedulers)} schedulers, the state dict of another number")
        for one, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            one._check_state(state)
