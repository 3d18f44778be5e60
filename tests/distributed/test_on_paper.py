"""What needs no process: steps of a ring, the paper's table of ZeRO, activations, shares of ring attention."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.distributed import RingStep, activation_bytes, blocks_of_work, ring_on_paper, ring_steps, zero_bytes
from kb.distributed.zero_memory import zero_traffic


def rows(size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(-99, 99), min_size=size, max_size=size)


def test_three_ranks_step_by_step() -> None:
    assert ring_steps(0, 3) == [
        RingStep(0, 2, True),
        RingStep(2, 1, True),
        RingStep(1, 0, False),
        RingStep(0, 2, False),
    ]
    history = ring_on_paper([[1, 2, 3], [10, 20, 30], [100, 200, 300]])
    assert history[1] == [[1, 2, 303], [11, 20, 30], [100, 220, 300]]
    assert history[2] == [[1, 222, 303], [11, 20, 333], [111, 220, 300]]
    assert history[-1] == [[111, 222, 333]] * 3
    assert len(history) == 5


@settings(max_examples=40)
@given(
    st.integers(1, 7).flatmap(
        lambda R: st.lists(st.lists(st.integers(-99, 99), min_size=R, max_size=R), min_size=R, max_size=R)
    )
)
def test_a_ring_adds_up(vectors: list[list[float]]) -> None:
    totals = [sum(column) for column in zip(*vectors, strict=True)]
    assert ring_on_paper(vectors)[-1] == [totals] * len(vectors)


def test_bad_rings() -> None:
    with pytest.raises(ValueError, match="rank must be one of 0 to 1, got 2"):
        ring_steps(2, 2)
    with pytest.raises(ValueError, match="vectors must be of one rank at least"):
        ring_on_paper([])
    with pytest.raises(ValueError, match="each of 2 ranks must have 2 numbers"):
        ring_on_paper([[1.0], [2.0]])


def test_the_papers_table() -> None:
    totals = [zero_bytes(7.5e9, 64, stage).total / 1e9 for stage in range(4)]
    assert [round(total, 1) for total in totals] == [120.0, 31.4, 16.6, 1.9]
    held = zero_bytes(7.5e9, 64, 2)
    assert (held.parameters, held.gradients, held.optimizer) == (15e9, 15e9 / 64, 90e9 / 64)
    assert zero_bytes(10, 1, 3) == zero_bytes(10, 1, 0)


def test_traffic() -> None:
    assert [zero_traffic(64, 4, stage) for stage in range(4)] == [96, 96, 96, 144]
    assert zero_traffic(64, 1, 3) == 0


def test_activations_of_gpt3() -> None:
    # Korthikanti et al. 2022, section 4.1: 5 a s / h is 80 for GPT-3, beside 34.
    token_bytes = 2048 * 12288
    sizes = {"sequence": 2048, "sequences": 1, "width": 12288, "heads": 96}
    assert activation_bytes(**sizes) == token_bytes * (34 + 80)
    assert activation_bytes(**sizes, tensor_ranks=8) == token_bytes * (10 + 24 / 8 + 10)
    assert activation_bytes(**sizes, tensor_ranks=8, sequence_parallel=True) == token_bytes * 114 / 8
    assert activation_bytes(**sizes, recompute="selective") == token_bytes * 34
    assert activation_bytes(**sizes, recompute="full") == token_bytes * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 1), "parameters must be a positive number"),
        ((7, 0, 1), "ranks must be an integer"),
        ((7, 4, 4), "stage must be 0, 1, 2 or 3, got 4"),
        ((7, 4, True), "stage must be 0, 1, 2 or 3, got True"),
    ],
)
def test_bad_numbers(arguments: tuple[float, int, int], message: str) -> None:
    for function in (zero_bytes, zero_traffic):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


@pytest.mark.parametrize("sizes", [{"weight": -2}, {"gradient": "2"}, {"optimizer": float("nan")}])
def test_bad_sizes_of_a_number(sizes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(sizes))} must be a number of bytes that is not negative"):
        zero_bytes(7, 4, 1, **sizes)


def test_bad_activations() -> None:
    with pytest.raises(ValueError, match="recompute must be one of none, selective, full"):
        activation_bytes(8, 1, 8, 1, recompute="some")
    with pytest.raises(ValueError, match="heads must be an integer"):
        activation_bytes(8, 1, 8, 0)


@pytest.mark.parametrize("ranks", [1, 2, 5, 8])
def test_a_zigzag_evens_out_what_a_plain_cut_does_not(ranks: int) -> None:
    plain, zigzag = blocks_of_work(ranks), blocks_of_work(ranks, zigzag=True)
    assert sum(plain) == sum(zigzag) == ranks**2 / 2
    assert len(set(zigzag)) == 1
    assert plain[-1] - plain[0] == ranks - 1
