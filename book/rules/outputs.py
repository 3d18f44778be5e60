"""Rules on what a page puts out: no accidents kept, figures that everyone can read, and numbers that are compared."""

import re

from book import notebooks
from book.rules import measure
from book.rules.model import Page

LARGEST_PNG = 60_000  # bytes
SMALLEST_SHARE = 0.70  # of the printing cells that must be compared
SHORTEST_ALT = 20  # characters: less cannot say what a plot shows

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_OBJECT = re.compile(r"<\s*(svg|script|img|iframe|object|embed|video|canvas)\b", re.IGNORECASE)
_ALLOWED = {"text/plain", "text/html", "text/markdown", "text/latex", "image/png"}


def no_stored_error(page: Page) -> list[str]:
    """No output is an error; a page that shows a failure catches it and prints what it said."""
    found = [(number, output) for number, cell in page.code for output in cell.outputs]
    return [f"cell {number}: stored error {out.ename}" for number, out in found if out.output_type == "error"]


def no_stderr(page: Page) -> list[str]:
    """Nothing on stderr: warnings and progress bars differ from run to run, and nbval compares them."""
    found = [(number, output) for number, cell in page.code for output in cell.outputs]
    return [
        f"cell {number}: output on stderr, {out.text.strip()[:60]!r}"
        for number, out in found
        if out.output_type == "stream" and out.name == "stderr"
    ]


def no_memory_address(page: Page) -> list[str]:
    """No output shows where an object lies in memory, which differs in every run.

    A figure's cell ends in one where its last line is a call on the axes: end it in an ``assert`` or a ``print``.
    """
    problems = []
    for number, cell in page.code:
        for output in cell.outputs:
            text = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
            if found := _ADDRESS.search(text):
                problems.append(f"cell {number}: a memory address, {text[: found.end()][-60:]!r}")
    return problems


def png_only(page: Page) -> list[str]:
    """Figures are PNG: SVG differs in every run, widgets and HTML objects show nothing outside of a live notebook."""
    problems = []
    for number, cell in page.code:
        for output in cell.outputs:
            data = output.get("data", {})
            problems += [f"cell {number}: output of type {kind}" for kind in sorted(set(data) - _ALLOWED)]
            if found := _OBJECT.search("".join(data.get("text/html", ""))):
                problems.append(f"cell {number}: an HTML output with <{found[1].lower()}>")
            if "text/html" in data and data.get("text/plain", "<").lstrip().startswith("<"):
                problems.append(f"cell {number}: an HTML output with no text beside it")
    return problems


def small_pngs(page: Page) -> list[str]:
    """A figure takes less than 60 KB."""
    sizes = [(number, len(png)) for number, cell in page.code for png in measure.pngs(cell)]
    return [f"cell {n}: a PNG of {size:,} bytes, under {LARGEST_PNG:,}" for n, size in sizes if size >= LARGEST_PNG]


def alt_text(page: Page) -> list[str]:
    """A cell with a figure has one figure, and its metadata says in words what it shows."""
    problems, seen = [], set()
    for number, cell in page.code:
        figures = len(measure.pngs(cell))
        alt = str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")).strip()
        if figures > 1:
            problems.append(f"cell {number}: {figures} figures; one a cell, as one alt text describes one")
        if figures and len(alt) < SHORTEST_ALT:
            problems.append(f"cell {number}: alt text {alt!r}, at least {SHORTEST_ALT} characters wanted")
        elif figures and alt in seen:
            problems.append(f"cell {number}: the alt text of another figure")
        seen.add(alt)
    return problems


def mostly_compared(page: Page) -> list[str]:
    """At least 70 % of the cells that print are compared with what is stored."""
    count = measure.compared(page.nb)
    if count.share >= SMALLEST_SHARE:
        return []
    return [f"{count.compared} of {count.printing} printing cells are compared, at least {SMALLEST_SHARE:.0%} wanted"]


def ignored_cells_assert(page: Page) -> list[str]:
    """A cell whose output is not compared asserts the bound that holds; set-up and versions need not."""
    return [
        f"cell {number}: its output is not compared and it asserts nothing"
        for number, cell in page.code[2:]
        if measure.IGNORE in notebooks.tags(cell) and not measure.asserts_in(cell)
    ]
