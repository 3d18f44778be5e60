"""Rules for what reads like running text: Gopher's, which drop documents, and C4's, which also drop lines.

Unusual: a rule tells its name and its number, so that a pipeline can count by reason. Both sets are for English: of
Chinese, words split at spaces are whole texts, so that mean word length alone drops nearly everything. That is
what ``words`` is for: hand in a segmentation into words or characters, and thresholds that fit.

Sources: Rae et al. 2021, Gopher, section A.1.1 (quality filtering); Raffel et al. 2020, T5, section 2.2 (C4's rules).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_TERMINAL = (".", "!", "?", '"', "\u201d")
_PLACEHOLDER = re.compile(r"lorem ipsum", re.IGNORECASE)
_C4_REASONS = ("no end mark", "few words", "javascript", "curly bracket", "placeholder", "few sentences")
_SENTENCE_ENDS = re.compile(r"[.!?]+(?:\s|$)")


@dataclass(frozen=True)
class GopherRules:
    """The thresholds of the paper.

    Args:
        words: Fewest and most words.
        word_length: Smallest and largest mean length of a word in characters.
        most_symbols: Most hash signs, or ellipses, per word.
        most_bullets: Largest share of lines that start with a bullet.
        most_ellipses: Largest share of lines that end with an ellipsis.
        least_alphabetic: Smallest share of words with a letter.
        stop_words: Those looked for.
        least_stop_words: How many different ones must occur.
    """

    words: tuple[int, int] = (50, 100_000)
    word_length: tuple[float, float] = (3, 10)
    most_symbols: float = 0.1
    most_bullets: float = 0.9
    most_ellipses: float = 0.3
    least_alphabetic: float = 0.8
    stop_words: tuple[str, ...] = STOP_WORDS
    least_stop_words: int = 2


def gopher_failures(
    text: str, rules: GopherRules | None = None, *, words: Callable[[str], list[str]] = str.split
) -> dict[str, float]:
    """The rules that a document breaks, each with the number that broke it; empty where it passes.

    Args:
        text: The document.
        rules: Thresholds; the paper's if not given.
        words: How a text is cut into words.

    Raises:
        TypeError: ``text`` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    rules = GopherRules() if rules is None else rules
    found, lines = words(text), [line.strip() for line in text.splitlines() if line.strip()]
    count, bare = max(1, len(found)), {word.strip(".,;:!?\"'()").lower() for word in found}
    numbers = {
        "words": (len(found), rules.words),
        "word length": (sum(map(len, found)) / count, rules.word_length),
        "hash signs": (text.count("#") / count, (0, rules.most_symbols)),
        "ellipses": ((text.count("...") + text.count("\u2026")) / count, (0, rules.most_symbols)),
        "bullets": (_share(lines, lambda line: line.startswith(("\u2022", "-", "*"))), (0, rules.most_bullets)),
        "line ellipses": (_share(lines, lambda line: line.endswith(("...", "\u2026"))), (0, rules.most_ellipses)),
        "alphabetic": (_share(found, lambda word: any(map(str.isalpha, word))), (rules.least_alphabetic, 1)),
        "stop words": (sum(word in bare for word in rules.stop_words), (rules.least_stop_words, float("inf"))),
    }
    return {name: float(value) for name, (value, (low, high)) in numbers.items() if not low <= value <= high}


def c4_clean(text: str, *, least_sentences: int = 3, least_words: int = 5) -> tuple[str, dict[str, int]]:
    """What C4's rules leave of a page, and what they took: lines by reason, or the whole page, which leaves "".

    A line stays where it ends in a terminal punctuation mark, has at least five words and does not speak of
    JavaScript; a page where it has at least three sentences, no curly bracket and no lorem ipsum. These numbers are
    those of C4's own code (c4_utils.py of tensorflow-datasets); some copies of the paper, and datatrove, have five
    sentences and three words. The list of bad words is left out: it is a policy, and
    it drops more text from and about minorities (Dodge et al. 2021).

    Raises:
        TypeError: ``text`` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    taken = dict.fromkeys(_C4_REASONS, 0)
    if "{" in text or _PLACEHOLDER.search(text):
        return "", taken | {"curly bracket" if "{" in text else "placeholder": 1}
    kept = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if not line.endswith(_TERMINAL) or line.endswith("..."):
            taken["no end mark"] += 1
        elif len(line.split()) < least_words:
            taken["few words"] += 1
        elif "javascript" in line.lower():
            taken["javascript"] += 1
        else:
            kept.append(line)
    cleaned = "\n".join(kept)
    if len(_SENTENCE_ENDS.findall(cleaned)) < least_sentences:
        return "", taken | {"few sentences": 1}
    return cleaned, taken


def _share(items: list[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, items)) / len(items) if items else 0.0
