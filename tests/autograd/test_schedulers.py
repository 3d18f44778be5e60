"""Each scheduler gives torch's learning rates, to our optimizers and to torch's own."""

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as theirs

from kb.autograd import schedulers as ours
from tests.autograd.scheduling import assert_equal, ours_of, rates, theirs_of, warm_up


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
@settings(max_examples=40)
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


@settings(max_examples=60)
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


@settings(max_examples=100)
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
