"""Students with and without a teacher: a tiny run has the shape of the record, and repeats itself."""

import pytest
import torch

from benchmarks.measurements.distillation import LABELS, TEMPERATURES, Setting, interval, measured, student_loss

TINY = Setting(teacher=(8, 1, 1), student=(8, 1, 1), teacher_steps=2, steps=2, windows=4, seeds=2, judged=4)


def test_every_goal_has_a_loss_for_every_seed() -> None:
    teacher, losses = measured(TINY)
    assert list(losses) == [LABELS, *(f"teacher, T {T:g}" for T in TEMPERATURES)]
    assert all(len(of) == TINY.seeds for of in losses.values())
    assert 0 < teacher < 6


def test_a_teacher_that_knows_only_the_labels_is_the_labels() -> None:
    few = torch.arange(4 * 65).view(4, 65) % 256
    held_out = few.flip(1)
    sure = 1e4 * torch.nn.functional.one_hot(few[:, 1:], 256).float()
    with_labels, with_teacher = (student_loss(TINY, 0, few, sure, held_out, T) for T in (None, 1.0))
    assert with_teacher == pytest.approx(with_labels, abs=1e-5)


def test_interval_by_hand() -> None:
    assert interval([1.0, 3.0]) == {"mean": 2.0, "95 % interval": [-10.7062, 14.7062]}  # 2 ± 12.7062 · 1
