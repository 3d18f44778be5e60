"""Rules on the shape of a page: how it opens, what it sets up, its exercises, its interview questions, its sources."""

import re
from dataclasses import dataclass, field
from typing import Any

from book import notebooks, setup_cell
from book.rules import cells, measure
from book.rules.model import Page, without_code

OPENING_LINES = ("**You will be able to**", "**Prerequisites**", "**Cost**")
ANSWER_PARTS = ("**30-second answer.**", "**Why it is asked.**", "**Follow-ups.**")


@dataclass
class Section:
    """The part of a page under one heading: its Markdown and, between, its code cells."""

    level: int
    title: str
    before: str  # the line above the heading, where a target stands
    text: list[str] = field(default_factory=list)
    code: list[Any] = field(default_factory=list)


def sections(page: Page) -> list[Section]:
    """The page cut at its headings, whatever cells these stand in."""
    found: list[Section] = []
    last = ""
    for cell in page.nb.cells:
        if cell.cell_type == "code" and found:
            found[-1].code.append(cell)
        for line in without_code(cell.source).splitlines() if cell.cell_type == "markdown" else ():
            heading = re.match(r"(#{1,6})\s+(.+?)\s*$", line)
            if heading:
                found.append(Section(len(heading[1]), heading[2], last))
            elif found:
                found[-1].text.append(line)
            last = line.strip() or last
    return found


def under(page: Page, title: str) -> list[Section] | None:
    """The sections of level 3 under the section of level 2 called ``title``, None where there is no such section."""
    inside: list[Section] | None = None
    for section in sections(page):
        if section.level <= 2:
            if inside is not None:
                break
            inside = [] if section.level == 2 and section.title == title else None
        elif inside is not None and section.level == 3:
            inside.append(section)
    return inside


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


def interview_questions(page: Page) -> list[str]:
    """`## Interview questions`: each has a target `(q-...)=` and the three parts, in order and not empty."""
    found = under(page, "Interview questions")
    if not found:
        return ["no `## Interview questions` with a question of level 3 under it"]
    problems = []
    for section in found:
        if not re.fullmatch(r"\(q-[a-z0-9-]+\)=", section.before):
            problems.append(f"`{section.title}`: no target `(q-...)=` above the heading")
        text = "\n".join(section.text)
        places = [text.find(part) for part in ANSWER_PARTS]
        if -1 in places or places != sorted(places):
            problems.append(f"`{section.title}`: wanted, in this order, {', '.join(ANSWER_PARTS)}")
            continue
        for part, start, end in zip(ANSWER_PARTS, places, [*places[1:], None], strict=True):
            if not text[start + len(part) : end].strip():
                problems.append(f"`{section.title}`: nothing after {part}")
        if re.search(r"\]\((?!\w+://)", text[places[0] : places[1]]):  # cards show it on a page of another folder
            problems.append(f"`{section.title}`: a link in the 30-second answer")
    return problems


def sources(page: Page) -> list[str]:
    """`## Sources` with at least one citation."""
    texts = ["\n".join(s.text) for s in sections(page) if s.level == 2 and s.title == "Sources"]
    if len(texts) != 1:
        return [f"{len(texts)} sections `## Sources`, wanted one"]
    return [] if "{cite" in texts[0] else ["`## Sources` cites nothing"]
