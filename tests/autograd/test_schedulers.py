"""Each scheduler gives torch's learning rates, to our optimizers and to torch's own; resuming; bad input."""

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as theirs

from kb.autograd import optim
from kb.autograd import schedulers as ours


class Holder:
    def __init__(self) -> None:
        self.data, self.grad = np.ones(2), None


def ours_of(name: str = "SGD", lrs: tuple[float, ...] = (0.1, 0.02), **options: Any) -> Any:
    return getattr(optim, name)([{"params": [Holder()], "lr": lr} for lr in lrs], **options)


def theirs_of(name: str = "SGD", lrs: tuple[float, ...] = (0.1, 0.02), **options: Any) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs]
    return getattr(torch.optim, name)(groups, **options)


def rates(scheduler: Any, steps: int) -> list[list[float]]:
    """What every group has at each of the first numbers, with what else is scheduled."""
    found = []
    for _ in range(steps):
        groups = scheduler.optimizer.param_groups
        assert scheduler.get_last_lr() == [group["lr"] for group in groups]
        found.append([value for g in groups for value in (g["lr"], g.get("momentum", 0), *g.get("betas", ()))])
        scheduler.step()
    return found


def assert_equal(found: list[list[float]], wanted: list[list[float]], least: float = 1e-15) -> None:
    np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=1e-12, atol=least)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")  # no optimizer steps here
        yield


GAMMA = st.floats(0.3, 1.0)
CASES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "LambdaLR": st.sampled_from([{"lr_lambda": lambda n: 0.9**n}, {"lr_lambda": [lambda n: 1 / (n + 1), math.cos]}]),
    "StepLR": st.fixed_dictionaries({"step_size": st.integers(1, 12), "gamma": GAMMA}),
    "MultiStepLR": st.fixed_dictionaries({"milestones": st.lists(st.integers(1, 40), max_size=5), "gamma": GAMMA}),
    "ExponentialLR": st.fixed_dictionaries({"gamma": GAMMA}),
    "LinearLR": st.fixed_dictionaries(
        {"start_factor": st.floats(0.01, 1.0), "end_factor": st.floats(0.0, 1.0), "total_iters": st.integers(1, 50)}
    ),
    "CosineAnnealingLR": st.fixed_dictionaries({"T_max": st.integers(1, 30), "eta_min": st.sampled_from([0.0, 1e-3])}),
    "CosineAnnealingWarmRestarts": st.fixed_dictionaries(
        {"T_0": st.integers(1, 12), "T_mult": st.integers(1, 3), "eta_min": st.sampled_from([0.0, 1e-3])}
    ),
}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_forty_rates_equal_torchs_on_either_optimizer(name: str, data: st.DataObject) -> None:
    options = data.draw(CASES[name])
    wanted = rates(getattr(theirs, name)(theirs_of(), **options), 40)
    for optimizer in (ours_of(), theirs_of()):
        # torch multiplies its way down a cosine and up again, which enlarges the rounding at the bottom.
        least = 1e-13 if name == "CosineAnnealingLR" else 1e-15
        assert_equal(rates(getattr(ours, name)(optimizer, **options), 40), wanted, least)


def test_a_thousand_steps_down_a_cosine_and_up_again() -> None:
    found = rates(ours.CosineAnnealingLR(ours_of(), T_max=1000), 2001)
    assert found[2000][0] == 0.1
    assert_equal(found, rates(theirs.CosineAnnealingLR(theirs_of(), 1000), 2001))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["SGD", "Adam"]),
    total=st.integers(8, 40),
    pct_start=st.floats(0.2, 0.45),
    curve=st.sampled_from(["cos", "linear"]),
    three_phase=st.booleans(),
    cycle=st.booleans(),
    peaks=st.sampled_from([0.5, [0.5, 0.1]]),
)
def test_one_cycle_equals_torchs_momentum_included(
    name: str, total: int, pct_start: float, curve: str, three_phase: bool, cycle: bool, peaks: Any
) -> None:
    options = {"max_lr": peaks, "total_steps": total, "pct_start": pct_start, "anneal_strategy": curve}
    options |= {"three_phase": three_phase, "cycle_momentum": cycle, "base_momentum": 0.8}
    wanted = rates(theirs.OneCycleLR(theirs_of(name), **options), total)
    for optimizer in (ours_of(name), theirs_of(name)):
        scheduler = ours.OneCycleLR(optimizer, **options)
        assert_equal(rates(scheduler, total), wanted)
        with pytest.raises(ValueError, match="total_steps"):
            scheduler.step()


