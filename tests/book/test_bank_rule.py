"""The rule on the question bank: it rejects the good book of conftest.py once the bank and a page disagree."""

from pathlib import Path

import pytest

from book.rules import Book
from book.rules.whole import question_bank

BANK, PAGE = "chapters/questions.yml", "chapters/serving/good.ipynb"
ENTRY = "- {difficulty: basic, asked: explain, id: good-page, en: 'Why?', zh: 为什么, page: serving/good}\n"


def edit(root: Path, name: str, old: str, new: str) -> None:
    """Replace a piece of a file; the piece must be there."""
    before = (root / name).read_text(encoding="utf-8")
    assert old in before
    (root / name).write_text(before.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (PAGE, "(q-good-page)=", "(q-other)=", "question good-page: chapters/serving/good holds no target"),
        (PAGE, "(q-good-page)=", "(q-other)=", "good: the question (q-other)= is not in questions.yml"),
        (PAGE, "**30-second answer.**", "**Short.**", "good has no **30-second answer.** below (q-good-page)="),
        (BANK, "serving/good", "serving/goood", "question good-page: there is no page chapters/serving/goood"),
        (BANK, "serving/good", "serving/goood", "good: answers (q-good-page)=, the bank says chapters/serving/goood"),
        (BANK, "zh: 是什么, ", "", "question 1: missing zh"),
        (BANK, "good-page", "Good page", "question 1: id must be lower-case words"),
        (BANK, "}\n", "}\n" + ENTRY, "id 'good-page' is used 2 times"),
        (BANK, "}", "", "questions.yml: no YAML"),
    ],
)
def test_a_broken_bank_is_reported(name: str, old: str, new: str, message: str, book_root: Path) -> None:
    edit(book_root, name, old, new)
    found = question_bank(Book(book_root))
    assert any(message in problem for problem in found), found


def test_all_that_is_wrong_is_reported_at_once(book_root: Path) -> None:
    edit(book_root, PAGE, "(q-good-page)=", "(q-other)=")
    elsewhere = ENTRY.replace("good-page", "gone").replace("serving/good", "serving/gone")
    edit(book_root, BANK, "}\n", "}\n- only text\n" + elsewhere)
    assert question_bank(Book(book_root)) == [
        "questions.yml, question 2: wanted keys and values, got str",
        "question good-page: chapters/serving/good holds no target (q-good-page)=",
        "question gone: there is no page chapters/serving/gone",
        "chapters/serving/good: the question (q-other)= is not in questions.yml",
    ]


def test_without_a_bank_every_answer_is_one_too_many(book_root: Path) -> None:
    (book_root / BANK).unlink()
    assert question_bank(Book(book_root)) == [f"{PAGE[:-6]}: the question (q-good-page)= is not in questions.yml"]
