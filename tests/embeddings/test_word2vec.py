"""Word2vec and fastText: compiled loops, plain loops and gensim give the same vectors; a step is a gradient step."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.embeddings import FastText, Word2Vec, huffman_code, keep_probabilities, noise_table, tree_probabilities
from kb.embeddings.vocabulary import NOISE_DOMAIN, keep_table, noise_guide
from kb.embeddings.word2vec_loops import Rules, SigmoidTable, Weights, step, train_job
from tests.embeddings import write_gensim_vectors as oracle

GENSIM = np.load(oracle.FILE)
TEXT = oracle.sentences()
SMALL = {"vector_size": 5, "window": 3, "min_count": 1, "epochs": 1, "alpha": 0.1, "batch_words": 60}


def model(name: str, **changes: Any) -> Word2Vec:
    if name in oracle.FASTTEXT:
        return FastText(TEXT, **{**oracle.COMMON, **oracle.FASTTEXT[name], **changes})
    return Word2Vec(TEXT, **{**oracle.COMMON, **oracle.WORD2VEC[name], **changes})


@pytest.mark.parametrize("name", [*oracle.WORD2VEC, *oracle.FASTTEXT])
def test_vectors_are_gensims(name: str) -> None:
    assert GENSIM["version"] == "4.4.0"
    found = model(name).wv
    assert found.index_to_key == GENSIM["words"].tolist()
    assert found.vocabulary.counts_V.tolist() == GENSIM["counts"].tolist()
    # A score that rounds across an entry of the table changes a step by up to 0.003 alpha, fastText's by 0.008.
    bound = {"rtol": 0, "atol": 2e-3 * np.abs(GENSIM[name]).max()}
    np.testing.assert_allclose(found.vectors, GENSIM[name], **bound)
    if name in oracle.FASTTEXT:
        np.testing.assert_allclose(found[oracle.UNKNOWN], GENSIM[f"{name} unknown"], **bound)


@pytest.mark.parametrize("name", ["cbow", "cbow sum", "skip-gram both, whole windows", *oracle.FASTTEXT])
def test_plain_loops_are_the_compiled_ones(name: str) -> None:
    pytest.importorskip("numba")
    plain, fast = (model(name, reference=reference, epochs=1) for reference in (True, False))
    np.testing.assert_allclose(plain.wv.vectors, fast.wv.vectors, rtol=0, atol=3e-4)
    np.testing.assert_allclose(plain.syn1neg, fast.syn1neg, rtol=0, atol=3e-4)


def test_tables_are_gensims() -> None:
    counts_V = GENSIM["counts"]
    assert noise_table(counts_V).tolist() == GENSIM["noise"].tolist()
    assert keep_table(counts_V, oracle.COMMON["sample"]).tolist() == GENSIM["keep"].tolist()
    code = huffman_code(counts_V)
    assert [code.code(word) for word in range(len(counts_V))] == GENSIM["codes"].tolist()
    assert [" ".join(map(str, code.path(word)[1])) for word in range(len(counts_V))] == GENSIM["points"].tolist()


def rules(hs: bool = False, negative: int = 0, words: int = 6, **changes: Any) -> Rules:
    noise_V = noise_table(np.full(words, 5))
    one = {"sg": True, "window": 2, "negative": negative, "mean": True, "subwords": False}
    one |= {"table": SigmoidTable.make(6, 100_000), "row_start_V1": np.arange(words + 1), "rows": np.arange(words)}
    one |= {"noise_V": noise_V, "guide": noise_guide(noise_V)}
    return Rules(**{**one, "code": huffman_code(np.arange(1, words + 1)) if hs else None, **changes})


def weights(rows: int = 6, size: int = 4) -> Weights:
    random = np.random.default_rng(0)
    return Weights(*(random.normal(size=(rows, size)).astype(np.float32) for _ in range(3)))


@pytest.mark.parametrize(
    ("hs", "rows", "scales"), [(False, [2], (1, 1)), (True, [2], (1, 1)), (False, [1, 3, 5], (1, 1))]
)
def test_a_step_is_a_gradient_step(hs: bool, rows: list[int], scales: tuple[float, float]) -> None:
    """Of -log s(h.u) - sum log s(-h.v), or of -log p(word) under the tree, by autograd."""
    how, before, alpha = rules(hs, negative=0 if hs else 3), weights(), 0.01
    input_RD, words_VD, nodes_VD = (
        torch.tensor(one, dtype=torch.float64, requires_grad=True)
        for one in (before.input_RD, before.words_VD, before.nodes_VD)
    )
    hidden = input_RD[rows].sum(0)
    state, drawn = 12345, []
    for _ in range(how.negative):
        drawn.append(int(np.searchsorted(how.noise_V, (state >> 16) % NOISE_DOMAIN)))
        state = (state * 25214903917 + 11) % 2**48
    assert hs or len(set(drawn) - {4}) == 3  # else the second step of a row would see the first one's
    if hs:
        bits, nodes = how.code.path(4)
        signs = torch.tensor(1.0 - 2 * bits)
        loss = -torch.nn.functional.logsigmoid(signs * (nodes_VD[nodes] @ hidden)).sum()
    else:
        scores = words_VD[[4, *drawn]] @ hidden
        loss = -torch.nn.functional.logsigmoid(scores * torch.tensor([1.0] + [-1.0] * 3)).sum()
    loss.backward()
    step(np.array(rows), scales, 4, how, before, alpha, 12345)
    after = (before.input_RD, before.nodes_VD if hs else before.words_VD)
    for start, end in zip((input_RD, nodes_VD if hs else words_VD), after, strict=True):
        np.testing.assert_allclose((start.detach().numpy() - end) / alpha, start.grad, rtol=0, atol=3e-3)


def test_the_mean_of_cbow_gets_the_gradient_as_often_as_there_are_rows() -> None:
    moves = []
    for scales in ((1 / 3, 1.0), (1 / 3, 1 / 3)):
        after = weights()
        step(np.array([0, 1, 2]), scales, 4, rules(negative=2), after, 0.1, 99)
        moves.append(after.input_RD[1] - weights().input_RD[1])
    np.testing.assert_allclose(moves[0], 3 * moves[1], rtol=1e-4, atol=1e-6)


def test_a_score_beyond_the_table_teaches_nothing_unless_it_is_clipped() -> None:
    for clipped in (False, True):
        after = Weights(np.full((1, 1), 3, np.float32), np.full((1, 1), -3, np.float32), np.empty((0, 1), np.float32))
        table = SigmoidTable.make(6, 1000, clipped)
        step(np.array([0]), (1, 1), 0, rules(negative=1, words=1, table=table), after, 0.5, 1)
        assert after.words_VD.tolist() == [[-3.0 + (1.5 if clipped else 0)]]


def test_windows_end_with_their_sentence_and_single_words_learn_nothing() -> None:
    start, after = weights(), weights()
    job = np.array([0, 1, 2]), np.array([1, 2, 3]), np.zeros(3, np.int64)
    train_job(*job, rules(negative=2), after, 0.1, 7)
    assert np.array_equal(start.input_RD, after.input_RD)
    train_job(job[0], np.array([2, 2, 3]), job[2], rules(negative=2), after, 0.1, 7)
    assert (start.input_RD != after.input_RD).any(axis=1).tolist()[:3] == [True, True, False]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(0, 2**20))
def test_the_tree_gives_a_distribution_whatever_the_vectors(counts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(len(counts), 3)) * 10.0 ** random.integers(-2, 4)
    found = tree_probabilities(huffman_code(counts), 10 * random.normal(size=3), vectors)
    assert np.isclose(found.sum(), 1)
    assert found.min() >= 0


def test_huffman_by_hand() -> None:
    """15, 7, 6, 6, 5: 5 and 6 make 11, 6 and 7 make 13, 11 and 13 make 24, 15 and 24 the root."""
    code = huffman_code([15, 7, 6, 6, 5])
    assert [len(code.code(word)) for word in range(5)] == [1, 3, 3, 3, 3]
    assert code.mean_length(np.array([15, 7, 6, 6, 5])) == (15 + 3 * 24) / 39
    assert huffman_code([3]).code(0) == ""
    with pytest.raises(ValueError, match="a row for each of 4 inner nodes"):
        tree_probabilities(code, np.ones(2), np.ones((3, 2)))


def test_keep_probabilities_by_hand() -> None:
    """f = 0.8 and 0.2 with t = 0.1: (sqrt 8 + 1) / 8 and (sqrt 2 + 1) / 2, which is above 1."""
    np.testing.assert_allclose(keep_probabilities(np.array([8, 2]), 0.1), [(8**0.5 + 1) / 8, 1.0])
    assert keep_probabilities(np.array([8, 2]), 0).tolist() == [1, 1]


def test_a_generator_serves_and_seeds_differ() -> None:
    once = Word2Vec(((word for word in line) for line in TEXT), **SMALL).wv.vectors
    assert np.array_equal(once, Word2Vec(TEXT, **SMALL).wv.vectors)
    assert not np.array_equal(once, Word2Vec(TEXT, **SMALL, seed=2).wv.vectors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vector_size": 0}, "vector_size must be an integer of at least 1, got 0"),
        ({"window": 1.5}, "window must be an integer"),
        ({"epochs": True}, "epochs must be an integer"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": 2**32}, "seed must be below 2\\^32"),
        ({"sg": 2}, "sg must be 0 or 1, got 2"),
        ({"negative": 0}, "hs or negative must be on"),
        ({"alpha": 0.001, "min_alpha": 0.01}, "0 <= min_alpha <= alpha"),
        ({"alpha": float("nan")}, "alpha and min_alpha must be numbers"),
        ({"sample": 1.0}, "sample must be a number of at least 0 and under 1"),
        ({"min_count": 10_000}, "no word occurs 10000 times among"),
        ({"ns_exponent": float("inf")}, "exponent must be a finite number"),
    ],
)
def test_bad_numbers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Word2Vec(TEXT, **{**SMALL, **changes})


def test_text_that_is_no_list_of_tokens_is_refused() -> None:
    with pytest.raises(TypeError, match=r"sentences\[1\] must be a list of tokens, got the string 'a b'"):
        Word2Vec([["a"], "a b"], min_count=1)
    for text in ("a b", b"a b"):
        with pytest.raises(TypeError, match="got a string"):
            Word2Vec(text, min_count=1)
    with pytest.raises(TypeError, match=r"sentences\[0\] must be a list of tokens, got None"):
        Word2Vec([None], min_count=1)
    with pytest.raises(ValueError, match="no word occurs 1 times among 0 tokens"):
        Word2Vec([], min_count=1)
    with pytest.raises(TypeError, match="hs is no option here"):
        FastText(TEXT, hs=1)
