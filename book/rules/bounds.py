"""Rules on the size of a page; one that would burst these bounds becomes two."""

from book.rules import measure
from book.rules.model import Page

CODE_CELLS = (15, 40)
WORDS = (2_000, 4_500)
FIGURES = (4, 9)


def code_cells(page: Page) -> list[str]:
    """A page has 15 to 40 code cells."""
    return _within(len(page.code), CODE_CELLS, "code cells")


def words(page: Page) -> list[str]:
    """A page has 2,000 to 4,500 words."""
    return _within(measure.words(page.nb), WORDS, "words")


def figures(page: Page) -> list[str]:
    """A page has 4 to 9 figures."""
    return _within(measure.figures(page.nb), FIGURES, "figures")


def _within(count: int, bounds: tuple[int, int], what: str) -> list[str]:
    low, high = bounds
    return [] if low <= count <= high else [f"{count:,} {what}, wanted {low:,} to {high:,}"]
