"""Aho and Corasick's automaton on a trie of dictionaries: the obvious version, which counts its steps.

A state is a beginning of a word. It has three kinds of links: to longer beginnings, one for each character (goto); to
the longest shorter beginning that it ends with (failure); and to the longest shorter *word* that it ends with (output).

Unusual: the output links. The paper copies the outputs of the failure state into a set of each state, which may take
much memory; a link is one number, and following links costs one step for each match.

Source: Aho and Corasick 1975, algorithms 1 to 3; output links are "dictionary suffix links" in later texts.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROOT = 0
NO_WORD = -1
Batch = tuple[list[int], NDArray[np.int32]]  # ends of some matches, and the numbers of their words
_PIECE = 1024  # characters that are searched before their matches are handed out


@dataclass
class Steps:
    """How often a link of each kind was followed; a character that leaves the root where it is counts as a goto."""

    gotos: int = 0
    fails: int = 0
    outputs: int = 0


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        matches: Pairs of the index of a match's last character and the number of the word.
        state: The state after the last character, from which a search of the next characters goes on.
        steps: What it took.
    """

    matches: list[tuple[int, int]]
    state: int
    steps: Steps


@dataclass(slots=True)
class Place:
    """Where a search stands between two pieces of text.

    Attributes:
        state: State of the automaton.
        word: The word whose match comes next although its last character was read before, NO_WORD where none.
    """

    state: int = ROOT
    word: int = NO_WORD


class TrieAutomaton:
    """The automaton of some words; states are numbered as they come up, from the root, which is 0.

    Attributes:
        children: For each state, the state that each character leads to.
        fail: For each state, the state of its longest proper suffix that begins a word.
        word: For each state, the number of the word that it is, or NO_WORD.
        output: For each state, the state of its longest proper suffix that is a word, ROOT where there is none.
        built: Steps that setting the failure links took.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.word = [NO_WORD]
        for number, word in enumerate(words):
            self._insert(number, word)
        self.fail = [ROOT] * len(self.children)
        self.output = [ROOT] * len(self.children)
        self.built = Steps()
        self._link()

    def _insert(self, number: int, word: str) -> None:
        if not isinstance(word, str) or not word:
            raise ValueError(f"words: number {number} must be a text that is not empty, got {word!r}")
        state = ROOT
        for character in word:
            if character not in self.children[state]:
                self.children[state][character] = len(self.children)
                self.children.append({})
                self.word.append(NO_WORD)
            state = self.children[state][character]
        if self.word[state] != NO_WORD:
            raise ValueError(f"words: {word!r} is there twice, as numbers {self.word[state]} and {number}")
        self.word[state] = number

    def _link(self) -> None:
        """Set failure and output links, shorter beginnings first, as each link is found by following shorter ones."""
        waiting = deque(self.children[ROOT].values())
        while waiting:
            state = waiting.popleft()
            for character, child in self.children[state].items():
                self.fail[child] = self.step(self.fail[state], character, self.built)
                waiting.append(child)
            suffix = self.fail[state]
            self.output[state] = suffix if self.word[suffix] != NO_WORD else self.output[suffix]

    def step(self, state: int, character: str, steps: Steps) -> int:
        """The state after one more character: failure links until a goto fits."""
        while character not in self.children[state] and state != ROOT:
            state = self.fail[state]
            steps.fails += 1
        steps.gotos += 1
        return self.children[state].get(character, ROOT)

    def find(self, text: str, state: int = ROOT) -> Found:
        """All matches that end in ``text``, in the order of their ends, longer ones first.

        Args:
            text: What comes next.
            state: That in which the search of the text before it ended.
        """
        matches, steps = [], Steps()
        for at, character in enumerate(text):
            state = self.step(state, character, steps)
            match = state if self.word[state] != NO_WORD else self.output[state]
            while match != ROOT:
                matches.append((at, self.word[match]))
                steps.outputs += 1
                match = self.output[match]
        return Found(matches, state, steps)

    def scan(self, text: str, begin: int, end: int, shift: int, place: Place) -> Iterator[Batch]:
        """Matches in ``text[begin:end]``, ``shift`` added to their ends; ``place`` moves on with them."""
        for start in range(begin, end, _PIECE):
            found = self.find(text[start : min(start + _PIECE, end)], place.state)
            place.state = found.state
            ends = [start + shift + at for at, _ in found.matches]
            yield ends, np.array([word for _, word in found.matches], dtype=np.int32)

    def longest(self, text: str, begin: int, end: int) -> Iterator[Batch]:
        """Leftmost-longest matches in ``text[begin:end]``: at each place, the trie is walked as far as it goes."""
        while begin < end:
            state, at, best = ROOT, begin, begin
            word = NO_WORD
            while at < end and text[at] in self.children[state]:
                state = self.children[state][text[at]]
                at += 1
                if self.word[state] != NO_WORD:
                    best, word = at, self.word[state]
            if word != NO_WORD:
                yield [best - 1], np.array([word], dtype=np.int32)
            begin = max(best, begin + 1)
