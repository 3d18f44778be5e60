"""Counts, PMI, SVD, GloVe and what skip-gram would find: each beside its definition and a library."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import minimize_scalar
from sklearn.utils.extmath import randomized_svd

from kb.embeddings import (
    PPMI,
    AliasTable,
    GloVe,
    GloveState,
    build_vocabulary,
    count_pairs,
    count_pairs_loop,
    expected_loss,
    glove_loss,
    noise_table,
    optimal_scores,
    pmi,
    pmi_loop,
    svd_vectors,
    truncated_svd,
    weighting,
)
from kb.embeddings.glove import train_cells
from kb.embeddings.vocabulary import NOISE_DOMAIN
from tests.embeddings.write_gensim_vectors import sentences

words = st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(words, st.integers(1, 4), st.sampled_from(["linear", "harmonic", "flat"]))
def test_counts_are_those_of_the_definition(text: list[list[str]], window: int, weighting: str) -> None:
    vocabulary = build_vocabulary([*text, ["a", "b"]], 1)
    fast = count_pairs(text, vocabulary, window, weighting).toarray()
    np.testing.assert_allclose(fast, count_pairs_loop(text, vocabulary, window, weighting))
    np.testing.assert_allclose(fast, fast.T)


def test_linear_weights_are_the_mean_of_random_windows() -> None:
    text = [list("abcd")]
    vocabulary = build_vocabulary(text, 1)
    mean = sum(count_pairs(text, vocabulary, window, "flat") for window in (1, 2, 3)) / 3
    np.testing.assert_allclose(count_pairs(text, vocabulary, 3, "linear").toarray(), mean.toarray())


def test_pmi_by_hand() -> None:
    """Two words, two contexts, 10 pairs: P(0, 0) = 0.4, P(0) = 0.5, P(c0) = 0.5, so log(0.4 / 0.25)."""
    counts = np.array([[4.0, 1.0], [1.0, 4.0]])
    np.testing.assert_allclose(pmi(counts).toarray(), np.log(1.6) * np.eye(2))
    np.testing.assert_allclose(pmi(counts, positive=False).toarray()[0, 1], np.log(0.4))
    np.testing.assert_allclose(pmi(counts, shift=1.5).toarray()[0, 0], np.log(1.6 / 1.5))
    uneven = np.array([[16.0, 0.0], [0.0, 1.0]])  # contexts 16 : 1 become 8 : 1
    np.testing.assert_allclose(pmi(uneven, cds=0.75).toarray(), np.diag([np.log(9 / 8), np.log(9)]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([0.5, 0.75, 1.0]), st.sampled_from([1.0, 5.0]), st.booleans())
def test_pmi_is_that_of_the_definition(seed: int, cds: float, shift: float, positive: bool) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 3, (5, 4)) * random.random((5, 4))
    counts[0, 0] = 1e-300 if seed % 2 else 1e12
    found = pmi(sparse.csr_matrix(counts), cds, shift, positive)
    np.testing.assert_allclose(found.toarray(), pmi_loop(counts, cds, shift, positive), rtol=1e-9, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**20))
def test_svd_is_that_of_numpy(rows: int, columns: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(rows, columns))
    size = min(rows, columns)
    left, values, right = truncated_svd(sparse.csr_matrix(matrix), size)
    np.testing.assert_allclose(values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(left * values @ right, matrix, atol=1e-7)
    vectors, contexts = svd_vectors(matrix, size, power=0.3)
    np.testing.assert_allclose(vectors @ contexts.T, matrix, atol=1e-7)


def test_huge_powers_and_weights_do_not_overflow() -> None:
    rarer = 1e5 * np.log(401 / 5)  # by which the second context outweighs the first
    found = pmi(np.array([[4.0, 1], [1, 400]]), cds=1e5, positive=False).toarray()
    np.testing.assert_allclose(found, np.log([[4 / 5, 1 / 5], [1 / 401, 400 / 401]]) + np.array([[rarer, 0]]))
    found = AliasTable.from_weights(np.array([1e308, 5e307, 1e308])).probabilities()
    np.testing.assert_allclose(found, [0.4, 0.2, 0.4])
    stored_zero = sparse.csr_matrix(([0.0, 1], ([0, 1], [1, 0])), (2, 2))
    assert glove_loss(np.ones((2, 2, 2)), stored_zero, 1, 1) == 4.5


def test_svd_of_low_rank_is_that_of_sklearn() -> None:
    matrix = sparse.random(300, 200, 0.05, random_state=0, format="csr")
    left, values, _ = truncated_svd(matrix, 10, iterations=12)
    theirs, their_values, _ = randomized_svd(matrix, 10, n_iter=12, random_state=0)
    np.testing.assert_allclose(values, their_values, rtol=1e-3)
    np.testing.assert_allclose(np.abs((left[:, :3] * theirs[:, :3]).sum(0)), 1, atol=1e-3)
    assert (left[np.abs(left).argmax(0), range(10)] > 0).all()


def test_ppmi_puts_words_of_a_kind_together() -> None:
    text = [["cat", "meows", "cat", "purrs"], ["dog", "barks", "dog", "growls"]] * 5
    # Four singular values are alike, so that fewer components would be any rotation of them.
    wv = PPMI(text, vector_size=4, window=1, min_count=1, cds=1.0).wv
    assert wv.similarity("meows", "purrs") > 0.99
    assert abs(wv.similarity("meows", "barks")) < 0.01


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20).filter(lambda w: sum(w) > 1e-3))
def test_alias_table_has_the_distribution(weights: list[float]) -> None:
    found = AliasTable.from_weights(np.array(weights)).probabilities()
    np.testing.assert_allclose(found, np.array(weights) / sum(weights), atol=1e-12)


def test_both_ways_to_draw_agree_with_the_counts() -> None:
    counts_V = np.array([100, 10, 1])
    wanted = counts_V**0.75 / (counts_V**0.75).sum()
    np.testing.assert_allclose(np.diff(noise_table(counts_V), prepend=0) / NOISE_DOMAIN, wanted, atol=1e-8)
    drawn = AliasTable.from_weights(wanted).draw(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, wanted, atol=0.01)


@pytest.mark.parametrize("skip", [False, True])
def test_each_cell_is_best_at_shifted_pmi(skip: bool) -> None:
    counts = np.array([[8.0, 2.0], [1.0, 9.0]])
    noise = np.array([0.45, 0.55])
    best = optimal_scores(counts, noise, 5, skip)
    assert np.isclose(best[0, 0], np.log(8 / (5 * (2 if skip else 10) * 0.45)))
    for cell in np.ndindex(2, 2):

        def loss(x: float, cell: tuple[int, ...] = cell) -> float:
            return float(expected_loss(np.full((2, 2), x), counts, noise, 5, skip)[cell])

        assert abs(minimize_scalar(loss, bounds=(-20, 20), method="bounded").x - best[cell]) < 1e-3
    own = counts.sum(0) / counts.sum()
    np.testing.assert_allclose(optimal_scores(counts, own, 5), pmi(counts, shift=5, positive=False).toarray())
    assert optimal_scores(np.array([[0.0, 1.0]]), own, 1)[0, 0] == -np.inf


def test_glove_by_hand() -> None:
    """One cell with X = 16, x_max 256: f = 1/8; w.c + b + b' = 2 + 1 + 0.5, log 16 = 2.77."""
    assert weighting(np.array([16.0, 300.0]), 256).tolist() == [0.125, 1.0]
    parameters = np.array([[[2.0, 1.0]], [[1.0, 0.5]]])
    found = glove_loss(parameters, sparse.csr_matrix([[16.0]]), 256, 0.75)
    assert np.isclose(found, 0.125 / 2 * (3.5 - np.log(16)) ** 2)


