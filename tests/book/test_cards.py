"""The Anki deck and the table: opened as Anki's database and as CSV, whole, linked, and the same cards every time."""

import csv
import dataclasses
import re
import sqlite3
import zipfile
from pathlib import Path

import pytest

from book import cards
from book.notebooks import ROOT
from book.publish import pages_address
from book.questions import BANK, Question, load

BASE = "https://owner.github.io/book/"
QUESTION = Question(
    id="adam",
    en="What is m < v & why?",
    zh="adam优化器原理",
    page="interview/optimization",
    difficulty="basic",
    asked="explain",
    from_notes=True,
    note="A <note>.",
    topic="Large models",
    thirty_seconds='It divides by $\\sqrt{v} < x$, **not** by `a<b`: "m", a *mean*.',
)


def notes(folder: Path) -> list[tuple[str, list[str], str]]:
    """Identity, fields and tags of each note, as they stand in Anki's database."""
    with zipfile.ZipFile(folder / cards.DECK) as archive:
        archive.extract("collection.anki2", folder)
    connection = sqlite3.connect(folder / "collection.anki2")
    rows = connection.execute("select guid, flds, tags from notes order by id").fetchall()
    assert connection.execute("select count(*) from cards").fetchone() == (len(rows),)
    connection.close()
    return [(guid, fields.split("\x1f"), tags) for guid, fields, tags in rows]


def test_a_card_has_both_languages_the_answer_and_its_proof(tmp_path: Path) -> None:
    cards.write(tmp_path / "new" / "folder", [QUESTION], BASE)
    ((_, fields, tags),) = notes(tmp_path / "new" / "folder")
    assert fields == [
        "What is m &lt; v &amp; why?",
        "adam优化器原理",
        '<p>It divides by <span class="math inline">\\(\\sqrt{v} &lt; x\\)</span>, '
        "<strong>not</strong> by <code>a&lt;b</code>: &quot;m&quot;, a <em>mean</em>.</p>",
        "A &lt;note&gt;.",
        "Large models · basic · asked to explain",
        f"{BASE}chapters/interview/optimization.html#q-adam",
        "adam",
    ]
    assert tags.split() == ["topic::Large_models", "difficulty::basic", "asked::explain", "notes"]


def test_a_newer_deck_has_the_same_cards(tmp_path: Path) -> None:
    cards.write(tmp_path / "old", [QUESTION], BASE)
    cards.write(tmp_path / "new", [dataclasses.replace(QUESTION, id="sgd"), dataclasses.replace(QUESTION, en="?")], "")
    (before,) = notes(tmp_path / "old")
    first, second = notes(tmp_path / "new")
    assert before[0] == second[0] != first[0]
    assert second[1][5] == "chapters/interview/optimization.html#q-adam"


def test_the_table_can_be_read_again(tmp_path: Path) -> None:
    cards.write(tmp_path, [QUESTION], BASE)
    raw = (tmp_path / cards.TABLE).read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf"), "or Excel takes the Chinese for another encoding"
    (row,) = csv.DictReader(raw.decode("utf-8-sig").splitlines())
    assert list(row) == list(cards.COLUMNS)
    assert (row["english"], row["chinese"], row["answer"]) == (QUESTION.en, QUESTION.zh, QUESTION.thirty_seconds)
    assert (row["from"], row["address"]) == ("notes", cards.address(QUESTION, BASE))
    assert len(notes(tmp_path)) == 1


def test_every_question_of_the_book_has_a_card(tmp_path: Path) -> None:
    asked = load(BANK)
    cards.write(tmp_path, asked, "")
    found = notes(tmp_path)
    assert [fields[-1] for _, fields, _ in found] == [question.id for question in asked]
    assert len({guid for guid, _, _ in found}) == len(asked)
    for _, fields, _ in found:
        answer = fields[2]
        assert answer.count("\\(") == answer.count("\\)")
        assert not re.search(r"(?<!\\)\$|\{[a-z]+\}`", answer), f"{fields[-1]}: Markdown left in {answer}"
        page, _, anchor = fields[5].partition("#")
        source = ROOT / page.replace(".html", ".ipynb")
        source = source if source.is_file() else source.with_suffix(".md")
        assert f"({anchor})=" in source.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("repository", "wanted"),
    [
        ("https://github.com/Owner/Book", "https://owner.github.io/Book/"),
        ("https://github.com/Owner/owner.github.io", "https://owner.github.io/"),
        ("https://example.org/owner/book", ""),
        ("", ""),
    ],
)
def test_the_address_of_the_published_site(repository: str, wanted: str) -> None:
    assert pages_address(repository) == wanted