def test_one_cycle_where_torch_divides_by_zero() -> None:
    scheduler = ours.OneCycleLR(ours_of(), 1.0, epochs=2, steps_per_epoch=5, pct_start=0.1)
    found = rates(scheduler, 10)
    assert found[0][0] == 1.0  # the way up has no length: it starts at the peak
    assert found[9][0] == pytest.approx(1 / 25e4)
    with pytest.raises(ZeroDivisionError):
        theirs.OneCycleLR(theirs_of(), 1.0, 10, pct_start=0.1)


METRICS = st.lists(st.sampled_from([1.0, 0.99995, 0.9, 0.5, -1.0, 2.0, float("nan"), float("inf")]), max_size=40)


@settings(max_examples=100, deadline=None)
@given(
    mode=st.sampled_from(["min", "max"]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    threshold=st.sampled_from([0.0, 1e-4, 0.2]),
    factor=st.sampled_from([0.0, 0.1, 0.5]),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    min_lr=st.sampled_from([0.0, 1e-3, [1e-3, 1e-2]]),
    metrics=METRICS,
)
def test_plateaus_equal_torchs(metrics: list[float], **options: Any) -> None:
    mine, reference = ours.ReduceLROnPlateau(ours_of(), **options), theirs.ReduceLROnPlateau(theirs_of(), **options)
    for metric in metrics:
        mine.step(metric)
        reference.step(torch.tensor(metric, dtype=torch.float64))
        assert mine.get_last_lr() == reference.get_last_lr()
        assert (mine.num_bad_epochs, mine.best) == (reference.num_bad_epochs, reference.best)


def warm_up(module: Any, optimizer: Any) -> Any:
    return module.SequentialLR(
        optimizer,
        [
            module.LinearLR(optimizer, start_factor=0.1, total_iters=5),
            module.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-4),
            module.ExponentialLR(optimizer, gamma=0.5),
        ],
        milestones=[5, 25],
    )


def test_a_warm_up_and_then_a_cosine_equal_torchs() -> None:
    wanted = rates(warm_up(theirs, theirs_of()), 35)
    for optimizer in (ours_of(), theirs_of()):
        found = rates(warm_up(ours, optimizer), 35)
        assert_equal(found, wanted)
        assert (found[0][0], found[5][0], found[24][0] > 1e-4) == (pytest.approx(0.01), 0.1, True)


def test_one_sequence_in_another() -> None:
    optimizer = ours_of()
    inner = ours.SequentialLR(
        optimizer, [ours.LinearLR(optimizer, 0.5, total_iters=2), ours.ExponentialLR(optimizer, 0.5)], [2]
    )
    outer = ours.SequentialLR(optimizer, [inner, ours.StepLR(optimizer, 1, 0.1)], [4])
    assert [row[0] for row in rates(outer, 6)] == pytest.approx([0.05, 0.075, 0.1, 0.05, 0.1, 0.01])