def test_glove_steps_are_adagrad_on_the_loss() -> None:
    counts = sparse.coo_matrix(np.array([[0, 3.0, 7], [3, 0, 150], [7, 150, 0]]))
    logs, weights = np.log(counts.data), weighting(counts.data)
    state = GloveState.start(3, 4, np.random.default_rng(0))
    both = torch.tensor(state.parameters_2VP, requires_grad=True)
    optimizer = torch.optim.Adagrad([both], lr=0.05, initial_accumulator_value=1.0, eps=0.0)
    for word, context, log, weight in zip(counts.row, counts.col, logs, weights, strict=True):
        row, column = both[0, word], both[1, context]
        optimizer.zero_grad()
        (weight / 2 * (row[:-1] @ column[:-1] + row[-1] + column[-1] - log) ** 2).backward()
        optimizer.step()
    train_cells(counts.row, counts.col, logs, weights, state, 0.05)
    np.testing.assert_allclose(state.parameters_2VP, both.detach(), rtol=0, atol=1e-6)


def test_glove_falls_and_its_compiled_loop_is_the_plain_one() -> None:
    plain, fast = (GloVe(sentences(), 4, 3, 2, epochs=3, reference=reference) for reference in (True, False))
    np.testing.assert_allclose(plain.wv.vectors, fast.wv.vectors, rtol=1e-5, atol=1e-7)
    assert fast.losses == sorted(fast.losses, reverse=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pmi(np.zeros((2, 2))), "with one above 0"),
        (lambda: pmi(np.array([[1.0, -1.0]])), "not negative"),
        (lambda: pmi(np.array([[1.0, np.nan]])), "finite"),
        (lambda: pmi(np.full((2, 2), 1e308)), "finite"),
        (lambda: pmi(np.eye(2), cds=0), "cds must be a number above 0"),
        (lambda: truncated_svd(np.eye(3), 4), "size must be at most 3"),
        (lambda: truncated_svd(np.ones(3), 1), "two axes"),
        (lambda: truncated_svd(sparse.csr_matrix([[np.nan]]), 1), "matrix_AB must be finite"),
        (lambda: svd_vectors(np.eye(3), 1, power=2), "power must be a number from 0 to 1"),
        (lambda: count_pairs([["a"]], build_vocabulary([["a"]], 1), 0), "window must be an integer"),
        (lambda: count_pairs([["a"]], build_vocabulary([["a"]], 1), 1, "square"), "weighting must be one of"),
        (lambda: GloVe([["a"], ["b"]], min_count=1), "two known words in one window"),
        (lambda: GloVe([["a", "b"]], min_count=1, rate=0), "rate must be a number above 0"),
        (lambda: weighting(np.ones(1), x_max=0), "x_max must be a number above 0"),
        (lambda: weighting(np.array([np.nan])), "counts must not be negative or NaN"),
        (lambda: GloVe([["a"], ["b"]], min_count=1, alpha=0), "alpha must be a number above 0"),
        (lambda: AliasTable.from_weights(np.array([0.0])), "one that is not 0"),
        (lambda: AliasTable.from_weights(np.array([1.0, np.inf])), "finite"),
        (lambda: optimal_scores(np.eye(2), np.array([0.5, 0.6]), 1), "sum to 1"),
        (lambda: optimal_scores(np.eye(2), np.array([1.0]), 1), "counts_VC must be"),
        (lambda: optimal_scores(np.empty((0, 1)), np.array([1.0]), 1), "counts_VC must be"),
        (lambda: noise_table(np.array([2, 1]), 1e4), "a sum above 0 and finite"),
        (lambda: noise_table(np.array([2]), -1e4), "a sum above 0 and finite"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_the_power_is_that_of_the_words_side() -> None:
    matrix = np.diag([8.0, 4.0, 2.0])
    for power in (0.0, 0.25, 1.0):
        words_VD, contexts_CD = svd_vectors(matrix, 3, power)
        np.testing.assert_allclose(np.linalg.norm(words_VD, axis=0), np.array([8.0, 4.0, 2.0]) ** power)
        np.testing.assert_allclose(words_VD @ contexts_CD.T, matrix, atol=1e-9)
