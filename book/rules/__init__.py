"""What is true of every page, one small function a rule: ``(page) -> list of problems``.

A rule says what is wrong and where, in words that the writer of a page can act on; an empty list means that it holds.
``PAGE_RULES`` are asked of every page, ``BOOK_RULES`` of the book as a whole. tests/book/test_rules.py shows that each
of them can fail.
"""

from collections.abc import Callable

from book.rules import answers, bounds, cells, outputs, references, shape, whole
from book.rules.model import Book, Page

PAGE_RULES: tuple[Callable[[Page], list[str]], ...] = (
    cells.canonical_file,
    cells.executed_in_order,
    cells.plain_python,
    cells.tags_only,
    cells.no_trailing_semicolon,
    cells.short_cells,
    cells.no_absolute_path,
    outputs.no_stored_error,
    outputs.no_stderr,
    outputs.no_memory_address,
    outputs.png_only,
    outputs.small_pngs,
    outputs.alt_text,
    outputs.mostly_compared,
    outputs.ignored_cells_assert,
    shape.opening,
    shape.setup_first,
    shape.named_columns,
    shape.exercises,
    answers.interview_questions,
    answers.long_answers,
    answers.sources,
    bounds.code_cells,
    bounds.words,
    bounds.figures,
    references.citations,
    references.cross_references,
    references.local_links,
)

BOOK_RULES: tuple[Callable[[Book], list[str]], ...] = (
    whole.contents_agree,
    whole.targets_are_unique,
    whole.documents_resolve,
    whole.question_bank,
    answers.advice,
)

__all__ = ["BOOK_RULES", "PAGE_RULES", "Book", "Page"]
