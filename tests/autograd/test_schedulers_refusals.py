"""Schedulers name a bad argument and change nothing; optimizers and sequences that do not fit."""

import math
from typing import Any

import pytest

from kb.autograd import schedulers as ours
from tests.autograd.scheduling import Holder, ours_of


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
