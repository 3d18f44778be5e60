"""What a match is, in loops that follow the definitions: every word is tried at every position.

Time is the text's length times the number of words times their length; the fast automata are held against it.
"""

from collections.abc import Sequence


def naive_matches(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """All occurrences, overlapping ones too, by where they end, the longest first where several end together.

    Args:
        words: Distinct words.
        text: Where to look.

    Returns:
        Pairs of the index of an occurrence's last character and the number of the word.
    """
    longest_first = sorted(range(len(words)), key=lambda number: -len(words[number]))
    return [
        (end, number)
        for end in range(len(text))
        for number in longest_first
        if words[number] and text[: end + 1].endswith(words[number])
    ]


def naive_longest(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Leftmost-longest occurrences: from the left, at each place the longest word; the search goes on behind it.

    Returns:
        Pairs as those of :func:`naive_matches`, no two of which overlap.
    """
    found, at = [], 0
    while at < len(text):
        fitting = [number for number, word in enumerate(words) if word and text.startswith(word, at)]
        if fitting:
            best = max(fitting, key=lambda number: len(words[number]))
            found.append((at + len(words[best]) - 1, best))
        at += len(words[best]) if fitting else 1
    return found
