"""Prefill beside decode, and apart from it: times by hand, and what every schedule must keep."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.serving.phase_split import Arrival, StepTime, Timeline, goodput, simulate_shared, simulate_split

STEP = StepTime(floor=1.0, per_token=0.1)


def test_a_long_prompt_makes_who_decodes_wait() -> None:
    arrivals = [Arrival(0, 5, 4), Arrival(1.5, 50, 2)]
    whole = simulate_shared(arrivals, STEP)
    # 0-1 reads the first prompt; 1-2 one token; 2-7.1 one token beside 50 of the second prompt; then both.
    assert whole[0].tokens == pytest.approx((1, 2, 7.1, 8.1))
    assert whole[1].tokens == pytest.approx((7.1, 8.1))
    chunked = simulate_shared(arrivals, STEP, budget=11)
    # ten of the prompt beside each token of the first; then eleven without it
    assert chunked[0].tokens == pytest.approx((1, 2, 3.1, 4.2))
    assert chunked[1].tokens[0] == pytest.approx(4.2 + 1.1 + 1.1 + 1.0)
    assert whole[0].worst_gap == pytest.approx(5.1)
    assert chunked[0].worst_gap == pytest.approx(1.1)


def test_machines_of_their_own_do_not_wait_for_each_other() -> None:
    arrivals = [Arrival(0, 5, 4), Arrival(1.5, 50, 2)]
    apart = simulate_split(arrivals, STEP, STEP, transfer_per_token=0.01)
    assert apart[0].tokens == pytest.approx((1, 2.05, 3.05, 4.05))
    assert apart[1].tokens == pytest.approx((6.5, 8.0))
    assert apart[0].ttft == 1.0
    assert apart[0].tpot == pytest.approx(3.05 / 3)
    assert apart[1].residence == pytest.approx(6.5)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 12), budget=st.sampled_from([None, 1, 3, 16]))
def test_every_token_comes_once_and_in_order(seed: int, count: int, budget: int | None) -> None:
    draw = random.Random(seed)
    moments = sorted(draw.uniform(0, 10) for _ in range(count))
    arrivals = [Arrival(at, draw.randint(1, 20), draw.randint(1, 6)) for at in moments]
    both = [simulate_shared(arrivals, STEP, budget=budget), simulate_split(arrivals, STEP, STEP)]
    for lines in both:
        assert [len(one.tokens) for one in lines] == [one.output for one in arrivals]
        for line, arrival in zip(lines, arrivals, strict=True):
            assert list(line.tokens) == sorted(set(line.tokens))
            assert line.ttft >= STEP.floor - 1e-9
            assert line.arrived == arrival.at
    # Nothing is faster than arithmetic: all tokens of a machine, at its rate.
    tokens = sum(one.prompt + one.output - 1 for one in arrivals)
    end = max(line.tokens[-1] for line in both[0])
    assert end - arrivals[0].at >= tokens * STEP.per_token - 1e-9


def test_one_answer_of_one_token() -> None:
    (line,) = simulate_split([Arrival(2, 3, 1)], STEP, STEP)
    assert (line.tokens, line.tpot, line.worst_gap) == ((3.0,), 0.0, 0.0)
    assert simulate_shared([Arrival(2, 3, 1)], STEP) == [line]


def test_arrivals_may_be_walked_over_once() -> None:
    arrivals = [Arrival(0, 3, 2), Arrival(1, 2, 2)]
    assert simulate_split(iter(arrivals), STEP, STEP) == simulate_split(arrivals, STEP, STEP)  # type: ignore[arg-type]
    assert simulate_shared(iter(arrivals), STEP) == simulate_shared(arrivals, STEP)  # type: ignore[arg-type]


def test_goodput_wants_both_promises() -> None:
    lines = [Timeline(0, (1.0, 2.0)), Timeline(0, (3.0, 4.0)), Timeline(0, (1.0, 5.0))]
    assert goodput(lines, ttft=2, tpot=2) == pytest.approx(1 / 3)
    assert goodput(lines, ttft=3, tpot=4) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepTime(0, 1), "floor"),
        (lambda: StepTime(1, float("nan")), "per_token"),
        (lambda: Arrival(-1, 1, 1), "at"),
        (lambda: Arrival(0, 0, 1), "prompt"),
        (lambda: Arrival(0, 1, 0), "output"),
        (lambda: simulate_shared([], STEP), "arrivals"),
        (lambda: simulate_shared([Arrival(1, 1, 1), Arrival(0, 1, 1)], STEP), "order"),
        (lambda: simulate_shared([Arrival(0, 1, 1)], STEP, budget=0), "budget"),
        (lambda: simulate_split([Arrival(0, 1, 1)], STEP, STEP, transfer_per_token=-1), "transfer"),
        (lambda: goodput([], ttft=1, tpot=1), "timelines"),
        (lambda: goodput([Timeline(0, (1.0,))], ttft=0, tpot=1), "ttft"),
    ],
)
def test_bad_input_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
