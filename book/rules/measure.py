"""What is counted on a page: words, figures, assertions, and how much of what it prints is compared.

A compared cell is one that could notice a wrong number. So an output that is only True, None, a shape or a string that
stands in the cell's own source does not count: it would print the same whatever the code computed.
"""

import ast
import base64
import re
from dataclasses import dataclass
from typing import Any

from book import notebooks
from book.rules.model import Page, markdown, parse, string_constants, without_code

IGNORE = "nbval-ignore-output"
_SHAPE = re.compile(r"torch\.(?:Size\(\[[\d, ]*\]\)|(?:float|bfloat|int|uint)\d+|bool)|\((?:\d+, ?)+\d*\)|\(\)")
_FIGURE = re.compile(r"^<Figure size [^>]*>$")


@dataclass(frozen=True)
class Compared:
    """How many code cells print, and how many of these nbval compares in earnest."""

    printing: int
    compared: int

    @property
    def share(self) -> float:
        """Compared cells as a share of the printing ones, 1 where none prints."""
        return self.compared / self.printing if self.printing else 1.0


def words(nb: Any) -> int:
    """Words of all Markdown cells, code blocks, formulas, targets and HTML left out."""
    text = without_code(markdown(nb))
    text = re.sub(r"\$\$.*?\$\$(?: *\([^)\s]*\))?", " ", text, flags=re.DOTALL)
    for noise in (r"\$[^$\n]+\$", r"^\([^()\s]+\)=\s*$", r"^:[\w-]+:.*$", r"<[^>\n]+>"):
        text = re.sub(noise, " ", text, flags=re.MULTILINE)
    return sum(1 for word in text.split() if re.search(r"\w", word))


def pngs(cell: Any) -> list[bytes]:
    """The PNG figures that a code cell put out, decoded."""
    found = [output.get("data", {}).get("image/png") for output in cell.get("outputs", [])]
    return [base64.b64decode(data if isinstance(data, str) else "".join(data)) for data in found if data]


def figures(nb: Any) -> int:
    """Figures on a page."""
    return sum(len(pngs(cell)) for cell in notebooks.code_cells(nb))


def printed(cell: Any) -> str:
    """What a code cell wrote as text; the line that stands for a figure is left out."""
    parts = []
    for output in cell.get("outputs", []):
        value = output.get("text") or output.get("data", {}).get("text/plain") or ""
        value = value if isinstance(value, str) else "".join(value)
        if not _FIGURE.match(value.strip()):
            parts.append(value)
    return "\n".join(part for part in parts if part.strip())


def is_constant(cell: Any) -> bool:
    """Whether what a cell printed says nothing about what it computed."""
    tree = parse(cell)
    rest = printed(cell)
    literals = [line.strip() for text in (string_constants(tree) if tree else []) for line in text.splitlines()]
    literals += _printed_numbers(tree) if tree else []
    for literal in sorted({line for line in literals if re.search(r"\w", line)}, key=len, reverse=True):
        rest = re.sub(rf"(?<!\w){re.escape(literal)}(?!\w)", " ", rest)
    rest = re.sub(r"\b(True|False|None)\b", " ", _SHAPE.sub(" ", rest))
    return not re.search(r"\w", rest)


def _printed_numbers(tree: ast.AST) -> list[str]:
    """Numbers that a cell hands to ``print`` as they stand in its source."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"]
    handed = [argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)]
    return [str(value) for value in handed if isinstance(value, int | float)]


def compared(nb: Any) -> Compared:
    """How much of what a page prints is compared."""
    printing = [cell for cell in notebooks.code_cells(nb) if printed(cell)]
    checked = [cell for cell in printing if IGNORE not in notebooks.tags(cell) and not is_constant(cell)]
    return Compared(len(printing), len(checked))


def asserts_in(cell: Any) -> int:
    """Assertions that a cell makes: ``assert`` on what can be false, and calls of ``assert_...`` functions.

    Those in the body of a function or class do not count, as nobody may call it; nor do those behind a constant
    condition, or under a handler that may swallow them.
    """
    count, waiting = 0, list(getattr(parse(cell), "body", []))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Assert):
            count += _can_be_false(node.test)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function = node.value.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            count += name.startswith("assert_")
        elif isinstance(node, ast.With | ast.For) or (isinstance(node, ast.If) and _can_be_false(node.test)):
            waiting += node.body + getattr(node, "orelse", [])
    return count


def _can_be_false(test: ast.expr) -> bool:
    """Whether a condition is about anything: it names something, and does not hold it against itself."""
    if isinstance(test, ast.Compare) and ast.dump(test.left) == ast.dump(test.comparators[0]):
        return False
    return any(isinstance(node, ast.Name) for node in ast.walk(test))


def asserts(nb: Any) -> int:
    """Assertions of a page, its solutions included."""
    return sum(asserts_in(cell) for cell in notebooks.code_cells(nb))


def summary(page: Page) -> dict[str, int | float]:
    """All counts of a page, as the record and the status page show them."""
    share = compared(page.nb)
    return {
        "code_cells": len(page.code),
        "printing_cells": share.printing,
        "compared_cells": share.compared,
        "compared_share": round(share.share, 3),
        "ignored_cells": sum(IGNORE in notebooks.tags(cell) and bool(printed(cell)) for _, cell in page.code),
        "asserts": asserts(page.nb),
        "figures": figures(page.nb),
        "words": words(page.nb),
    }
