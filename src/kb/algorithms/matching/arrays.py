"""The automaton in a few arrays: what the trie of dictionaries knows, in 20 bytes a state, for compiled loops.

Unusual: there is no trie of nodes to begin with. The words are sorted; each shares some characters with the one before
it and brings a state for every further one. States are numbered by length, then in sorted order, so that the children
of a state are neighbours: *where they begin* and *each state's own character* are the whole trie. Every link leads to
a smaller number, so one loop over the states sets them all.

The loops need numba, and this module imports them where it is used; ``kb.algorithms.matching.trie`` does without.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kb.algorithms.matching.trie import NO_WORD, Batch, Place

_UTF_32 = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"
_CHARACTERS = 1 << 16  # that are turned into code points at a time
_MATCHES = 1 << 12  # that are found before they are handed out


def code_points(text: str) -> NDArray[np.uint32]:
    """The characters of a text as numbers; half a surrogate pair, which Python allows, is one too."""
    return np.frombuffer(text.encode(_UTF_32, "surrogatepass"), np.uint32)


class ArrayAutomaton:
    """The automaton of some words, in arrays; S states, W words, C code points.

    Attributes:
        label_S: The last character of each state; 0 for the root.
        depth_S: Its length.
        node_S3: Its first child (the next state's first child ends them), its failure link, and the longest word that
            it ends with, NO_WORD where there is none; one row more than there are states.
        shorter_W: For each word, the longest word that it ends with and is not itself.
        root_C: The root's children by code point, as far as the largest.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Build it.

        Raises:
            ValueError: a word is empty, or there twice.
        """
        from kb.algorithms.matching import arrays_numba as loops

        number_W = np.array(sorted(range(len(words)), key=words.__getitem__), dtype=np.int32)
        self.length_W = np.fromiter(map(len, words), dtype=np.int32, count=len(words))
        offset_W1 = np.concatenate([[0], np.cumsum(self.length_W[number_W], dtype=np.int64)])
        codes_T = code_points("".join([words[number] for number in number_W]))
        shared_W = loops.shared_lengths(codes_T, offset_W1)
        if (wrong := np.flatnonzero(shared_W == self.length_W[number_W])).size:  # the first shares nothing
            word = words[number_W[wrong[0]]]
            raise ValueError(f"words: {word!r} is there twice" if word else "words: one is empty")
        states = 1 + int(offset_W1[-1]) - int(shared_W.sum(dtype=np.int64))
        if states >= np.iinfo(np.int32).max:
            raise ValueError(f"words: they make {states:,} states, and 32 bits number fewer")
        self.label_S = np.zeros(states, np.uint32)
        self.depth_S, parent_S = np.zeros(states, np.int32), np.zeros(states, np.int32)
        self.node_S3 = np.zeros((states + 1, 3), np.int32)
        self.node_S3[:, loops.WORD] = NO_WORD
        trie = (self.label_S, parent_S, self.depth_S, self.node_S3)
        loops.build(codes_T, offset_W1, shared_W, number_W, *trie)
        self.shorter_W = np.full(len(words), NO_WORD, np.int32)
        last = int(self.node_S3[1, loops.CHILD]) - 1  # the root's children are the first states, and sorted
        self.root_C = np.zeros(int(self.label_S[last]) + 1 if last else 0, np.int32)
        loops.link(self.label_S, parent_S, self.node_S3, self.root_C, self.shorter_W)
        self._find, self._find_longest = loops.find, loops.find_longest  # an import in each search would cost as much

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes of what grows with the states, with the words, and with the largest code point."""
        states = self.label_S.nbytes + self.depth_S.nbytes + self.node_S3.nbytes
        return {
            "states": states,
            "words": self.shorter_W.nbytes + self.length_W.nbytes,
            "code points": self.root_C.nbytes,
        }

    def scan(self, text: str, begin: int, end: int, shift: int, place: Place) -> Iterator[Batch]:
        """Matches in ``text[begin:end]``, ``shift`` added to their ends; ``place`` moves on with them."""
        found = _room(end - begin)
        arrays = (self.label_S, self.node_S3, self.root_C, self.shorter_W, *found)
        for start in range(begin, end, _CHARACTERS):
            codes_N = code_points(text[start : min(start + _CHARACTERS, end)])
            at, count = 0, len(found[0])
            while count == len(found[0]):
                count, at, place.state, place.word = self._find(
                    codes_N, at, start + shift, place.state, place.word, *arrays
                )
                yield found[0][:count].tolist(), found[1][:count]

    def longest(self, text: str, begin: int, end: int) -> Iterator[Batch]:
        """Leftmost-longest matches in ``text[begin:end]``, some at a time."""
        found = _room(end - begin)
        arrays = (self.length_W, self.label_S, self.depth_S, self.node_S3, self.root_C, *found)
        codes_N = code_points(text[begin:end])
        at, count = 0, len(found[0])
        while count == len(found[0]):
            count, at = self._find_longest(codes_N, at, begin, *arrays)
            yield found[0][:count].tolist(), found[1][:count]


def _room(characters: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Room for ends and words of matches; little for a short text, as a search of one is mostly such beginnings."""
    matches = min(_MATCHES, 16 + 4 * max(0, characters))
    return np.empty(matches, np.int64), np.empty(matches, np.int32)
