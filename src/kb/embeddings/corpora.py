"""Text to learn word vectors from, and what people say of pairs of words, all out of pinned packages.

Unusual: a dictionary is a corpus here. WordNet 3.0 gives each of its 117,659 sets of synonyms a gloss, and a sentence
made of the synonyms and their gloss puts a word next to what it means, as running text rarely does. The other corpus is
running text: first paragraphs of some 10,000 articles of the English Wikipedia. All of it is lower-cased letters.

Sources: Fellbaum 1998, WordNet; WordSim-353, Finkelstein et al. 2002; SimLex-999, Hill et al. 2015; the analogies of
Mikolov et al. 2013, Efficient Estimation of Word Representations in Vector Space, section 4.1.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kb import datasets

_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?")
_EXAMPLE = re.compile(r'"([^"]*)"?')
_WORDNET = ("data.noun1", "data.noun2", "data.verb", "data.adj", "data.adv")
PAIR_SETS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}


def tokens(text: str) -> list[str]:
    """Lower-cased words of a text: runs of the letters a to z, with one apostrophe inside; all else separates."""
    return _TOKEN.findall(text.lower())


def synset_sentences(line: str) -> list[list[str]]:
    """Sentences of one line of WordNet's data files: synonyms with their definition, then each example.

    A line of the licence at the head of the file, which begins with blanks, gives none.
    """
    if line.startswith("  ") or "| " not in line:
        return []
    fields, _, gloss = line.partition("| ")
    parts = fields.split()
    lemmas = [re.sub(r"\(\w+\)$", "", word) for word in parts[4 : 4 + 2 * int(parts[3], 16) : 2]]
    definition = _EXAMPLE.sub(" ", gloss)
    names = tokens(" ".join(lemmas).replace("_", " "))
    found = [names + tokens(definition), *(tokens(example) for example in _EXAMPLE.findall(gloss))]
    return [sentence for sentence in found if sentence]


def wordnet_glosses() -> list[list[str]]:
    """WordNet's glosses as sentences of tokens, 1.8 million in all.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    found = []
    for member in _WORDNET:
        for line in datasets.read("wordnet", f"wordnet/dict/{member}").decode("latin-1").splitlines():
            found += synset_sentences(line)
    return found


def wikipedia_summaries() -> list[list[str]]:
    """First paragraphs of Wikipedia's articles, one sentence of tokens each, 0.8 million tokens in all.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    articles = json.loads(datasets.read("wikipedia-summaries", "summaries_en-us.json"))
    return [found for article in articles.values() if (found := tokens(article["extract"]))]


@dataclass(frozen=True)
class WordPair:
    """Two words and how alike people found them, from 0 to 10."""

    first: str
    second: str
    score: float


def word_pairs(name: str) -> list[WordPair]:
    """The pairs of ``wordsim353`` (related) or ``simlex999`` (similar), lower-cased.

    Raises:
        ValueError: another name.
        kb.datasets.DatasetError: the package cannot be had.
    """
    if name not in PAIR_SETS:
        raise ValueError(f"name must be one of {', '.join(PAIR_SETS)}, got {name!r}")
    found = []
    for line in datasets.read("gensim", f"test_data/{PAIR_SETS[name]}").decode("utf-8").splitlines():
        if line and not line.startswith("#"):
            first, second, score = line.split("\t")
            found.append(WordPair(first.lower(), second.lower(), float(score)))
    return found


@dataclass(frozen=True)
class Analogy:
    """``first`` is to ``second`` as ``third`` is to ``fourth``, in a section of the file."""

    section: str
    first: str
    second: str
    third: str
    fourth: str


def analogies() -> list[Analogy]:
    """The 19,544 questions of ``questions-words.txt``, lower-cased.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    return list(_analogies(datasets.read("gensim", "test_data/questions-words.txt").decode("utf-8")))


def _analogies(text: str) -> Iterator[Analogy]:
    section = ""
    for line in text.splitlines():
        if line.startswith(":"):
            section = line[1:].strip()
        elif line.strip():
            yield Analogy(section, *line.lower().split())
