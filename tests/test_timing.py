"""Races: who runs when, and which numbers come out."""

import time

import pytest

from kb.timing import Race, median_seconds, race, seconds


def test_seconds_are_wall_clock() -> None:
    assert 0.02 <= seconds(lambda: time.sleep(0.02)) < 1


def test_contenders_take_turns_after_the_warm_up() -> None:
    calls: list[str] = []
    result = race(lambda: calls.append("a"), lambda: calls.append("b"), rounds=5, warmup=2)
    assert calls == ["a", "b"] * 7
    assert len(result.a_seconds) == len(result.b_seconds) == 5


def test_the_ratio_is_the_median_of_the_pairs_not_the_ratio_of_medians() -> None:
    result = Race((1.0, 2.0, 9.0), (1.0, 4.0, 3.0))
    assert result.ratios == (1.0, 0.5, 3.0)
    assert result.ratio == 1.0
    assert (result.a, result.b) == (2.0, 3.0)


def test_the_median_leaves_out_the_warm_up() -> None:
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), repeats=3, warmup=2) >= 0
    assert len(calls) == 5


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 1), (3, -1)])
def test_refuses_no_repeats(repeats: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        median_seconds(lambda: None, repeats=repeats, warmup=warmup)


@pytest.mark.parametrize(("rounds", "warmup"), [(4, 1), (5, -1)])
def test_refuses_fewer_than_five_rounds(rounds: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="rounds must be at least 5"):
        race(lambda: None, lambda: None, rounds=rounds, warmup=warmup)
