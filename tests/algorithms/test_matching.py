"""Automata against the definitions, against each other and against pyahocorasick; by hand, and on nasty input."""

import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import ahocorasick
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.algorithms import ArrayAutomaton, Automaton, TrieAutomaton, kmp_ends, naive_longest, naive_matches
from kb.algorithms import prefix_function as prefixes
from kb.algorithms.matching import Place, automaton

FIVE = ["he", "she", "his", "hers", "ers"]
LETTERS = "ab中😀"
words_of = st.lists(st.text(LETTERS[:3], min_size=1, max_size=5), min_size=1, max_size=8, unique=True)
both = pytest.mark.parametrize("compiled", [False, True])


def made(words: Sequence[str], compiled: bool = False) -> Automaton[int]:
    found: Automaton[int] = Automaton(compiled=compiled)
    for number, word in enumerate(words):
        assert found.add_word(word, number)
    found.make_automaton()
    return found


def theirs(words: Sequence[str]) -> ahocorasick.Automaton:
    found = ahocorasick.Automaton()
    for number, word in enumerate(words):
        found.add_word(word, number)
    found.make_automaton()
    return found


def strings(trie: TrieAutomaton) -> list[str]:
    found = [""] * len(trie.children)
    for state, children in enumerate(trie.children):
        for character, child in children.items():
            found[child] = found[state] + character
    return found


def test_five_words_by_hand() -> None:
    trie = TrieAutomaton(FIVE)
    name = strings(trie)
    fails = {name[state]: name[fail] for state, fail in enumerate(trie.fail) if fail}
    assert fails == {"sh": "h", "she": "he", "his": "s", "her": "er", "hers": "ers", "ers": "s"} | {"he": "e"}
    outputs = {name[state]: name[output] for state, output in enumerate(trie.output) if output}
    assert outputs == {"she": "he", "hers": "ers"}
    found = trie.find("ushers")
    assert found.matches == [(3, 1), (3, 0), (5, 3), (5, 4)]
    assert (found.steps.gotos, found.steps.fails, found.steps.outputs) == (6, 1, 4)
    assert name[found.state] == "hers"


def test_the_arrays_hold_the_same_automaton() -> None:
    words = [*FIVE, "中", "中h"]
    trie, arrays = TrieAutomaton(words), ArrayAutomaton(words)
    tree, name = strings(trie), [""]
    node = arrays.node_S3
    for state in range(len(arrays.label_S)):
        name += [name[state] + chr(arrays.label_S[child]) for child in range(node[state, 0], node[state + 1, 0])]
    assert name == sorted(tree, key=lambda one: (len(one), one))  # by length, then in order
    assert [len(one) for one in name] == arrays.depth_S.tolist()
    assert {name[s]: name[node[s, 1]] for s in range(len(name))} == {
        one: tree[fail] for one, fail in zip(tree, trie.fail, strict=True)
    }
    ends_with = [max((w for w in words if one.endswith(w)), key=len, default="") for one in name]
    assert [words[w] if w >= 0 else "" for w in node[:-1, 2]] == ends_with
    assert [words[w] if w >= 0 else "" for w in arrays.shorter_W] == ["", "he", "", "ers", "", "", ""]
    assert arrays.nbytes["states"] == 20 * len(name) + 12
    assert arrays.root_C[ord("中")] == name.index("中")


@given(words_of, st.text(LETTERS, max_size=30))
def test_all_matches_are_those_of_the_definition_and_of_pyahocorasick(words: list[str], text: str) -> None:
    wanted = naive_matches(words, text)
    assert list(theirs(words).iter(text)) == wanted
    for compiled in (False, True):
        assert list(made(words, compiled).iter(text)) == wanted


@given(words_of, st.text(LETTERS, max_size=30), st.data())
def test_leftmost_longest_matches_are_those_of_the_definition(words: list[str], text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) + 1))
    end = data.draw(st.integers(0, len(text) + 1))
    wanted = [(start + at, word) for at, word in naive_longest(words, text[start:end])]
    inside = [(start + at, word) for at, word in naive_matches(words, text[start:end])]
    for compiled in (False, True):
        assert list(made(words, compiled).iter_long(text, start, end)) == wanted
        assert list(made(words, compiled).iter(text, start, end)) == inside


