"""Rules on the file and the code of a page: run from top to bottom, plain Python, short, at home on any machine."""

import ast
import io
import json
import re
import tokenize
from typing import Any

from book import notebooks
from book.rules.model import Page, parse

LONGEST_CELL = 40  # lines

_MARKERS = re.compile(r"^\s*#[#\s]*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)\s*$", re.MULTILINE)
_TAGS = {"setup", "versions", "solution", "nbval-ignore-output", "hide-input", "hide-output", "hide-cell"}
# A path of one machine. The look-behind spares addresses (https://host/home/...) and fractions (compute/work).
_PATH = re.compile(
    r"(?<![\w./\-])/(?:home|root|tmp|work|workspace|content|kaggle|data|Users|Volumes|mnt|opt|usr|var|etc|srv|private)\b"
    r"(?:/[^\s'\"`)]*)?"
    r"|(?<![\w~/])~/\w[^\s'\"`)]*"
    r"|\b[A-Za-z]:(?:\\{1,2}|/(?!/))(?:Users|Windows|Program|data|[A-Za-z]\w+[\\/])"
    r"|\b(?:site|dist)-packages\b"
    r"|\bfile:///"
)


def canonical_file(page: Page) -> list[str]:
    """The file on disk is in the one canonical form."""
    if page.path.read_text(encoding="utf-8") == notebooks.text(page.nb):
        return []
    return ["the file is not in canonical form: run `make run` on the page, which writes it so"]


def executed_in_order(page: Page) -> list[str]:
    """Code cells carry the execution counts 1, 2, 3, ...; nbval would silently skip the comparison of one without."""
    problems = []
    for wanted, (number, cell) in enumerate(page.code, start=1):
        if not cell.source.strip():
            problems.append(f"cell {number}: an empty code cell")
        elif cell.execution_count != wanted:
            problems.append(f"cell {number}: execution count {cell.execution_count}, wanted {wanted}")
    return problems


def plain_python(page: Page) -> list[str]:
    """No magics and no shell lines: the same cells also run where there is no Jupyter."""
    return [f"cell {number}: not plain Python" for number, cell in page.code if parse(cell) is None]


def tags_only(page: Page) -> list[str]:
    """Cells are excused from comparison only by the tag nbval-ignore-output; none is skipped or removed."""
    problems = []
    for number, cell in page.code:
        problems += [f"cell {number}: comment marker {marker}; use the tag" for marker in _MARKERS.findall(cell.source)]
        unknown = sorted(notebooks.tags(cell) - _TAGS)
        problems += [f"cell {number}: tag {tag}; the tags are {', '.join(sorted(_TAGS))}" for tag in unknown]
    return problems


def no_trailing_semicolon(page: Page) -> list[str]:
    """No cell ends in ``;``, which hides a result from the reader and is compared wrongly by nbval."""
    return [f"cell {number}: ends in `;`" for number, cell in page.code if _last_token(cell.source) == ";"]


def _last_token(code: str) -> str:
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER, tokenize.INDENT, tokenize.DEDENT}
    try:
        tokens = [t.string for t in tokenize.generate_tokens(io.StringIO(code).readline) if t.type not in skipped]
    except (tokenize.TokenError, SyntaxError):
        tokens = code.split()
    return tokens[-1] if tokens else ""


def short_cells(page: Page) -> list[str]:
    """A code cell has at most 40 lines."""
    lengths = [(number, len(cell.source.splitlines())) for number, cell in page.code]
    return [f"cell {n}: {length} lines, at most {LONGEST_CELL}" for n, length in lengths if length > LONGEST_CELL]


def no_absolute_path(page: Page) -> list[str]:
    """No path of one machine in what is written or in what was put out."""
    problems = []
    for number, cell in enumerate(page.nb.cells, start=1):
        texts = [("source", cell.source), ("metadata", json.dumps(cell.metadata))]
        if cell.cell_type == "code":
            texts += [("output", text) for output in cell.outputs for text in _texts(output)]
        for where, text in texts:
            problems += [f"cell {number}, {where}: the path {match[0]}" for match in _PATH.finditer(text)]
    return problems


def _texts(output: Any) -> list[str]:
    """Every text of an output: stream, traceback, and the textual forms of a result."""
    data = [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    found = [output.get("text", ""), *output.get("traceback", []), *data]
    return [text if isinstance(text, str) else "".join(text) for text in found]


def is_call_of(cell: Any, attribute: str) -> bool:
    """Whether a cell calls something named ``attribute``, as in ``runtime.report()``."""
    tree = parse(cell)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
    return any(getattr(call, "attr", getattr(call, "id", "")) == attribute for call in calls)
