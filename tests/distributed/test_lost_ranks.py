"""A rank that dies, or stands still, in the middle of a step: the other is told in time, and no process is left."""

import signal
import time

import pytest

from kb.distributed import RankError
from tests.distributed import lost_ranks
from tests.quick_ranks import quick_ranks

PATIENCE = 180  # seconds in which processes start and import torch on a busy machine; what is timed begins after
CULPRITS = [("data", 1), ("tensor", 1), ("pipeline", 0), ("pipeline", 1), ("zero", 0)]


@pytest.mark.parametrize(("way", "culprit"), CULPRITS)
def test_a_rank_that_dies_is_told_at_once(way: str, culprit: int) -> None:
    with quick_ranks(2, timeout=40, patience=PATIENCE) as ranks:
        assert all(ranks.call(lost_ranks.ready))
        start = time.perf_counter()
        ranks.start(lost_ranks.train_until_lost, way, culprit, signal.SIGKILL, 6)
        ((message, waited),) = ranks.results([1 - culprit])
        assert message.startswith("a rank died, or did not answer within the timeout")
        assert waited < 20, "its connections are closed: nobody waits for the timeout"
        with pytest.raises(RankError, match=f"rank {culprit}: the process is gone"):
            ranks.results([culprit])
        assert time.perf_counter() - start < 40
    assert not any(process.is_alive() for process in ranks.processes)


@pytest.mark.parametrize("way", sorted(lost_ranks.WAYS))
def test_a_rank_that_stands_still_is_waited_for_no_longer_than_the_timeout(way: str) -> None:
    with quick_ranks(2, timeout=3, patience=PATIENCE) as ranks:
        assert all(ranks.call(lost_ranks.ready))
        start = time.perf_counter()
        ranks.start(lost_ranks.train_until_lost, way, 1, signal.SIGSTOP, 6)
        ((message, waited),) = ranks.results([0])
        assert "did not answer within the timeout" in message
        assert 2 < waited < 15
        assert time.perf_counter() - start < 40
    assert not any(process.is_alive() for process in ranks.processes)


def test_a_call_after_a_rank_is_gone_says_so() -> None:
    with quick_ranks(2, timeout=20, patience=20) as ranks:
        assert ranks.call(divmod, 7, 2) == [(3, 1)] * 2
        ranks.processes[1].kill()
        ranks.processes[1].join()
        with pytest.raises(RankError, match="rank 1: the process is gone"):
            ranks.call(divmod, 7, 2)
