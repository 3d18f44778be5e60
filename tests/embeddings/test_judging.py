"""Searches, judgements, pieces of words, bias, and the corpora."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from kb import embeddings as kb
from kb.embeddings import Analogy, FastTextKeyedVectors, KeyedVectors, Vocabulary, Word2Vec, WordPair
from kb.embeddings.corpora import _analogies, synset_sentences
from tests.embeddings import write_gensim_vectors as oracle

GENSIM = np.load(oracle.FILE)


def keyed(vectors: object, words: str = "abcdefgh") -> KeyedVectors:
    rows = np.array(vectors, np.float32)
    return KeyedVectors(Vocabulary(tuple(words[: len(rows)]), np.ones(len(rows))), rows)


@pytest.fixture(scope="module")
def trained() -> KeyedVectors:
    name = list(oracle.WORD2VEC)[-1]
    wv = Word2Vec(oracle.sentences(), **{**oracle.COMMON, **oracle.WORD2VEC[name]}).wv
    return KeyedVectors(wv.vocabulary, GENSIM[name])


@pytest.mark.parametrize("rule", ["add", "mul"])
def test_searches_are_gensims(trained: KeyedVectors, rule: str) -> None:
    search = trained.most_similar if rule == "add" else trained.most_similar_cosmul
    found = search(positive=["cat", "running"], negative=["dog"], topn=5)
    assert [word for word, _ in found] == GENSIM[f"{rule} words"].tolist()
    np.testing.assert_allclose([score for _, score in found], GENSIM[f"{rule} scores"], rtol=1e-4)
    assert trained.doesnt_match(["cat", "dog", "house"]) == GENSIM["odd one"]


def test_words_are_left_out_and_vectors_are_not() -> None:
    wv = keyed([[1, 0], [0.9, 0.1], [0, 1], [0, 0]])
    assert [word for word, _ in wv.most_similar("a")] == ["b", "c", "d"]
    assert wv.most_similar(wv["a"], topn=1) == [("a", 1.0)]
    assert [word for word, _ in wv.most_similar("a", topn=9, restrict_vocab=2)] == ["b"]
    assert wv.most_similar(negative="a", topn=1)[0][0] in "cd"
    assert wv.most_similar("d")[0][1] == 0
    assert wv[["a", "c"]].shape == (2, 2)
    assert len(wv) == 4
    assert wv.vector_size == 2


def test_any_iterable_will_do() -> None:
    wv = keyed([[1, 0], [0.9, 0.1], [0, 1], [0.1, 1]])
    assert wv.most_similar(iter(["a"])) == wv.most_similar("a")
    assert wv.doesnt_match(iter("abc")) == "c"
    assert kb.answer_analogies(wv, iter([Analogy("", *"abcd")])) == ["d"]
    pairs = [WordPair("a", "b", 9), WordPair("a", "c", 5)]
    assert kb.word_pair_agreement(wv, iter(pairs)) == kb.word_pair_agreement(wv, pairs)


def test_bad_queries_are_refused() -> None:
    wv = keyed(np.eye(2))
    with pytest.raises(KeyError, match="'z' not present"):
        wv.most_similar("z")
    for call in (wv.most_similar, wv.most_similar_cosmul):
        with pytest.raises(ValueError, match="no input"):
            call()
        with pytest.raises(ValueError, match="topn must be"):
            call("a", topn=0)
        with pytest.raises(ValueError, match=r"shape \(2,\)"):
            call(np.ones(3))
        for odd in (np.nan, np.inf, 1e300):
            with pytest.raises(ValueError, match="finite as float32"):
                call(np.array([odd, 1]))
    with pytest.raises(ValueError, match="must hold at least one"):
        wv.doesnt_match([])
    for one in (np.nan, 1e300):
        with pytest.raises(ValueError, match="finite as float32"):
            KeyedVectors(wv.vocabulary, np.full((2, 2), one))
    with pytest.raises(TypeError, match="real numbers, got complex"):
        KeyedVectors(wv.vocabulary, np.full((2, 2), 1j))
    with pytest.raises(ValueError, match=r"shape \(2, D\)"):
        KeyedVectors(wv.vocabulary, np.ones((3, 2)))
    with pytest.raises(ValueError, match="words must differ"):
        Vocabulary(("a", "a"), np.ones(2))
    with pytest.raises(ValueError, match="at least one"):
        Vocabulary((), np.ones(0))
    for count in (0, 1.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="each count an integer above 0"):
            Vocabulary(("a",), np.array([count]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=20))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert np.isclose(kb.spearman(first, second), spearmanr(first, second)[0])
    else:
        assert np.isnan(kb.spearman(first, second))


def test_agreement_says_what_it_covers() -> None:
    wv = keyed([[1, 0], [1, 0.1], [1, 1], [0, 1]])
    pairs = [WordPair("a", "b", 9), WordPair("a", "c", 5), WordPair("a", "d", 1), WordPair("a", "z", 8)]
    found = kb.word_pair_agreement(wv, pairs)
    assert (found.rho.estimate, found.covered, found.total) == (1.0, 3, 4)
    assert kb.word_pair_agreement(wv, pairs, dummy4unknown=True).rho.estimate < 1
    assert np.isnan(kb.similarities(wv, pairs)).tolist() == [False, False, False, True]
    other = keyed([[1, 0], [0, 1], [1, 1], [1, 0.1]])
    difference = kb.agreement_difference(wv, other, pairs)
    assert difference.rho.estimate == 2.0
    with pytest.raises(ValueError, match="at least two"):
        kb.word_pair_agreement(wv, pairs[3:])
    with pytest.raises(ValueError, match="finite score"):
        kb.word_pair_agreement(wv, [*pairs, WordPair("a", "b", np.nan)])
    nothing = kb.word_pair_agreement(keyed(np.ones((4, 2))), pairs).rho
    assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()


def test_analogies_by_the_search_itself() -> None:
    wv = keyed(np.random.default_rng(0).normal(size=(8, 3)))
    asked = [Analogy("", *four) for four in itertools.permutations("abcdefgh", 4)][::40]
    unknown = Analogy("", "a", "b", "c", "zebra")
    for rule, search in {"add": wv.most_similar, "mul": wv.most_similar_cosmul}.items():
        found = kb.answer_analogies(wv, [*asked, unknown], rule=rule)
        assert found[:-1] == [search([q.second, q.third], [q.first], topn=1)[0][0] for q in asked]
        assert found[-1] is None
        free = kb.answer_analogies(wv, asked, rule=rule, exclude=False)
        vectors = [[wv.get_vector(word, norm=True) for word in (q.first, q.second, q.third)] for q in asked]
        assert free == [search([b, c], [a], topn=1)[0][0] for a, b, c in vectors]
    assert kb.answer_analogies(wv, [Analogy("", *"abcd")], restrict_vocab=3) == [None]
    assert kb.answer_analogies(wv, [Analogy("", *"abca")], restrict_vocab=3) == [None]  # no word is left
    with pytest.raises(ValueError, match="rule must be add or mul"):
        kb.answer_analogies(wv, asked, rule="div")


def test_ngrams_by_hand() -> None:
    assert kb.ngrams("cat", 3, 4) == ["<ca", "<cat", "cat", "cat>", "at>"]
    assert kb.ngrams("ab", 1, 1) == ["a", "b"]
    assert kb.ngrams("学", 3, 3) == ["<学>"]
    assert kb.hash_ngram("") == 2166136261
    assert kb.hash_ngram("a") == 0xE40C292C  # FNV-1a's published value
    with pytest.raises(ValueError, match="min_n must be at most max_n"):
        kb.ngrams("cat", 4, 3)
    with pytest.raises(ValueError, match="bucket must be"):
        kb.buckets("cat", 0)


def test_unknown_words_are_the_mean_of_their_ngrams() -> None:
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    wv = FastTextKeyedVectors(Vocabulary(("cat",), np.ones(1)), np.ones((1, 2)), rows, 3, 4)
    np.testing.assert_allclose(wv["cats"], rows[kb.buckets("cats", 10, 3, 4)].mean(0))
    assert ("cats" in wv, "cat" in wv, "" in wv) == (True, True, False)
    assert wv.most_similar("cats") == [("cat", pytest.approx(wv.similarity("cats", "cat")))]
    with pytest.raises(KeyError, match="no n-gram"):
        wv.get_vector("")


def test_weat_by_hand() -> None:
    """Targets a, b beside e and c, d beside f: scores 1, 0.6, -1, -0.6; one split of six is as large."""
    wv = keyed([[1, 0], [0.8, 0.2 * 0 + 0.6], [0, 1], [0.6, 0.8], [1, 0], [0, 1]])
    scores = kb.associations(wv, "abcd", "e", "f")
    np.testing.assert_allclose(scores, [1, 0.2, -1, -0.2], atol=1e-6)
    found = kb.weat(wv, ("ab", "cd"), ("e", "f"))
    assert found.p_value == 1 / 6
    assert np.isclose(found.effect, 1.2 / np.std([1, 0.2, -1, -0.2], ddof=1))
    assert kb.weat(keyed([[1, 0]] * 6), ("ab", "cd"), ("e", "f")) == kb.Association(0.0, 1.0)
    with pytest.raises(ValueError, match="equal length"):
        kb.weat(wv, ("ab", "c"), ("e", "f"))
    with pytest.raises(ValueError, match="second must hold"):
        kb.associations(wv, "a", "b", "")


def test_a_synset_gives_its_definition_and_examples() -> None:
    line = '00001 04 a 02 quick(a) 0 full_speed 1 001 ! 0002 a 0101 | done fast; "a quick look"; "don\'t be quick"  '
    assert synset_sentences(line) == [
        ["quick", "full", "speed", "done", "fast"],
        ["a", "quick", "look"],
        ["don't", "be", "quick"],
    ]
    assert synset_sentences("  1 This software | and ") == []


def test_lines_of_analogies() -> None:
    assert list(_analogies(": family\nBoy girl Brother sister\n")) == [
        Analogy("family", "boy", "girl", "brother", "sister")
    ]
    with pytest.raises(ValueError, match="name must be one of wordsim353, simlex999"):
        kb.word_pairs("wordsim")


def test_corpora_are_what_they_were() -> None:
    summaries = kb.wikipedia_summaries()
    assert (len(summaries), sum(map(len, summaries))) == (10_033, 773_384)
    assert [len(kb.word_pairs(name)) for name in ("wordsim353", "simlex999")] == [353, 999]
    assert len(kb.analogies()) == 19_544