@given(words_of, st.lists(st.text(LETTERS, max_size=6), max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_text_in_pieces_has_the_matches_of_the_whole(words: list[str], pieces: list[str], read: list[bool]) -> None:
    for compiled in (False, True):
        search, found = made(words, compiled).iter(""), []
        for piece, now in zip(pieces, read, strict=False):
            search.set(piece)
            if now:
                found += list(search)
            else:
                found += list(islice(search, 1))
        assert found + list(search) == naive_matches(words, "".join(pieces))


@both
def test_another_text_forgets_the_first(compiled: bool) -> None:
    search = made(["ab", "b"], compiled).iter("xa")
    assert list(search) == []
    search.set("b", reset=True)
    assert next(search) == (0, 1)
    search.set("a")
    search.set("b")
    assert list(search) == [(2, 0), (2, 1)]
    with pytest.raises(StopIteration):
        next(search)
    search.set("bb")
    old = iter(search)
    assert next(old) == (3, 1)
    search.set("ab", reset=True)
    assert list(old) == [(4, 1)]
    assert list(search) == [(1, 0), (1, 1)]


@given(words_of, st.text(LETTERS[:2], max_size=60))
def test_steps_are_linear(words: list[str], text: str) -> None:
    trie = TrieAutomaton(words)
    found = trie.find(text)
    assert found.steps.gotos == len(text)
    assert found.steps.fails <= len(text)
    assert found.steps.outputs == len(found.matches)
    assert trie.built.fails <= sum(map(len, words))


def test_many_words_and_a_long_text_equal_pyahocorasick() -> None:
    random_ = random.Random(0)
    letters = "abcdefgé中国人民😀"  # more children than are looked through one after the other
    words = list({"".join(random_.choices(letters, k=random_.randint(1, 5))) for _ in range(20_000)})
    text = "".join(random_.choices(letters, k=150_000))  # more than one block of characters, and of matches
    found = list(made(words, compiled=True).iter(text))
    assert found == list(theirs(words).iter(text))
    assert len(found) > 100_000
    assert found == list(made(words).iter(text))
    assert list(made(words, True).iter_long(text)) == list(made(words).iter_long(text))


def test_positions_count_code_points() -> None:
    words = ["😀b", "\ud83d", "é", "e\u0301"]
    for compiled in (False, True):
        assert list(made(words, compiled).iter("a😀b\ud83dée\u0301")) == [(2, 0), (3, 1), (4, 2), (6, 3)]


def test_iter_long_finds_what_pyahocorasick_misses() -> None:
    words, text = ["abb", "b"], "ab"
    assert naive_longest(words, text) == [(1, 1)]
    assert list(made(words).iter_long(text)) == list(made(words, True).iter_long(text)) == [(1, 1)]
    assert list(theirs(words).iter_long(text)) == []  # 2.3.1; its issue 189


@both
def test_matches_come_one_by_one_however_many_there_are(compiled: bool) -> None:
    words = ["a" * length for length in range(1, 101)]
    text = "a" * 300_000  # 30 million matches
    found = list(islice(made(words, compiled).iter(text), 100_000))
    assert found[-1] == (1049, 50)
    assert sum(1 for _ in made(words, compiled).iter(text[:1000])) == 100 * 1000 - 99 * 100 // 2


@both
def test_a_long_word_needs_no_recursion(compiled: bool) -> None:
    word = "ab" * 50_000
    assert list(made([word], compiled).iter(word + "ab")) == [(len(word) - 1, 0), (len(word) + 1, 0)]


class TestInterface:
    @both
    def test_words_are_kept_as_pyahocorasick_does(self, compiled: bool) -> None:
        ours, other = Automaton(compiled=compiled), ahocorasick.Automaton()
        for word, value in [("he", 1), ("she", 2), ("he", 3), ("", 4), ("中", (5, 6))]:
            assert ours.add_word(word, value) == other.add_word(word, value)
        assert len(ours) == len(other) == 3
        for word in ("he", "h", "", "中", "x"):
            assert (word in ours) == ours.exists(word) == other.exists(word)
            assert ours.get(word, None) == other.get(word, None)
        for one in (ours, other):
            with pytest.raises(KeyError):
                one.get("x")
            with pytest.raises(AttributeError, match="make_automaton"):
                one.iter("she")
            one.make_automaton()
            assert list(one.iter("中she")) == [(0, (5, 6)), (3, 2), (3, 3)]
            one.add_word("he", 9)
            with pytest.raises(AttributeError, match="make_automaton"):
                one.iter("she")
            one.make_automaton()
            assert list(one.iter("he")) == [(1, 9)]

    def test_an_automaton_without_words_is_none(self) -> None:
        empty: Automaton[int] = Automaton()
        empty.make_automaton()
        assert len(empty) == 0
        with pytest.raises(AttributeError, match="add words"):
            empty.iter("she")

    @both
    def test_a_search_goes_on_with_the_words_it_began_with(self, compiled: bool) -> None:
        one = made(["a"], compiled)
        search = one.iter("ab")
        one.add_word("b", 1)
        one.add_word("a", 7)
        one.make_automaton()
        assert list(search) == [(0, 0)]
        assert list(one.iter("ab")) == [(0, 7), (1, 1)]

    @pytest.mark.parametrize("values", [[[1, 2], [3, 4]], [None, None], ["x", (1,)]])
    def test_values_may_be_anything(self, values: list[object]) -> None:
        one: Automaton[object] = Automaton()
        for word, value in zip("ab", values, strict=True):
            one.add_word(word, value)
        one.make_automaton()
        assert list(one.iter("ba")) == [(0, values[1]), (1, values[0])]

    @pytest.mark.parametrize("wrong", [b"he", 1, None, ["h", "e"]])
    def test_what_is_no_text_is_refused(self, wrong: object) -> None:
        one = made(["he"])
        for call in (lambda x: one.add_word(x, 1), one.exists, one.get, one.iter, one.iter_long, one.iter("").set):
            with pytest.raises(TypeError, match="must be a text"):
                call(wrong)
        assert list(one.iter("he")) == [(1, 0)]

    @pytest.mark.parametrize("limits", [(-1, None), (0, -1), (1.0, None), (True, None)])
    def test_limits_are_counts(self, limits: tuple[int, int]) -> None:
        for call in (made(["he"]).iter, made(["he"]).iter_long):
            with pytest.raises(ValueError, match="must be an integer"):
                call("hehe", *limits)
            assert list(call("hehe", 9)) == list(call("hehe", 2, 1)) == []

    def test_without_numba_dictionaries_are_searched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(automaton, "is_installed", lambda name: False)
        one: Automaton[int] = Automaton()
        one.add_word("he", 0)
        one.make_automaton()
        assert isinstance(one._built.machine, TrieAutomaton)  # type: ignore[union-attr]
        with pytest.raises(ModuleNotFoundError, match="numba"):
            Automaton(compiled=True)


@pytest.mark.parametrize(("words", "said"), [(["a", ""], "empty"), (["a", "ab", "a"], "words: 'a' is there twice")])
@pytest.mark.parametrize("kind", [TrieAutomaton, ArrayAutomaton])
def test_words_that_cannot_be_numbered_are_refused(kind: Any, words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind(words)


def test_a_scan_can_stop_and_go_on_within_outputs() -> None:
    arrays, place = ArrayAutomaton(["a", "aa", "aaa"]), Place()
    batches = list(arrays.scan("a" * 40, 0, 40, 100, place))
    assert [end for ends, _ in batches for end in ends][:3] == [100, 101, 101]
    assert sum(len(ends) for ends, _ in batches) == 3 * 40 - 3
    assert place == Place(arrays.depth_S.tolist().index(3), -1)


class TestOneWord:
    def test_by_hand(self) -> None:
        assert prefixes("ababaca") == [0, 0, 1, 2, 3, 0, 1]
        assert list(kmp_ends("aba", "ababaxaba")) == [2, 4, 8]

    @given(st.text("ab", min_size=1, max_size=6), st.text("ab", max_size=40))
    def test_it_is_the_automaton_of_one_word(self, word: str, text: str) -> None:
        trie = TrieAutomaton([word])
        assert trie.fail == [0, *prefixes(word)]
        assert list(kmp_ends(word, text)) == [end for end, _ in trie.find(text).matches]

    def test_the_empty_word_is_refused(self) -> None:
        with pytest.raises(ValueError, match="empty word"):
            next(kmp_ends("", "a"))


@settings(max_examples=20)
@given(words_of, st.text(LETTERS, max_size=30))
def test_bytes_are_sought_as_latin_1(words: list[str], text: str) -> None:
    as_bytes = [word.encode().decode("latin-1") for word in words]
    raw = text.encode().decode("latin-1")
    found = {(len(raw[: end + 1].encode("latin-1").decode()) - 1, word) for end, word in made(as_bytes).iter(raw)}
    assert found == set(naive_matches(words, text))


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, kb.algorithms; print({'torch', 'numba', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
