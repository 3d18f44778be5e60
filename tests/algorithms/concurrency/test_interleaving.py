"""All orders of a few steps: their number by a formula, and what is known of small programs."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.algorithms.concurrency import Lock, explore


def counters(times, *, lock=None):
    """Two threads that add one ``times`` times each, reading and writing in separate steps."""

    def program():
        box = SimpleNamespace(x=0)
        guard = Lock() if lock else None

        def add():
            for place in range(times):
                if place:
                    yield
                if guard:
                    yield from guard.acquire()
                value = box.x
                yield
                box.x = value + 1
                if guard:
                    guard.release()

        return box, {"A": add(), "B": add()}

    return program


def test_the_six_orders_of_two_times_two_steps():
    found = {"".join(order.steps): order.state.x for order in explore(counters(1))}
    assert found == {"AABB": 2, "ABAB": 1, "ABBA": 1, "BAAB": 1, "BABA": 1, "BBAA": 2}
    assert list(found) == sorted(found)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_the_number_of_orders_is_the_multinomial_coefficient_and_each_occurs_once(lengths):
    def program():
        def thread(length):
            for _ in range(length - 1):
                yield

        return None, {str(place): thread(length) for place, length in enumerate(lengths)}

    found = [order.steps for order in explore(program)]
    count = math.factorial(sum(lengths))
    for length in lengths:
        count //= math.factorial(length)
    assert len(found) == len(set(found)) == count
    assert found == sorted(found)
    assert all(Counter(steps) == {str(p): n for p, n in enumerate(lengths)} for steps in found)


def test_two_threads_that_add_three_times_each_may_end_at_two():
    found = Counter(order.state.x for order in explore(counters(3)))
    assert sum(found.values()) == math.comb(12, 6)
    assert min(found) == 2  # one reads 0, the other writes twice, one writes 1, which the other reads last
    assert max(found) == 6


def test_a_lock_leaves_the_right_result_in_every_order():
    found = list(explore(counters(2, lock=True)))
    assert {order.state.x for order in found} == {4}
    assert not any(order.stuck for order in found)


def two_locks(same_order):
    def program():
        first, second = Lock(), Lock()

        def takes(one, other):
            yield from one.acquire()
            yield from other.acquire()
            other.release()
            one.release()

        return None, {"A": takes(first, second), "B": takes(*((first, second) if same_order else (second, first)))}

    return program


def test_locks_in_opposite_order_deadlock_in_some_orders_and_in_one_order_in_none():
    stuck = [order for order in explore(two_locks(False)) if order.stuck]
    assert stuck
    assert all(order.stuck == ("A", "B") for order in stuck)
    assert not any(order.stuck for order in explore(two_locks(True)))


def test_a_thread_that_waits_for_ever_is_stuck():
    def program():
        def waits():
            yield lambda: False

        return None, {"A": waits()}

    (order,) = explore(program)
    assert (order.steps, order.stuck) == (("A",), ("A",))


def test_no_threads_have_one_order():
    assert [order.steps for order in explore(lambda: (None, {}))] == [()]


def test_what_would_not_end_is_refused():
    def spins():
        def thread():
            while True:
                yield

        return None, {"A": thread()}

    with pytest.raises(RuntimeError, match=r"more than 50 steps: wait by `yield condition`"):
        list(explore(spins, most_steps=50))
    with pytest.raises(RuntimeError, match="more than 5 orders"):
        list(explore(counters(1), most_runs=5))
    assert len(list(explore(counters(1), most_runs=6))) == 6
    for name in ("most_runs", "most_steps"):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got 0"):
            explore(counters(1), **{name: 0})


def test_an_error_of_a_thread_is_raised():
    def program():
        def thread():
            yield
            Lock().release()

        return None, {"A": thread()}

    with pytest.raises(RuntimeError, match="not held"):
        list(explore(program))


@pytest.mark.parametrize(("thing", "message"), [(1, "got 1$"), (Lock().acquire(), "acquired by `yield from`")])
def test_what_is_no_condition_is_refused(thing, message):
    def program():
        def thread():
            yield thing

        return None, {"A": thread()}

    with pytest.raises(TypeError, match=f"thread A must yield None or a condition, .*{message}"):
        list(explore(program))
