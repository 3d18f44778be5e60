"""Processes that run functions: what they return and raise; the demonstration, and times, made with them."""

import os
import threading
from typing import Any

import pytest

from kb.moe import RouterConfig
from kb.moe.parallel import RankError, Ranks, cost, demo, timings
from tests import processes


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


def test_the_demonstration_prints_who_sends_what() -> None:
    lines = processes.run("-m", "kb.moe.parallel.demo").splitlines()
    assert len(lines) == 8
    sent = [[int(rows) for rows in line.split(": ")[1].strip("[]").split(", ")] for line in lines[1:5]]
    assert [sum(rows) for rows in sent] == [2 * tokens for tokens in (5, 3, 0, 8)]
    assert all(line.endswith("within 1e-10: True") for line in lines[5:])


def test_demonstrated_differences_are_those_of_every_part(four: Ranks) -> None:
    for found in four.call(demo.against_one_process, [4, 0, 2, 5], RouterConfig(8, 2), overlap=2, node_size=2):
        assert set(found) == {"output", "tokens", "router", "experts", "shared"}
        assert max(found.values()) < 1e-10


def test_a_slow_link_takes_its_time(two: Ranks) -> None:
    link = cost.Link(0.02, 1e9)
    (taken, again) = two.call(timings.time_layers, 8, 8, 8, RouterConfig(2, 1), 2, overlaps=(1, 2), link=link)
    assert taken == again  # of the slowest rank, on all
    # Rows and counts there, rows home, and both ways backwards: five messages; of two chunks nine.
    assert min(taken[1]) >= 5 * link.latency
    assert min(taken[2]) >= 9 * link.latency


def test_a_rank_that_all_rows_come_to_is_waited_for(two: Ranks) -> None:
    config = RouterConfig(2, 1, bias=True)
    link = cost.Link(0.0, 1e5)  # every rank sends 128 bytes for a row of another rank's expert
    even, hot = (two.call(timings.time_layers, 64, 32, 8, config, 1, link=link, favour=f)[0][1][0] for f in (0.0, 9.0))
    assert hot > even
    # All 64 rows of rank 1 travel there, home, and both ways with gradients.
    assert hot >= 4 * link.seconds(1, 64 * 32 * 4)


def test_exchanges_are_timed_in_one_hop_and_in_two(four: Ranks) -> None:
    for found in four.call(timings.time_exchanges, [4, 40], 8, 2, [None, 2]):
        assert [[len(samples) for samples in taken] for taken in found] == [[2, 2], [2, 2]]
        assert all(seconds > 0 for taken in found for samples in taken for seconds in samples)


def test_an_answer_that_nobody_waited_for_is_not_that_of_a_later_call(two: Ranks) -> None:
    two.start(max, 1, 2)
    assert two.call(min, 3, 4) == [3, 3]
    two.start(max, 5, 6)
    assert two.results(of=[1]) == [6]
    assert two.call(min, 7, 8) == [7, 7]
    for of in ([0], [2], [-1]):
        with pytest.raises(ValueError, match="of must be ranks of 0 to 1 that owe an answer"):
            two.results(of=of)
