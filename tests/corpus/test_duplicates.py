"""MinHash: unbiased, on the S-curve, equal to brute force on a small set and, in its statistics, to datasketch."""

import datasketch
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.corpus import (
    MinHasher,
    UnionFind,
    candidate_probability,
    candidates,
    estimated_jaccard,
    exact_duplicates,
    jaccard,
    keep_first,
    near_duplicates,
    shingles,
)


def sets_of_jaccard(shared: int, each: int) -> tuple[set[str], set[str]]:
    common = {f"s{i}" for i in range(shared)}
    return common | {f"a{i}" for i in range(each)}, common | {f"b{i}" for i in range(each)}


def test_shingles_by_hand() -> None:
    assert shingles("a b c d", 2) == {"a b", "b c", "c d"}
    assert shingles("a b", 5) == {"a b"}
    assert shingles("你 好吗", 2, units="characters") == {"你好", "好吗"}
    assert shingles("") == set()
    assert jaccard({"x", "y"}, {"y", "z"}) == pytest.approx(1 / 3)
    assert jaccard(set(), set()) == 1


@settings(max_examples=40)
@given(st.sets(st.text(max_size=4), max_size=12))
def test_signatures_equal_the_loop(items: set[str]) -> None:
    hasher = MinHasher(8, seed=3)
    assert hasher.signature(items).tolist() == hasher.signature_loop(items)


@pytest.mark.parametrize(("shared", "each"), [(10, 45), (60, 20), (90, 5)])
def test_the_estimate_is_unbiased_and_as_wide_as_it_says(shared: int, each: int) -> None:
    one, other = sets_of_jaccard(shared, each)
    s, K = shared / (shared + 2 * each), 64
    found = []
    for seed in range(200):
        hasher = MinHasher(K, seed=seed)
        found.append(estimated_jaccard(hasher.signature(one), hasher.signature(other)))
    error = np.sqrt(s * (1 - s) / K)
    assert np.mean(found) == pytest.approx(s, abs=4 * error / np.sqrt(200))
    assert np.std(found) == pytest.approx(error, rel=0.25)


def test_datasketch_estimates_the_same() -> None:
    one, other = sets_of_jaccard(60, 20)
    ours, theirs = [], []
    for seed in range(60):
        hasher = MinHasher(128, seed=seed)
        ours.append(estimated_jaccard(hasher.signature(one), hasher.signature(other)))
        pair = [datasketch.MinHash(num_perm=128, seed=seed + 1) for _ in range(2)]
        for sketch, items in zip(pair, (one, other), strict=True):
            sketch.update_batch([item.encode() for item in items])
        theirs.append(pair[0].jaccard(pair[1]))
    standard_error = np.sqrt(0.6 * 0.4 / 128 / 60)
    assert np.mean(ours) == pytest.approx(0.6, abs=4 * standard_error)
    assert np.mean(theirs) == pytest.approx(0.6, abs=4 * standard_error)
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.5)


def test_candidates_follow_the_curve() -> None:
    bands, rows = 8, 4
    for shared, each in ((30, 35), (60, 20), (85, 7)):
        one, other = sets_of_jaccard(shared, each)
        s = shared / (shared + 2 * each)
        hits = 0
        for seed in range(200):
            hasher = MinHasher(bands * rows, seed=seed)
            hits += bool(candidates(np.stack([hasher.signature(one), hasher.signature(other)]), bands))
        wanted = candidate_probability(s, bands, rows)
        assert hits / 200 == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / 200) + 1e-9)


def test_curve_by_hand() -> None:
    assert candidate_probability(0.5, 2, 1) == 0.75
    assert candidate_probability(0.0, 5, 5) == 0
    assert candidate_probability(1.0, 5, 5) == 1
    step = (1 / 20) ** (1 / 5)
    assert candidate_probability(step, 20, 5) == pytest.approx(1 - (1 - 1 / 20) ** 20)


def test_clusters_equal_brute_force() -> None:
    draw = np.random.default_rng(0)
    base = [" ".join(draw.choice(list("abcdefghijklmnopqrst"), size=60)) for _ in range(12)]
    texts = list(base)
    for text in base[:6]:
        words = text.split()
        words[30] = "changed"
        texts.append(" ".join(words))
    grams = [shingles(text, 3) for text in texts]
    brute = UnionFind(len(texts))
    for i in range(len(texts)):
        for j in range(i):
            if jaccard(grams[i], grams[j]) >= 0.7:
                brute.join(i, j)
    hasher = MinHasher(256, seed=1)
    signatures = np.stack([hasher.signature(one) for one in grams])
    found = near_duplicates(signatures, bands=64, least=0.7)
    assert found == brute.groups()
    assert keep_first(found) == list(range(12))


def test_two_copies_are_found_whose_bucket_begins_with_another() -> None:
    signatures = np.array([[1, 2, 7, 7, 7, 7], [1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 5, 9]])
    assert candidates(signatures, 3) == {(0, 1), (0, 2)}
    assert near_duplicates(signatures, bands=3, least=0.6) == [[0], [1, 2]]
    assert near_duplicates(signatures, bands=3, least=0.7) == [[0], [1], [2]]
    assert near_duplicates(signatures, bands=3, least=0.0) == [[0, 1, 2]]


def test_exact_duplicates_differ_in_looks_alone() -> None:
    assert exact_duplicates(["Good!", "good", "bad", "GOOD ?"]) == [[0, 1, 3], [2]]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15))
def test_union_find_equals_scipy(pairs: list[tuple[int, int]]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups = UnionFind(10)
    for one, other in pairs:
        groups.join(one, other)
    rows, columns = ([pair[side] for pair in pairs] for side in (0, 1))
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(10, 10))
    count, labels = connected_components(graph, directed=False)
    assert len(groups.groups()) == count
    assert all((labels[i] == labels[j]) == (groups.find(i) == groups.find(j)) for i in range(10) for j in range(10))


def test_a_long_chain_needs_no_recursion() -> None:
    groups = UnionFind(50_000)
    for item in range(50_000 - 1):
        groups.join(item + 1, item)
    assert groups.find(49_999) == 0


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="units"):
        shingles("a", units="bytes")
    with pytest.raises(ValueError, match="hashes"):
        MinHasher(0)
    with pytest.raises(TypeError, match="shingles"):
        MinHasher(4).signature("one text")
    with pytest.raises(ValueError, match="seed"):
        MinHasher(4, seed=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="signatures"):
        estimated_jaccard(np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64))
    with pytest.raises(ValueError, match="multiple of 3"):
        candidates(np.zeros((2, 4), dtype=np.int64), 3)
    with pytest.raises(ValueError, match="least"):
        near_duplicates(np.zeros((2, 4), dtype=np.int64), bands=2, least=1.5)
    with pytest.raises(ValueError, match="s must"):
        candidate_probability(1.1, 1, 1)
