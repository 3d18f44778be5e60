"""The bounded map: equal to ``map``, and never further ahead than it may be."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.algorithms.concurrency import ordered_map


def source(items, fails):
    yield from items
    if fails:
        raise KeyError("source")


def square(item):
    if item == 13:
        raise ValueError("13")
    return item * item


def outcome(results):
    found = []
    try:
        for result in results:
            found.append(result)
    except (KeyError, ValueError) as error:
        found.append(repr(error))
    return found


@settings(max_examples=60)
@given(st.lists(st.integers(8, 15), max_size=12), st.integers(1, 6), st.integers(1, 3), st.booleans())
def test_results_and_errors_are_those_of_map_at_the_same_place(items, ahead, workers, fails):
    with ThreadPoolExecutor(workers) as pool:
        found = outcome(ordered_map(square, source(items, fails), pool, ahead=ahead))
    assert found == outcome(map(square, source(items, fails)))


def test_it_is_lazy_bounded_and_takes_an_endless_iterator():
    drawn = []
    items = (drawn.append(n) or n for n in itertools.count())
    with ThreadPoolExecutor(2) as pool:
        results = ordered_map(square, items, pool, ahead=4)
        assert drawn == []
        assert next(results) == 0
        assert drawn == [0, 1, 2, 3]
        assert [next(results) for _ in range(3)] == [1, 4, 9]
        assert len(drawn) == 7
        results.close()
    assert len(drawn) == 7


def test_calls_overlap():
    both = threading.Barrier(2, timeout=10)  # passed only by two at a time
    with ThreadPoolExecutor(2) as pool:
        places = list(ordered_map(lambda _: both.wait(), range(4), pool, ahead=2))
    assert sorted(places) == [0, 0, 1, 1]


def test_closing_cancels_what_has_not_begun():
    began, go = [], threading.Event()

    def work(item):
        began.append(item)
        return item if item == 0 else go.wait(10)

    with ThreadPoolExecutor(1) as pool:
        results = ordered_map(work, range(10), pool, ahead=8)
        assert next(results) == 0
        results.close()
        go.set()
    assert len(began) <= 2  # the one that was done, and the one that the worker had taken up


def test_arguments_are_checked_at_the_call():
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="ahead must be an integer of at least 1, got 0"):
            ordered_map(square, [1], pool, ahead=0)
        with pytest.raises(TypeError, match="not iterable"):
            ordered_map(square, 3, pool, ahead=1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(ordered_map(square, [1], pool, ahead=1))
