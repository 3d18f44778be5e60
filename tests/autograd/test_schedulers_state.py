"""A schedule that was saved goes on as if nothing had been; a foreign state is refused."""

import json
import math
from typing import Any

import pytest

from kb.autograd import schedulers as ours
from tests.autograd.scheduling import ours_of, rates, warm_up

SCHEDULERS: dict[str, Any] = {
    "LambdaLR": lambda o: ours.LambdaLR(o, lambda n: 0.9**n),
    "StepLR": lambda o: ours.StepLR(o, 4),
    "MultiStepLR": lambda o: ours.MultiStepLR(o, [9, 3, 9]),
    "ExponentialLR": lambda o: ours.ExponentialLR(o, 0.9),
    "LinearLR": lambda o: ours.LinearLR(o, total_iters=15),
    "CosineAnnealingLR": lambda o: ours.CosineAnnealingLR(o, 12),
    "CosineAnnealingWarmRestarts": lambda o: ours.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda o: ours.OneCycleLR(o, 1.0, 30),
    "SequentialLR": lambda o: warm_up(ours, o),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_saved_schedule_goes_on(name: str) -> None:
    optimizer = ours_of()
    scheduler = SCHEDULERS[name](optimizer)
    rates(scheduler, 10)
    saved = json.loads(json.dumps([scheduler.state_dict(), optimizer.state_dict()]))
    wanted = rates(scheduler, 15)
    optimizer = ours_of(lrs=(3.0, 4.0))
    scheduler = SCHEDULERS[name](optimizer)
    scheduler.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    assert rates(scheduler, 15) == wanted


def test_a_saved_plateau_goes_on() -> None:
    mine = ours.ReduceLROnPlateau(ours_of(), patience=2)
    mine.step(1.0)
    mine.step(1.0)
    again = ours.ReduceLROnPlateau(ours_of(), patience=7, factor=0.5)
    again.load_state_dict(mine.state_dict())
    for scheduler in (mine, again):
        scheduler.step(1.0)
        assert scheduler.get_last_lr()[0] == 0.1
        scheduler.step(1.0)
        assert scheduler.get_last_lr()[0] == pytest.approx(0.01)


def test_last_epoch_goes_on_where_groups_have_their_initial_lr() -> None:
    optimizer = ours_of()
    rates(ours.CosineAnnealingLR(optimizer, 12), 5)
    again = ours.CosineAnnealingLR(optimizer, 12, last_epoch=6)
    assert again.last_epoch == 7
    assert again.get_last_lr()[0] == pytest.approx(0.05 * (1 + math.cos(math.pi * 7 / 12)))
    with pytest.raises(ValueError, match="initial_lr"):
        ours.CosineAnnealingLR(ours_of(), 12, last_epoch=6)


def test_a_foreign_state_is_refused_and_nothing_is_loaded() -> None:
    scheduler = ours.StepLR(ours_of(), 3)
    before = dict(vars(scheduler))
    with pytest.raises(ValueError, match="StepLR"):
        scheduler.load_state_dict(ours.ExponentialLR(ours_of(), 0.5).state_dict())
    with pytest.raises(ValueError, match="2 groups"):
        scheduler.load_state_dict(ours.StepLR(ours_of(lrs=(0.1,)), 3).state_dict())
    with pytest.raises(TypeError, match="dict"):
        scheduler.load_state_dict(None)  # type: ignore[arg-type]
    assert vars(scheduler) == before
    sequence, ahead = warm_up(ours, ours_of()), warm_up(ours, ours_of())
    ahead.step()
    state = ahead.state_dict()
    state["schedulers"] = [*state["schedulers"][:2], {}]
    first = dict(vars(sequence.schedulers[0]))
    with pytest.raises(ValueError, match="ExponentialLR"):
        sequence.load_state_dict(state)
    with pytest.raises(ValueError, match="another number"):
        sequence.load_state_dict({**state, "schedulers": []})
    assert vars(sequence.schedulers[0]) == first
