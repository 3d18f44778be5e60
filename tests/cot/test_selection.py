"""Choices from planted clusters, each against a loop that follows its definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kb.cot import (
    distance_to_nearest,
    k_means,
    measure_coverage,
    measure_coverage_loop,
    select_k_center,
    select_k_means,
    select_mmr,
    select_nearest,
    select_random,
)

# Three groups of three on a plane, each with one item at its centre; the second group is rotated.
POOL = np.array([[0, 0], [1, 0], [-1, 0], [10, 1], [10, 0], [10, -1], [0, 21], [0, 19], [0, 20]], dtype=float)
KINDS = ["a"] * 3 + ["b"] * 3 + ["c"] * 3
POOLS = arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 3)), elements=st.integers(-4, 4))


def test_planted_groups_are_found_in_order_from_their_centres() -> None:
    found = k_means(POOL, 3, seed=0)
    groups = {frozenset(items.tolist()): items.tolist() for items in found.order()}
    assert set(groups) == {frozenset({0, 1, 2}), frozenset({3, 4, 5}), frozenset({6, 7, 8})}
    assert groups[frozenset({0, 1, 2})] == [0, 1, 2]
    assert groups[frozenset({3, 4, 5})] == [4, 3, 5]
    assert groups[frozenset({6, 7, 8})] == [8, 6, 7]
    assert found.distances_N == pytest.approx([0, 1, 1, 1, 0, 1, 1, 1, 0])
    assert [a.tolist() for a in found.order()] == [a.tolist() for a in found.order_loop()]


def test_the_same_seed_gives_the_same_groups() -> None:
    pool = np.random.default_rng(0).normal(size=(60, 5))
    first, second = k_means(pool, 6, seed=3), k_means(pool, 6, seed=3)
    np.testing.assert_array_equal(first.labels_N, second.labels_N)
    np.testing.assert_array_equal(first.distances_N, second.distances_N)
    assert [a.tolist() for a in first.order()] == [a.tolist() for a in first.order_loop()]


@pytest.mark.parametrize(
    ("rows", "groups", "error", "message"),
    [
        ([[1.0], [1.0]], 2, ValueError, "groups must be at most 1, the number of different embeddings, got 2"),
        ([1.0, 2.0], 1, ValueError, "must be a matrix"),
        (np.empty((0, 3)), 1, ValueError, "must be a matrix"),
        ([[1.0], [np.nan]], 1, ValueError, "must be finite, and row 1 is not"),
        ([["a"], ["b"]], 1, TypeError, "must be numbers"),
        ([[1.0], [2.0, 3.0]], 1, ValueError, "must be a matrix"),
        ([[1.0], [2.0]], 0, ValueError, "groups must be an integer of at least 1"),
        ([[0.0], [1e-170], [2e-170], [1.0]], 4, ValueError, "groups must be at most 2, as many as k-means tells apart"),
    ],
)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_what_cannot_be_clustered(rows: Any, groups: int, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        k_means(rows, groups, seed=0)


def test_random_choices() -> None:
    found = select_random(50, 10, seed=1)
    assert len(set(found.tolist())) == 10
    np.testing.assert_array_equal(found, select_random(50, 10, seed=1))
    assert sorted(select_random(5, 5, seed=2)) == [0, 1, 2, 3, 4]
    assert {tuple(select_random(3, 2, seed=seed)) for seed in range(60)} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }


def test_neighbours_by_hand() -> None:
    found = select_nearest([[9, 0], [0, 18]], POOL, 2)
    assert found.tolist() == [[4, 3], [7, 8]]  # items 3 and 5 are as far from the first: the lower index goes first
    assert select_nearest(POOL[:2], POOL, 1, exclude=[0, 1]).tolist() == [[1], [0]]


@given(POOLS, st.data())
@settings(max_examples=40)
def test_neighbours_are_those_of_a_loop(pool: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(pool)))
    query = pool[0] + 0.5
    distances = [sum((a - b) ** 2 for a, b in zip(query, row, strict=True)) for row in pool]
    wanted = sorted(range(len(pool)), key=lambda item: (round(distances[item], 9), item))[:count]
    assert select_nearest([query], pool, count)[0].tolist() == wanted


def test_one_of_each_planted_group() -> None:
    assert sorted(select_k_means(POOL, 3, seed=0)) == [0, 4, 8]


def test_k_centre_by_hand() -> None:
    """From the origin: (0, 21) is farthest, then the farther of the right-hand items, then the rest."""
    assert select_k_center(POOL, 3, first=0).tolist() == [0, 6, 3]
    assert select_k_center([[0.0], [4.0], [5.0]], 1).tolist() == [1]  # the mean is 3
    assert sorted(select_k_center(np.ones((4, 2)), 4).tolist()) == [0, 1, 2, 3]


@given(POOLS, st.integers(1, 3))
@settings(max_examples=20)
def test_k_centre_is_within_twice_the_best(pool: np.ndarray, count: int) -> None:
    from itertools import combinations

    count = min(count, len(pool))
    found = measure_coverage(pool, select_k_center(pool, count)).max_distance
    best = min(measure_coverage(pool, chosen).max_distance for chosen in combinations(range(len(pool)), count))
    assert found <= 2 * best + 1e-9


def slow_mmr(query: np.ndarray, pool: np.ndarray, count: int, balance: float) -> list[int]:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        length = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / length) if length else 0.0

    chosen: list[int] = []
    for _ in range(count):
        scores = {}
        for item in range(len(pool)):
            if item not in chosen:
                most = max((cosine(pool[item], pool[other]) for other in chosen), default=0.0)
                scores[item] = balance * cosine(pool[item], query) - (1 - balance) * most
        top = max(scores.values())
        chosen.append(min(item for item, score in scores.items() if score > top - 1e-12))
    return chosen


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.7, 1.0])
def test_relevance_and_difference_are_those_of_a_loop(balance: float) -> None:
    rng = np.random.default_rng(4)
    pool, query = rng.normal(size=(30, 4)), rng.normal(size=4)
    pool[7] = 0
    assert select_mmr(query, pool, 12, balance=balance).tolist() == slow_mmr(query, pool, 12, balance)


def test_a_copy_is_not_taken_while_there_is_something_else() -> None:
    pool = [[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]]
    assert select_mmr([1.0, 0.1], pool, 2, balance=0.5).tolist() == [0, 2]
    assert select_mmr([1.0, 0.1], pool, 2, balance=1.0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: select_random(3, 4, seed=0), ValueError, "count must be at most 3"),
        (lambda: select_random(3, 0, seed=0), ValueError, "count must be an integer of at least 1"),
        (lambda: select_random(3, 1, seed=-1), ValueError, "seed must be an integer of at least 0"),
        (lambda: select_nearest([[1.0]], POOL, 1), ValueError, "of one width, got 1 and 2"),
        (lambda: select_nearest(POOL, POOL, 9, exclude=range(9)), ValueError, "count must be at most 8"),
        (lambda: select_nearest(POOL, POOL, 1, exclude=[0]), ValueError, "exclude must hold 9 indices"),
        (lambda: select_nearest(POOL[:1], POOL, 1, exclude=[9]), ValueError, "exclude must hold indices from 0 to 8"),
        (lambda: select_nearest(POOL[:1], POOL, 1, exclude=0), TypeError, "exclude must be a sequence of indices"),
        (lambda: select_k_center(POOL, 10), ValueError, "count must be at most 9"),
        (lambda: select_k_center(POOL, 2, first=-1), ValueError, "first must hold indices from 0 to 8, got -1"),
        (lambda: select_mmr(POOL, POOL, 2), ValueError, "question must be one embedding, got 9"),
        (lambda: select_mmr([1.0, 2.0], POOL, 2, balance=1.5), ValueError, "balance must be from 0 to 1, got 1.5"),
        (lambda: measure_coverage(POOL, []), ValueError, "chosen must hold at least one index"),
        (lambda: measure_coverage(POOL, [1, 1]), ValueError, "none twice"),
        (lambda: measure_coverage(POOL, [9]), ValueError, "chosen must hold indices from 0 to 8, got 9"),
        (lambda: measure_coverage(POOL, [True]), ValueError, "chosen must hold indices"),
        (lambda: measure_coverage(POOL, [0], groups=["a"]), ValueError, "groups must hold 9 entries"),
        (lambda: measure_coverage(POOL, [0], groups=iter("a")), TypeError, "groups must be a sequence of numbers"),
        (lambda: measure_coverage(POOL, [0], groups=[["a"]] * 9), TypeError, "groups must be a sequence of numbers"),
        (lambda: measure_coverage(POOL, [0], radius=-1.0), ValueError, "radius must be a distance"),
        (lambda: distance_to_nearest(POOL, [[1.0]]), ValueError, "of one width"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_coverage_by_hand() -> None:
    one_each = measure_coverage(POOL, [0, 4, 8], groups=KINDS, radius=0.5)
    assert one_each.mean_distance == pytest.approx(6 / 9)
    assert one_each.max_distance == 1
    assert one_each.groups_hit == 1
    assert one_each.within_radius == pytest.approx(3 / 9)
    assert one_each.mean_similarity == 0  # the origin is like nothing, and the axes are orthogonal
    alike = measure_coverage(POOL, [3, 4, 5], groups=KINDS)
    assert alike.groups_hit == pytest.approx(1 / 3)
    assert alike.mean_similarity is not None
    assert alike.mean_similarity > 0.95
    assert alike.within_radius is None
    assert measure_coverage(POOL, [0]).mean_similarity is None


@given(POOLS, st.data())
@settings(max_examples=40)
def test_coverage_is_that_of_a_loop(pool: np.ndarray, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=5, unique=True))
    groups = data.draw(st.lists(st.integers(0, 3), min_size=len(pool), max_size=len(pool)))
    found = measure_coverage(pool, chosen, groups=groups, radius=2.0)
    wanted = measure_coverage_loop(pool, chosen, groups=groups, radius=2.0)
    assert (found.mean_similarity is None) == (wanted.mean_similarity is None) == (len(chosen) == 1)
    numbers = [
        (one.mean_distance, one.max_distance, one.mean_similarity or 0.0, one.groups_hit, one.within_radius)
        for one in (found, wanted)
    ]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-9)
