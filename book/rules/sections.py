"""A page, or a plain Markdown text, cut at its headings: what the rules on its shape look at."""

import re
from dataclasses import dataclass, field
from typing import Any

from book.rules.model import Page, without_code


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
        elif cell.cell_type == "markdown":
            last = _cut(cell.source, found, last)
    return found


def sections_of(text: str) -> list[Section]:
    """A Markdown text cut at its headings; its sections have no code cells."""
    found: list[Section] = []
    _cut(text, found, "")
    return found


def _cut(text: str, found: list[Section], last: str) -> str:
    """Add the sections of a text to those found; returns the last line that is not empty, ``last`` if there is none."""
    for line in without_code(text).splitlines():
        heading = re.match(r"(#{1,6})\s+(.+?)\s*$", line)
        if heading:
            found.append(Section(len(heading[1]), heading[2], last))
        elif found:
            found[-1].text.append(line)
        last = line.strip() or last
    return last


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
