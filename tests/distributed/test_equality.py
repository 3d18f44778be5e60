"""Every scheme against one process, on real processes, in float64; torch's own beside ours.

Sums are taken in another order than by one process, and differ in the last bits: 1e-15 of numbers near 1. Adam divides
by the root of squares that can be as small as those differences for a gradient near 0, so weights are held to 1e-8 of
steps of 1e-2.
"""

import time

import pytest
import torch

from kb.distributed import RankError, Ranks, demo, measurements, zero_bytes
from kb.distributed.zero_memory import zero_traffic
from tests.distributed import cases
from tests.quick_ranks import quick_ranks

LOSS, WEIGHT, STEPS = 1e-10, 1e-8, 3


def require_equal(found: list[demo.Trained]) -> None:
    for trained in found:
        assert len(trained.losses) == STEPS
        assert trained.loss_difference < LOSS
        assert trained.weight_difference < WEIGHT
        assert trained.losses == found[0].losses


@pytest.mark.parametrize("kind", ["loop", "ours", "torch"])
def test_data_parallel(two: Ranks, kind: str) -> None:
    found = two.call(demo.train_data_parallel, STEPS, kind)
    require_equal(found)
    if kind != "torch":
        size = sum(p.nbytes for p in demo.tiny_model().parameters())
        assert found[0].sent == {"all-reduce": STEPS * size}  # 2 (R - 1) / R is 1


@pytest.mark.parametrize("bucket_bytes", [1, 10**9])
def test_data_parallel_with_any_buckets_and_accumulation(two: Ranks, bucket_bytes: int) -> None:
    found = two.call(demo.train_data_parallel, STEPS, "ours", bucket_bytes, 2)
    require_equal(found)
    assert found[0].sent["all-reduce"] == STEPS * sum(p.nbytes for p in demo.tiny_model().parameters())


def test_a_parameter_that_one_rank_does_not_use(two: Ranks) -> None:
    for found, wanted in two.call(cases.unused):
        assert found == pytest.approx(wanted)


@pytest.mark.parametrize("tokens", [[3, 1], [4, 4], [5, 0]])
def test_unequal_numbers_of_tokens(two: Ranks, tokens: list[int]) -> None:
    for means, ours, wanted in two.call(cases.uneven, tokens):
        assert ours == pytest.approx(wanted, rel=1e-12)
        if tokens[0] != tokens[1]:
            assert means != pytest.approx(wanted, rel=0.01)


def test_tensor_parallel(two: Ranks) -> None:
    found = two.call(demo.train_tensor_parallel, STEPS)
    require_equal(found)
    assert max(two.call(cases.linears)) < 1e-12


def test_tensor_parallel_sends_two_all_reduces_of_the_tokens_each_way(two: Ranks) -> None:
    sent = two.call(demo.train_tensor_parallel, 1)[0].sent["all-reduce"]
    tokens = demo.SEQUENCES * (demo.TOKENS - 1)
    blocks, embedding, head = 4 * 4, 1, 1  # f and g twice a block; the embedding's sum; f before the head
    assert sent == 8 * tokens * ((blocks + embedding + head) * 16 + 3)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_vocabulary_parallel(two: Ranks, scale: float) -> None:
    assert max(two.call(cases.vocabulary, scale)) < 1e-11


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_pipeline(two: Ranks, schedule: str) -> None:
    found = two.call(demo.train_pipeline, STEPS, schedule, 4)
    require_equal(found)
    boundary = (demo.SEQUENCES // 4) * demo.TOKENS * 16 * 8
    assert [each.sent["send"] for each in found] == [STEPS * 4 * boundary] * 2


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_zero(two: Ranks, stage: int) -> None:
    found = two.call(demo.train_zero, STEPS, stage)
    require_equal(found)
    model = demo.tiny_model()
    size = sum(p.nbytes for p in model.parameters())
    # A norm is a number: 8 bytes a step.
    assert sum(found[0].sent.values()) == STEPS * (zero_traffic(size, 2, stage) + (8 if stage else 0))


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_clipping_takes_the_norm_of_all_ranks(two: Ranks, stage: int) -> None:
    require_equal(two.call(demo.train_zero, STEPS, stage, 0.1))


def test_fsdp2(two: Ranks) -> None:
    require_equal(two.call(demo.train_fsdp2, STEPS))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gradients_of_two_passes_add_up(two: Ranks, stage: int) -> None:
    assert max(two.call(cases.accumulated, stage)) < WEIGHT


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_unit_may_be_used_in_part(two: Ranks, stage: int) -> None:
    for difference, left in two.call(cases.partly_used, stage):
        assert difference < WEIGHT
        assert left <= 0 or stage < 2  # whole gradients do not outlive a pass


def test_a_pass_after_one_that_failed_is_averaged(two: Ranks) -> None:
    for said, gradient in two.call(cases.after_a_failed_pass):
        assert said == "RuntimeError: out of memory, say"
        assert gradient == 1.0  # two inputs of 0 on one rank, of 1 on the other


@pytest.mark.parametrize("stage", [1, 3])
def test_a_checkpoint_is_of_the_whole_model(two: Ranks, stage: int) -> None:
    assert two.call(cases.checkpoint, stage) == [(stage == 3, 0.0)] * 2


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_bytes_held_are_those_of_the_formula(two: Ranks, stage: int) -> None:
    for count, held, live, most in two.call(measurements.zero_held, stage):
        wanted = zero_bytes(count, 2, stage)
        padding = 64  # seven units, each padded to an even number; and Adam's count of steps
        for ours, theirs in zip(
            (held.parameters, held.gradients, held.optimizer),
            (wanted.parameters, wanted.gradients, wanted.optimizer),
            strict=True,
        ):
            assert theirs <= ours <= theirs + padding
        assert abs(live - held.total) <= padding
        assert (most > held.parameters) == (stage == 3)
        assert most < 2 * count or stage < 3


def test_ring_all_reduce(two: Ranks) -> None:
    for size in (0, 1, 7, 64):
        for dtype in (torch.float64, torch.float32):
            for difference, sent, same in two.call(cases.ring, size, dtype):
                assert difference < 1e-6
                assert same
                assert sent == 2 * -(-size // 2) * dtype.itemsize


@pytest.mark.parametrize("causal", [True, False])
def test_ring_attention(two: Ranks, causal: bool) -> None:
    assert max(two.call(cases.attention, causal)) < 1e-12


def test_four_ranks_are_one_process_too_and_survive_one_that_dies() -> None:
    with quick_ranks(4, timeout=20, patience=120) as four:
        for found in (
            four.call(demo.train_tensor_parallel, STEPS),
            four.call(demo.train_pipeline, STEPS, "1f1b", 8),
            four.call(demo.train_zero, STEPS, 3, 0.1),
            four.call(demo.train_data_parallel, STEPS, "ours"),
        ):
            require_equal(found)
        assert max(four.call(cases.attention, True)) < 1e-12
        for difference, sent, same in four.call(cases.ring, 10, torch.float64):
            assert difference < 1e-12
            assert same
            assert sent == 6 * 3 * 8
        start = time.monotonic()
        four.start(demo.die, 3, "zero")
        assert all(told.startswith("LostRankError: a rank died") for told in four.results([0, 1, 2]))
        assert time.monotonic() - start < 60
        with pytest.raises(RankError, match="rank 3"):
            four.results([3])
        processes = four.processes
    assert not any(process.is_alive() for process in processes)
