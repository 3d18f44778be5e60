"""Answers in words against gold answers: exact match and token F1, after a normalisation that is part of the metric.

SQuAD's rule takes off case, punctuation, the English articles and spare spaces. Unusual: the unit of F1 is a choice.
Chinese has no spaces, so that F1 over words is 0 or 1 there; CMRC 2018 counts characters.

Sources: Rajpurkar et al. 2016, SQuAD, section 6.1, and its evaluation script; Cui et al. 2019, CMRC 2018.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

UNITS = ("words", "characters")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower case, without punctuation, the articles a, an, the, and spare white space.

    Punctuation is ASCII's, as in SQuAD's script, and whatever Unicode counts as punctuation, such as Chinese marks.

    Raises:
        TypeError: ``text`` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    kept = (c for c in text.lower() if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return " ".join(_ARTICLES.sub(" ", "".join(kept)).split())


def exact_match(answer: str, golds: str | Sequence[str]) -> bool:
    """Whether an answer is one of the gold answers, after normalisation.

    Raises:
        TypeError: a text is no string.
        ValueError: there is no gold answer.
    """
    return any(normalize_answer(answer) == normalize_answer(gold) for gold in _golds(golds))


def token_f1(answer: str, golds: str | Sequence[str], *, units: str = "words") -> float:
    """The best F1 over the gold answers: harmonic mean of precision and recall of the common words, with repeats.

    Args:
        answer: What was said.
        golds: One gold answer or several.
        units: "words", or "characters" for Chinese.

    Raises:
        TypeError: a text is no string.
        ValueError: there is no gold answer, or another unit.
    """
    if units not in UNITS:
        raise ValueError(f"units must be words or characters, got {units!r}")

    def cut(text: str) -> list[str]:
        normal = normalize_answer(text)
        return normal.split() if units == "words" else list(normal.replace(" ", ""))

    return max(_f1(cut(answer), cut(gold)) for gold in _golds(golds))


def _golds(golds: str | Sequence[str]) -> list[str]:
    found = [golds] if isinstance(golds, str) else list(golds)
    if not found:
        raise ValueError("golds must hold at least one gold answer")
    return found


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:  # as in SQuAD 2.0's script: 1 only where both are empty
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    if not common:
        return 0.0
    precision, recall = common / len(answer), common / len(gold)
    return 2 * precision * recall / (precision + recall)
