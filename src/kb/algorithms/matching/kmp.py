"""Knuth, Morris and Pratt: one word sought in linear time, which is Aho and Corasick's automaton with one word.

The trie is then a path, a state is a number of characters, and the failure links are the prefix function.

Source: Knuth, Morris and Pratt 1977, section 2; the prefix function as in Cormen et al., "String matching".
"""

from collections.abc import Iterator


def prefix_function(word: str) -> list[int]:
    """For each beginning of a word, the length of its longest proper suffix that is a beginning of the word too."""
    lengths, length = [0] * len(word), 0
    for at in range(1, len(word)):
        while length and word[at] != word[length]:
            length = lengths[length - 1]
        length += word[at] == word[length]
        lengths[at] = length
    return lengths


def kmp_ends(word: str, text: str) -> Iterator[int]:
    """Where the occurrences of a word end, overlapping ones too: the index of each one's last character.

    Raises:
        ValueError: the word is empty, and so would occur everywhere.
    """
    if not word:
        raise ValueError("word: the empty word occurs everywhere; wanted at least one character")
    lengths, length = prefix_function(word), 0
    for at, character in enumerate(text):
        while length == len(word) or (length and word[length] != character):
            length = lengths[length - 1]
        length += word[length] == character
        if length == len(word):
            yield at
