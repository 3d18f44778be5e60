"""Every rule on every real page, and on the book as a whole."""

from functools import lru_cache
from pathlib import Path

import pytest

from book import notebooks
from book.rules import BOOK_RULES, PAGE_RULES, Book, Page


@pytest.fixture(scope="module")
def book() -> Book:
    return Book()


@lru_cache(maxsize=1)  # the rules of one page follow each other, and change nothing in it
def load(path: Path, book: Book) -> Page:
    return Page.load(path, book)


@pytest.mark.parametrize("rule", PAGE_RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", notebooks.pages(), ids=notebooks.page_name)
def test_page(path: Path, rule, book: Book) -> None:
    problems = rule(load(path, book))
    assert not problems, "\n".join(["", *problems])


@pytest.mark.parametrize("rule", BOOK_RULES, ids=lambda rule: rule.__name__)
def test_book(rule, book: Book) -> None:
    problems = rule(book)
    assert not problems, "\n".join(["", *problems])


def test_there_are_pages() -> None:
    assert notebooks.pages(), "no page was found, so nothing of the above was tested"
