"""The questions as files to take along: an Anki deck and a table, written beside the site by ``make book``.

A card shows a question in both languages and, turned, its 30-second answer with a link to the full one. Its identity
comes from the question's id, so that a newer deck updates the cards that were imported and keeps what Anki knows of
them. Mathematics is written as Anki's MathJax wants it.
"""

import csv
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import genanki  # type: ignore[import-untyped]
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from book.questions import ASKED, Question

FOLDER = "_static/questions"  # of the site
DECK, TABLE = "deep-learning-questions.apkg", "deep-learning-questions.csv"
COLUMNS = ("id", "english", "chinese", "answer", "topic", "difficulty", "asked", "from", "note", "address")

# Chosen once; with other numbers Anki would take the deck and the kind of note for new ones.
DECK_ID, MODEL_ID = 1_764_201_601, 1_764_201_602
DECK_NAME = "Deep learning, past the basics"

FIELDS = ("Question", "Chinese", "Answer", "Note", "About", "Address", "Id")
FRONT = """<p class="about">{{About}}</p>
<p class="question">{{Question}}</p>
<p lang="zh-Hans">{{Chinese}}</p>"""
BACK = """{{FrontSide}}<hr id="answer">{{Answer}}
{{#Note}}<p class="about">On the wording: {{Note}}</p>{{/Note}}
<p class="about"><a href="{{Address}}">The full answer and its proof</a></p>"""
CSS = """.card { font: 1.1em/1.5 system-ui, "Noto Sans SC", sans-serif; max-width: 40em; margin: 1em auto; }
.question { font-weight: 650; font-size: 1.2em; }
.about { opacity: 0.75; font-size: 0.85em; }"""


def write(folder: Path, questions: Sequence[Question], base: str) -> None:
    """Write the deck and the table of the questions into ``folder``, which is made where it is missing.

    Args:
        folder: Where the two files go.
        questions: The bank.
        base: The address of the site's root, which the links of the cards begin with, such as
            ``https://owner.github.io/name/``; with an empty one they name the page within the site.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deck = genanki.Deck(DECK_ID, DECK_NAME, "Questions of machine learning interviews, with answers of thirty seconds.")
    templates = [{"name": "Card 1", "qfmt": FRONT, "afmt": BACK}]
    model = genanki.Model(
        MODEL_ID, f"{DECK_NAME}: question", fields=[{"name": name} for name in FIELDS], templates=templates, css=CSS
    )
    for question in questions:
        deck.add_note(_note(model, question, base))
    genanki.Package(deck).write_to_file(folder / DECK)
    with (folder / TABLE).open("w", encoding="utf-8-sig", newline="") as file:  # the mark tells Excel that it is UTF-8
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(_row(question, base) for question in questions)


def address(question: Question, base: str) -> str:
    """Where the full answer stands: the page's section, of the site at ``base``."""
    return f"{base}chapters/{question.page}.html#{question.anchor}"


def as_html(markdown: str) -> str:
    r"""Markdown of a short answer as HTML, its formulas between ``\(`` and ``\)``."""
    converter = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=_formula)
    text: str = converter.render(markdown)
    return text.strip()


def _formula(source: str, options: dict[str, Any]) -> str:
    text = html.escape(source.strip(), quote=False)
    return f"\\[{text}\\]" if options["display_mode"] else f"\\({text}\\)"


def _note(model: Any, question: Question, base: str) -> Any:
    about = f"{question.topic} · {question.difficulty} · asked {ASKED[question.asked]}"
    text = [question.en, question.zh, question.note, about, address(question, base)]
    english, chinese, note, about, link = (html.escape(part, quote=False) for part in text)
    fields = [english, chinese, as_html(question.thirty_seconds), note, about, link, question.id]
    tags = [f"topic::{question.topic.replace(' ', '_')}", f"difficulty::{question.difficulty}"]
    tags += [f"asked::{question.asked}", *(["notes"] if question.from_notes else [])]
    return genanki.Note(model, fields, guid=genanki.guid_for("kb question", question.id), tags=tags)


def _row(question: Question, base: str) -> list[str]:
    return [
        question.id,
        question.en,
        question.zh,
        question.thirty_seconds,
        question.topic,
        question.difficulty,
        question.asked,
        "notes" if question.from_notes else "book",
        question.note,
        address(question, base),
    ]
