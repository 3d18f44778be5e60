"""Processes that run functions: what they return and raise, and that none is left."""

import os
import threading
from typing import Any

import pytest

from kb.distributed import RankError, Ranks
from kb.moe import parallel


def test_every_rank_answers_for_itself(two: Ranks) -> None:
    assert two.call(divmod, 7, 2) == [(3, 1)] * 2
    pids = two.call(os.getpid)
    assert pids == [process.pid for process in two.processes]
    assert os.getpid() not in pids


def test_what_a_rank_raises_is_told_and_the_next_call_runs(two: Ranks) -> None:
    with pytest.raises(RankError, match=r"rank 0: ZeroDivisionError: .*\nrank 1: ZeroDivisionError"):
        two.call(divmod, 1, 0)
    assert two.call(divmod, 1, 1) == [(1, 0)] * 2


def test_a_result_that_cannot_be_sent_is_told_and_the_next_call_runs(two: Ranks) -> None:
    with pytest.raises(
        RankError, match=r"rank 0: the result cannot be sent: \w+: .*\nrank 1: the result cannot be sent"
    ):
        two.call(threading.Lock)
    assert two.call(divmod, 1, 1) == [(1, 0)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranks": 0}, "ranks must be an integer"),
        ({"ranks": 2, "threads": 0}, "threads must be an integer"),
        ({"ranks": 2, "timeout": 0}, "timeout must be a positive number of seconds, got 0"),
        ({"ranks": 2, "patience": float("nan")}, "patience must be a positive number"),
    ],
)
def test_bad_numbers_start_no_process(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ranks(**arguments)


def test_an_answer_that_nobody_waited_for_is_not_that_of_a_later_call(two: Ranks) -> None:
    two.start(max, 1, 2)
    assert two.call(min, 3, 4) == [3, 3]
    two.start(max, 5, 6)
    assert two.results(of=[1]) == [6]
    assert two.call(min, 7, 8) == [7, 7]
    for of in ([0], [2], [-1]):
        with pytest.raises(ValueError, match="of must be ranks of 0 to 1 that owe an answer"):
            two.results(of=of)


def test_processes_end_with_the_group_and_the_old_name_is_the_same_class() -> None:
    assert parallel.Ranks is Ranks
    with Ranks(1) as one:
        assert one.call(divmod, 3, 2) == [(1, 1)]
        processes = one.processes
    assert not any(process.is_alive() for process in processes)
