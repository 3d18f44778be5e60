"""Feeding and judging models of several tasks, and the tasks whose likeness is known."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from kb.moe.multi_task import (
    Rows,
    binary_loss,
    correlated_tasks,
    epochs,
    ranking_quality,
)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 1.0, float("nan")])), min_size=2, max_size=30))
def test_ranking_quality_is_scikit_learns_auc(rows: list[tuple[int, float]]) -> None:
    score_N1, target_N1 = (torch.tensor(column, dtype=torch.float32)[:, None] for column in zip(*rows, strict=True))
    known_N = ~target_N1[:, 0].isnan()
    if len(set(target_N1[known_N, 0].tolist())) < 2:
        with pytest.raises(ValueError, match="both targets of task 0"):
            ranking_quality(lambda x: (x, ()), Rows(score_N1, target_N1))
        return
    wanted = roc_auc_score(target_N1[known_N, 0], score_N1[known_N, 0])
    assert ranking_quality(lambda x: (x, ()), Rows(score_N1, target_N1)) == [pytest.approx(wanted)]


def test_the_loss_skips_what_is_not_known() -> None:
    logits_BS = torch.tensor([[0.0, 2.0], [1.0, 7.0], [-3.0, -1.0]], requires_grad=True)
    nan = float("nan")
    target_BS = torch.tensor([[1.0, 0.0], [nan, nan], [0.0, nan]])
    loss = binary_loss(lambda x: (x, ()), (logits_BS, target_BS))
    wanted = F.binary_cross_entropy_with_logits(torch.tensor([0.0, -3.0]), torch.tensor([1.0, 0.0]))
    wanted = wanted + F.binary_cross_entropy_with_logits(torch.tensor(2.0), torch.tensor(0.0))
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert (logits_BS.grad == 0).tolist() == [[False, False], [True, True], [False, True]]


def test_a_task_that_no_row_knows_costs_nothing() -> None:
    logits_BS = torch.tensor([[0.0, 2.0]], requires_grad=True)
    loss = binary_loss(lambda x: (x, ()), (logits_BS, torch.tensor([[1.0, float("nan")]])))
    torch.testing.assert_close(loss, torch.tensor(2.0).log())
    loss.backward()
    assert logits_BS.grad[0, 1] == 0


def test_epochs_show_each_row_once_and_depend_on_the_seed_alone() -> None:
    rows = Rows(torch.arange(7.0)[:, None], torch.zeros(7, 1))
    first = [x_BD[:, 0].tolist() for x_BD, _ in epochs(rows, 3, 2, seed=1)]
    assert [len(some) for some in first] == [3, 3, 1, 3, 3, 1]
    assert sorted(chain(*first[:3])) == sorted(chain(*first[3:])) == list(range(7))
    assert first[:3] != first[3:]
    assert first == [x_BD[:, 0].tolist() for x_BD, _ in epochs(rows, 3, 2, seed=1)]


@settings(max_examples=30)
@given(cosine=st.floats(-1, 1), seed=st.integers(0, 1000))
def test_correlated_tasks_are_as_alike_as_asked(cosine: float, seed: int) -> None:
    x_ND, target_N2 = correlated_tasks(4000, 5, cosine, seed=seed, sines=0, noise=0.0)
    found = float(torch.corrcoef(target_N2.T)[0, 1])  # of linear targets, the cosine is the correlation
    assert abs(found - cosine) < 0.1
    again_ND, again_N2 = correlated_tasks(4000, 5, 1.0, seed=seed, sines=0, noise=0.0)
    assert torch.equal(x_ND, again_ND)
    assert torch.equal(target_N2[:, 0], again_N2[:, 0])
    torch.testing.assert_close(again_N2[:, 0], again_N2[:, 1])


def test_correlated_tasks_follow_the_papers_equation() -> None:
    x_ND, target_N2 = correlated_tasks(500, 3, 0.3, seed=0, sines=0, noise=0.0, scale=2.0)
    directions_D2 = torch.linalg.lstsq(x_ND, target_N2).solution
    torch.testing.assert_close(directions_D2.norm(dim=0), torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(F.cosine_similarity(*directions_D2.T, dim=0), torch.tensor(0.3))
    bent_N2 = correlated_tasks(500, 3, 0.3, seed=0, sines=2, noise=0.0, scale=2.0)[1]
    torch.testing.assert_close(bent_N2, target_N2 + target_N2.sin() + (2 * target_N2).sin())


def test_the_noise_of_two_targets_is_as_wide_as_asked_and_apart() -> None:
    noisy_N2 = correlated_tasks(20_000, 3, 1.0, seed=0, noise=0.5)[1]
    noise_N2 = noisy_N2 - correlated_tasks(20_000, 3, 1.0, seed=0, noise=0.0)[1]
    torch.testing.assert_close(noise_N2.std(0), torch.tensor([0.5, 0.5]), rtol=0.03, atol=0)
    assert abs(float(torch.corrcoef(noise_N2.T)[0, 1])) < 0.04


X = torch.ones(3, 2)
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "targets": (lambda: binary_loss(lambda x: (x, ()), (X, X[:2])), r"targets must be \(3, 2\)"),
    "batch": (lambda: epochs(Rows(X, X), 0, 1, seed=0), "batch must be"),
    "epochs' seed": (lambda: epochs(Rows(X, X), 1, 1, seed=None), "seed must be an integer"),  # type: ignore[arg-type]
    "cosine": (lambda: correlated_tasks(9, 3, 1.5, seed=0), "cosine must be a number of -1 to 1"),
    "seed": (lambda: correlated_tasks(9, 3, 0.5, seed=0.5), "seed must be an integer"),  # type: ignore[arg-type]
    "noise": (lambda: correlated_tasks(9, 3, 0.5, seed=0, noise=-1), "noise at least 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_what_the_model_says_where_nothing_is_known_does_not_matter() -> None:
    logits_BS = torch.tensor([[0.5, float("nan")], [float("inf"), 0.5]], requires_grad=True)
    target_BS = torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]])
    loss = binary_loss(lambda x: (x, ()), (logits_BS, target_BS))
    loss.backward()
    assert bool(loss.isfinite())
    assert logits_BS.grad is not None
    assert bool(logits_BS.grad.isfinite().all())


@pytest.mark.parametrize("target", [2.0, -1.0])
def test_a_target_that_is_no_chance_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="targets must be 0 to 1 or NaN"):
        binary_loss(lambda x: (x, ()), (torch.zeros(1, 1), torch.tensor([[target]])))


def test_ranking_wants_targets_of_0_and_1_and_takes_half_precision() -> None:
    x_ND, targets_NS = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[0.0], [1.0], [1.0]])
    assert ranking_quality(lambda x: (x.bfloat16(), ()), Rows(x_ND, targets_NS)) == [1.0]
    with pytest.raises(ValueError, match="targets of task 0 must be 0, 1 or NaN"):
        ranking_quality(lambda x: (x, ()), Rows(x_ND, targets_NS / 2))