@pytest.mark.parametrize("epoch", [0, 0.5, 2.75, 3, 9.25, 40])
@pytest.mark.parametrize("T_mult", [1, 2])
def test_warm_restarts_take_fractions_as_torch_does(epoch: float, T_mult: int) -> None:
    mine = ours.CosineAnnealingWarmRestarts(ours_of(), T_0=3, T_mult=T_mult, eta_min=1e-3)
    reference = theirs.CosineAnnealingWarmRestarts(theirs_of(), T_0=3, T_mult=T_mult, eta_min=1e-3)
    mine.step(epoch)
    reference.step(epoch)
    assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-12)
    assert mine.last_epoch == reference.last_epoch


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


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("LambdaLR", {"lr_lambda": [math.cos]}, "lr_lambda"),
        ("LambdaLR", {"lr_lambda": 0.5}, "lr_lambda"),
        ("StepLR", {"step_size": 0}, "step_size"),
        ("StepLR", {"step_size": 2, "gamma": -1}, "gamma"),
        ("StepLR", {"step_size": 2, "last_epoch": -2}, "last_epoch"),
        ("MultiStepLR", {"milestones": [3, 0.5]}, "milestones"),
        ("ExponentialLR", {"gamma": None}, "gamma"),
        ("LinearLR", {"start_factor": 0.0}, "start_factor"),
        ("LinearLR", {"end_factor": 1.5}, "end_factor"),
        ("LinearLR", {"total_iters": 0}, "total_iters"),
        ("CosineAnnealingLR", {"T_max": 0}, "T_max"),
        ("CosineAnnealingLR", {"T_max": 3, "eta_min": "low"}, "eta_min"),
        ("CosineAnnealingWarmRestarts", {"T_0": 2.0}, "T_0"),
        ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 0}, "T_mult"),
        ("OneCycleLR", {"max_lr": 0.1}, "total_steps"),
        ("OneCycleLR", {"max_lr": 0.1, "epochs": 3}, "total_steps"),
        ("OneCycleLR", {"max_lr": [0.1], "total_steps": 9}, "max_lr"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "pct_start": 1.5}, "pct_start"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "anneal_strategy": "up"}, "anneal_strategy"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "div_factor": 0}, "div_factor"),
        ("ReduceLROnPlateau", {"mode": "low"}, "mode"),
        ("ReduceLROnPlateau", {"factor": 1.0}, "factor"),
        ("ReduceLROnPlateau", {"patience": -1}, "patience"),
        ("ReduceLROnPlateau", {"threshold_mode": "far"}, "threshold_mode"),
        ("ReduceLROnPlateau", {"min_lr": [0.1]}, "min_lr"),
        ("ReduceLROnPlateau", {"min_lr": -0.1}, "min_lr"),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(name: str, options: dict[str, Any], words: str) -> None:
    optimizer = ours_of()
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises((ValueError, TypeError), match=words):
        getattr(ours, name)(optimizer, **options)
    assert optimizer.param_groups == before


def test_what_is_no_optimizer_has_no_momentum_or_has_grown_is_refused() -> None:
    with pytest.raises(TypeError, match="param_groups"):
        ours.ExponentialLR([0.1], 0.5)
    with pytest.raises(ValueError, match="momentum"):
        ours.OneCycleLR(ours_of("Adagrad"), 0.1, 10)
    optimizer = ours_of()
    grown = [ours.ExponentialLR(optimizer, 0.5), ours.OneCycleLR(optimizer, 0.1, 10)]
    plateau = ours.ReduceLROnPlateau(optimizer)
    optimizer.add_param_group({"params": [Holder()]})
    for scheduler in grown:
        with pytest.raises(ValueError, match="made for 2 groups"):
            scheduler.step()
    with pytest.raises(ValueError, match="made for 2 groups"):
        plateau.step(1.0)
    with pytest.raises(ValueError, match="epoch"):
        ours.CosineAnnealingWarmRestarts(optimizer, 3).step(-0.5)


def test_a_wrong_sequence_is_refused() -> None:
    optimizer, other = ours_of(), ours_of()
    one, two = ours.ExponentialLR(optimizer, 0.5), ours.StepLR(optimizer, 3)
    for schedulers, milestones, words in [
        ([], [], "at least one"),
        ([one, ours.StepLR(other, 3)], [3], "another optimizer"),
        ([one, ours.ReduceLROnPlateau(optimizer)], [3], "metric"),
        ([one, two], [], "milestone"),
        ([one, two], [0], "milestones"),
        ([one, two, one], [5, 5], "rise"),
    ]:
        with pytest.raises(ValueError, match=words):
            ours.SequentialLR(optimizer, schedulers, milestones)
    with pytest.raises(TypeError, match="scheduler"):
        ours.SequentialLR(optimizer, [one, 0.5], [3])  # type: ignore[list-item]


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
