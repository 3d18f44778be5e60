"""The demonstration, and times, made with processes that run functions."""

from kb.moe import RouterConfig
from kb.moe.parallel import Ranks, cost, demo, timings
from tests import processes


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
