"""The token bucket: one number against a count of tokens, and what it promises."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.algorithms.concurrency import TokenBucket, waits_loop

RATE = st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0])  # powers of two, so that sums are exact
BURST = st.integers(1, 5)
TIMES = st.lists(st.integers(0, 40), max_size=30).map(lambda steps: sorted(step / 4 for step in steps))


def waits(rate, burst, times):
    bucket = TokenBucket(rate, burst)
    return [bucket.reserve(now) for now in times]


def test_by_hand():
    assert waits(2, 3, [0, 0, 0, 0, 0]) == [0, 0, 0, 0.5, 1.0]
    assert waits(2, 1, [0, 0.25, 2.0, 2.0]) == [0, 0.25, 0, 0.5]
    assert waits(1, 2, [5, 5, 5, 9, 9, 9]) == [0, 0, 1, 0, 0, 1]


@given(RATE, BURST, TIMES)
def test_one_number_is_as_good_as_a_count_of_tokens(rate, burst, times):
    assert waits(rate, burst, times) == waits_loop(rate, burst, times)


@given(RATE, BURST, TIMES)
def test_no_window_has_more_calls_than_the_burst_and_the_rate_allow(rate, burst, times):
    begins = [now + wait for now, wait in zip(times, waits(rate, burst, times), strict=True)]
    assert begins == sorted(begins)
    for first, start in enumerate(begins):
        for last in range(first, len(begins)):
            assert last - first + 1 <= burst + (begins[last] - start) * rate


@given(RATE, BURST, TIMES)
def test_nobody_waits_without_need(rate, burst, times):
    found = waits(rate, burst, times)
    for place, wait in enumerate(found):
        if wait:  # it begins exactly when a token is there: `burst` calls began within burst / rate before it
            begins = times[place] + wait
            before = [now + waited for now, waited in zip(times[:place], found[:place], strict=True)]
            assert sum(other > begins - burst / rate for other in before) >= burst - 1


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan, "1", True])
def test_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="rate must be a positive number"):
        TokenBucket(rate, 1)


@pytest.mark.parametrize("burst", [0, 1.5, True])
def test_a_burst_that_is_none(burst):
    with pytest.raises(ValueError, match="burst must be an integer of at least 1"):
        TokenBucket(1, burst)


@pytest.mark.parametrize("now", [math.nan, math.inf, "1", None])
def test_a_time_that_is_none(now):
    with pytest.raises(ValueError, match="now must be a number of seconds"):
        TokenBucket(1, 1).reserve(now)
