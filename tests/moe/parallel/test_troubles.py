"""Bad input on one rank is an error on all, and a rank that is lost one within the timeout: nobody waits for ever."""

import signal
import time

import pytest
import torch
import torch.distributed as dist

from kb.moe.parallel import ExpertParallel, Groups, RankError, Ranks
from tests.moe.parallel import cases, troubles
from tests.quick_ranks import quick_ranks

REFUSED = {
    "width": "ValueError: x must be [T, 5], got (3, 6)",
    "number": "x must be [T, 5], got ()",
    "nan": "ValueError: logits of the router are not finite",
    "integers": "TypeError: x must be of one of the dtypes",
    "not a tensor": "AttributeError",
}
DISAGREED = {
    "dtype": "same dtype, got {0} on rank 0 and {1} on rank {2}",
    "recording": "same recording of gradients, got",
}


@pytest.mark.parametrize("options", [{}, {"overlap": 2, "node_size": 2}], ids=str)
@pytest.mark.parametrize("kind", REFUSED)
def test_input_that_one_rank_refuses_fails_everywhere(four: Ranks, kind: str, options: dict[str, int]) -> None:
    for rank, (first, second) in enumerate(four.call(troubles.bad_input, kind, 2, **options)):
        wanted = REFUSED[kind] if rank == 2 else "PeerError: rank 2 refused its input"
        assert wanted in first
        assert second == "(3, 5)"


@pytest.mark.parametrize("culprit", [0, 1])
@pytest.mark.parametrize("kind", DISAGREED)
def test_input_that_differs_between_ranks_fails_everywhere(two: Ranks, kind: str, culprit: int) -> None:
    dtypes = ["torch.float32", "torch.float32"]
    dtypes[culprit] = "torch.bfloat16"
    for first, second in two.call(troubles.bad_input, kind, culprit):
        assert first.startswith("ValueError: all ranks must have the ")
        assert DISAGREED[kind].format(*dtypes, 1) in first
        assert second == "(3, 5)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("num_experts", "same num_experts, got 4 on rank 0 and 8 on rank 1"),
        ("top_k", "same top_k, got 2 on rank 0 and 1 on rank 1"),
        ("overlap", "same overlap, got 1 on rank 0 and 3 on rank 1"),
        ("nodes", "same node_size, got 0 on rank 0 and 2 on rank 1"),
    ],
)
def test_layers_that_differ_between_ranks_are_refused_everywhere(two: Ranks, change: str, message: str) -> None:
    assert all(message in told for told in two.call(troubles.bad_layers, change, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("indivisible", "each of 4 ranks must have an equal share of the router's 6 experts, and this one has 6"),
        ("no overlap", "overlap must be an integer of at least 1, got 0"),
        ("odd nodes", "node_size 3 must divide the 4 ranks"),
        ("no timeout", "node_size needs a timeout"),
        ("loop", "implementation 'loop' is not known"),
        ("gate", "shared_gate needs a shared module"),
    ],
)
@pytest.mark.parametrize("culprit", [None, 1])
def test_bad_arguments(four: Ranks, change: str, message: str, culprit: int | None) -> None:
    for rank, told in enumerate(four.call(troubles.bad_layers, change, culprit)):
        mine = culprit in (None, rank)
        assert (message if mine else "PeerError: rank 1 refused") in told


def test_what_cannot_be_divided_is_refused(four: Ranks) -> None:
    for rank, (tokens, number, experts, good) in enumerate(four.call(troubles.indivisible)):
        assert tokens == "ValueError: 10 tokens cannot be divided evenly among 4 ranks: 2 left over"
        assert "axis of tokens" in number
        assert experts == "ValueError: 6 experts cannot be divided evenly among 4 ranks: 2 left over"
        assert good == f"[{2 * rank}.0, {2 * rank + 1}.0]"


@pytest.mark.skipif(dist.is_initialized(), reason="this process is in a group")
def test_without_a_group() -> None:
    with pytest.raises(RuntimeError, match="not initialised"):
        ExpertParallel.shard(cases.layer_of(4, top_k=1, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="not initialised"):
        Groups.of()


@pytest.mark.parametrize(
    ("number", "seconds", "options"),
    [(signal.SIGKILL, 20.0, {}), (signal.SIGSTOP, 3.0, {}), (signal.SIGKILL, 3.0, {"node_size": 2, "overlap": 2})],
    ids=["killed", "stopped", "killed by node"],
)
def test_a_lost_rank_is_an_error_within_the_timeout(
    number: signal.Signals, seconds: float, options: dict[str, int]
) -> None:
    with quick_ranks(4 if options else 2, timeout=seconds, patience=40) as ranks:
        start = time.perf_counter()
        ranks.start(troubles.lose_a_rank, 1, number, seconds, **options)
        others = [rank for rank in range(len(ranks)) if rank != 1]
        for message, waited, step in ranks.results(others):
            assert "did not answer" in message
            assert step == (2 if not options else 1)
            # A process that is gone closes its connections, and nobody waits for it; one that stands still is waited
            # for. Two hops wait twice at most: for the rank, and for one that waits for it.
            assert waited < (seconds if number == signal.SIGKILL and not options else 2 * seconds + 2)
        assert time.perf_counter() - start < 30
        ranks.processes[1].kill()
        with pytest.raises(RankError, match="rank 1: the process is gone"):
            ranks.results([1])
