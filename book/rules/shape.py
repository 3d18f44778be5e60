"""Rules on the shape of a page: how it opens, what it sets up, the heads of its tables, its exercises."""

import re

from book import notebooks, setup_cell
from book.rules import cells, measure
from book.rules.model import Page, without_code
from book.rules.sections import sections, under

_HEADER = re.compile(r"^[ \t]*\|(.*)\|[ \t]*\n[ \t]*\|[-:| \t]+\|[ \t]*$", re.MULTILINE)
_FORMULA = re.compile(r"\$[^$]+\$")

OPENING_LINES = ("**You will be able to**", "**Prerequisites**", "**Cost**")


def opening(page: Page) -> list[str]:
    """The first cell: title, the answer in two sentences, what one will be able to do, prerequisites, cost."""
    problems = []
    titles = [section.title for section in sections(page) if section.level == 1]
    if len(titles) != 1:
        problems.append(f"{len(titles)} headings of level 1, wanted one, the title")
    first = page.nb.cells[0] if page.nb.cells else None
    if first is None or first.cell_type != "markdown" or not re.match(r"# \S", first.source):
        return [*problems, "cell 1: wanted Markdown that begins with `# Title`"]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", first.source)[1:]]
    answer = paragraphs[0] if paragraphs else ""
    sentences = len(re.findall(r"[.!?](?=\s|$)", answer))
    if sentences != 2 or answer.startswith("**"):
        problems.append(f"cell 1: the answer after the title has {sentences} sentences, wanted two")
    for start in OPENING_LINES:
        if not any(line.startswith(start) and len(line) > len(start) + 3 for line in first.source.splitlines()):
            problems.append(f"cell 1: no line that begins with {start} and goes on")
    return problems


def setup_first(page: Page) -> list[str]:
    """The first code cell is the set-up cell to the letter, the second prints the versions; neither is compared."""
    if len(page.code) < 2:
        return ["wanted two code cells at the top: set-up, then machine and versions"]
    (first, setup), (second, versions) = page.code[:2]
    problems = []
    if setup.source.strip() != setup_cell.text().strip():
        problems.append(f"cell {first}: the first code cell differs from book.setup_cell.text()")
    if not {"setup", measure.IGNORE} <= notebooks.tags(setup):
        problems.append(f"cell {first}: wanted the tags setup and {measure.IGNORE}")
    if not cells.is_call_of(versions, "report"):
        problems.append(f"cell {second}: the second code cell calls kb.runtime.report()")
    if measure.IGNORE not in notebooks.tags(versions):
        problems.append(f"cell {second}: wanted the tag {measure.IGNORE}")
    return problems


def named_columns(page: Page) -> list[str]:
    """Every column of a table has a name in words, as a screen reader announces neither a gap nor a formula."""
    problems = []
    for number, cell in enumerate(page.nb.cells, start=1):
        if cell.cell_type == "markdown":
            for header in _HEADER.finditer(without_code(cell.source)):
                names = _FORMULA.sub("", header[1]).replace("\\|", "").split("|")
                if not all(re.search(r"\w", name) for name in names):
                    problems.append(f"cell {number}: a column without a name in words: |{header[1]}|")
    return problems


def exercises(page: Page) -> list[str]:
    """`## Exercises` with `### Exercise n`, each with a folded solution that asserts something."""
    found = under(page, "Exercises")
    if not found:
        return ["no `## Exercises` with `### Exercise 1` under it"]
    problems = []
    for number, section in enumerate(found, start=1):
        if section.title != f"Exercise {number}":
            problems.append(f"`### {section.title}`: wanted `### Exercise {number}`")
        if not any(line.strip() for line in section.text):
            problems.append(f"Exercise {number}: no task")
        solution = section.code[0] if section.code else None
        if solution is None or not {"solution", "hide-cell"} <= notebooks.tags(solution):
            problems.append(f"Exercise {number}: no code cell tagged solution and hide-cell follows")
        elif not measure.asserts_in(solution):
            problems.append(f"Exercise {number}: its solution asserts nothing")
    return problems
