"""Schedules as data: explicit small ones, the formula of the bubble, what stages must keep, and bad plans."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.distributed import bubble_fraction, gpipe, one_forward_one_backward, peak_live, predicted_bubble, timeline
from kb.distributed.schedules import Action, check_schedule


def told(schedule: list[list[Action]]) -> list[str]:
    return [" ".join(map(str, actions)) for actions in schedule]


def test_two_stages_and_three_micro_batches_by_hand() -> None:
    assert told(gpipe(2, 3)) == ["F0 F1 F2 B2 B1 B0"] * 2
    assert told(one_forward_one_backward(2, 3)) == ["F0 F1 B0 F2 B1 B2", "F0 B0 F1 B1 F2 B2"]


def test_times_by_hand() -> None:
    spans = timeline(one_forward_one_backward(2, 2), {"F": 1, "B": 2})
    found = {(span.stage, str(span.action)): (span.start, span.end) for span in spans}
    assert found == {
        (0, "F0"): (0, 1),
        (0, "F1"): (1, 2),
        (1, "F0"): (1, 2),
        (1, "B0"): (2, 4),
        (0, "B0"): (4, 6),
        (1, "F1"): (4, 5),
        (1, "B1"): (5, 7),
        (0, "B1"): (7, 9),
    }
    assert bubble_fraction(spans) == pytest.approx(1 / 3)  # 2 stages x 9 units, 12 of them work


@settings(max_examples=60)
@given(p=st.integers(1, 6), m=st.integers(1, 12), forward=st.integers(1, 5), backward=st.integers(1, 5))
def test_both_have_the_bubble_and_differ_in_what_they_keep(p: int, m: int, forward: int, backward: int) -> None:
    costs = {"F": float(forward), "B": float(backward)}
    for make in (gpipe, one_forward_one_backward):
        plan = make(p, m)
        assert check_schedule(plan) == m
        spans = timeline(plan, costs)
        assert len(spans) == 2 * p * m
        assert max(span.end for span in spans) == pytest.approx((m + p - 1) * (forward + backward))
        assert bubble_fraction(spans) == pytest.approx(predicted_bubble(p, m))
    assert peak_live(gpipe(p, m)) == [m] * p
    assert peak_live(one_forward_one_backward(p, m)) == [min(p - stage, m) for stage in range(p)]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([], "must have a stage"),
        ([["F0", "B0"], ["F0"]], "stage 1 must do F and B"),
        ([["B0", "F0"]], "stage 0 does B0 before F0"),
        ([["F0", "B0", "F1", "B1"], ["F1", "F0", "B1", "B0"]], "waits for itself"),
    ],
)
def test_bad_plans(plan: list[list[str]], message: str) -> None:
    schedule = [[Action(name[0], int(name[1:])) for name in names] for names in plan]
    with pytest.raises(ValueError, match=message):
        timeline(schedule)


@pytest.mark.parametrize("costs", [{"F": 1.0}, {"F": 1.0, "B": 0.0}, {"F": 1.0, "B": float("nan")}])
def test_bad_costs(costs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="costs must be positive numbers"):
        timeline(gpipe(1, 1), costs)


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (2.0, 1)])
def test_bad_sizes(arguments: tuple[int, int]) -> None:
    for make in (gpipe, one_forward_one_backward, predicted_bubble):
        with pytest.raises(ValueError, match=re.escape("must be an integer of at least 1")):
            make(*arguments)


def test_nothing_has_no_bubble() -> None:
    with pytest.raises(ValueError, match="spans must have an action"):
        bubble_fraction([])
