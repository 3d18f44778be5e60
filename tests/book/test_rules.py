"""Every rule accepts the good book of conftest.py, and rejects it once it is broken in the way that the rule is for."""

import base64
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from book import notebooks
from book.rules import BOOK_RULES, PAGE_RULES, Book, Page

PAGE = "chapters/serving/good.ipynb"
RULES = {
    rule.__name__ if rule not in BOOK_RULES else f"book:{rule.__name__}": rule for rule in (*PAGE_RULES, *BOOK_RULES)
}


def problems_of(name: str, root: Path) -> list[str]:
    book, rule = Book(root), RULES[name]
    return rule(book) if rule in BOOK_RULES else rule(Page.load(root / PAGE, book))


def edit(root: Path, change: Callable[[Any], None]) -> None:
    nb = notebooks.read(root / PAGE)
    change(nb)
    notebooks.write(root / PAGE, nb)


def source(index: int, old: str, new: str) -> Callable[[Path], None]:
    """Replace a piece of the source of a cell; the piece must be there."""

    def change(nb: Any) -> None:
        assert old in nb.cells[index].source
        nb.cells[index].source = nb.cells[index].source.replace(old, new)

    return lambda root: edit(root, change)


def output(index: int, **fields: Any) -> Callable[[Path], None]:
    """Put an output in the place of those of a cell."""

    def change(nb: Any) -> None:
        nb.cells[index].outputs = [nbformat.from_dict(fields)]

    return lambda root: edit(root, change)


def data(index: int, **kinds: str) -> Callable[[Path], None]:
    named = {kind.replace("_", "/", 1): value for kind, value in kinds.items()}
    return output(index, output_type="display_data", metadata={}, data=named)


def meta(index: int, **fields: Any) -> Callable[[Path], None]:
    return lambda root: edit(root, lambda nb: nb.cells[index].metadata.update(nbformat.from_dict(fields)))


def text(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace a piece of a file that is not a notebook."""

    def change(root: Path) -> None:
        before = (root / name).read_text(encoding="utf-8")
        assert old in before
        (root / name).write_text(before.replace(old, new), encoding="utf-8")

    return change


def drop(first: int, last: int) -> Callable[[Path], None]:
    return lambda root: edit(root, lambda nb: nb.cells.__delitem__(slice(first, last)))


def every(indices: range, change: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda root: edit(root, lambda nb: [change(nb.cells[i]) for i in indices])


def clear_count(cell: Any) -> None:
    cell.execution_count = None


def repeat_figure_cells(nb: Any) -> None:
    nb.cells[FIGURE:FIGURE] = [copy.deepcopy(nb.cells[FIGURE]) for _ in range(6)]
    for index, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{index:02d}"


SETUP, REPORT, BODY, PRINTS, FIGURE, TIMED, EXERCISE, SOLUTION, QUESTION, SOURCES = 1, 2, 3, 4, 14, 19, 20, 21, 22, 23
BIG = base64.b64encode(b"\x89PNG" + b"x" * 60_000).decode()
STREAM = {"output_type": "stream", "name": "stdout"}

BROKEN: list[tuple[str, str, Callable[[Path], None]]] = [
    ("canonical_file", "canonical", text(PAGE, '"nbformat": 4', '"nbformat":  4')),
    ("canonical_file", "canonical", text(PAGE, '"metadata": {}', '"metadata": {"execution": {"time": 1}}')),
    ("executed_in_order", "wanted 3", every(range(PRINTS, PRINTS + 1), clear_count)),
    ("executed_in_order", "wanted 2", drop(SETUP, SETUP + 1)),
    ("executed_in_order", "empty", source(PRINTS, "print(0 + 0)", " ")),
    ("plain_python", "not plain", source(PRINTS, "print(0 + 0)", "%timeit 1")),
    ("plain_python", "not plain", source(PRINTS, "print(0 + 0)", "!ls")),
    ("tags_only", "NBVAL_IGNORE_OUTPUT", source(PRINTS, "print", "# NBVAL_IGNORE_OUTPUT\nprint")),
    ("tags_only", "NBVAL_SKIP", source(PRINTS, "print", "## NBVAL_SKIP\nprint")),
    ("tags_only", "pytest-validate-ignore-output", meta(PRINTS, tags=["pytest-validate-ignore-output"])),
    ("tags_only", "remove-output", meta(PRINTS, tags=["remove-output"])),
    ("tags_only", "nbval-skip", meta(PRINTS, tags=["nbval-skip"])),
    ("no_trailing_semicolon", "ends in", source(PRINTS, "print(0 + 0)", "print(0 + 0);")),
    ("no_trailing_semicolon", "ends in", source(PRINTS, "print(0 + 0)", "print(0);  # quiet\n\n# the end")),
    ("short_cells", "41 lines", source(PRINTS, "print(0 + 0)", "x = 1\n" * 40 + "x")),
    ("no_absolute_path", "/home/me", source(PRINTS, "print(0 + 0)", "open('/home/me/x')")),
    ("no_absolute_path", "/tmp", source(BODY, "## Body", "## Body in /tmp/x")),
    ("no_absolute_path", "/srv/.cache", output(PRINTS, **STREAM, text="read /srv/.cache/kb")),
    ("no_absolute_path", "/content", data(PRINTS, text_plain="'/content/kb'")),
    ("no_absolute_path", "site-packages", output(PRINTS, **STREAM, text="lib/site-packages/torch")),
    ("no_absolute_path", "C:\\", output(PRINTS, **STREAM, text="C:\\Users\\me")),
    ("no_absolute_path", "C:/Users", output(PRINTS, **STREAM, text="'C:/Users/me'")),
    ("no_absolute_path", "D:\\\\data", output(PRINTS, **STREAM, text=repr("D:\\data"))),
    ("no_absolute_path", "/srv/.cache", output(PRINTS, **STREAM, text="cache:/srv/.cache/kb")),
    ("no_absolute_path", "/workspace", output(PRINTS, **STREAM, text="in /workspace/kb")),
    ("no_absolute_path", "~/notes", source(BODY, "## Body", "## Body in ~/notes")),
    ("no_absolute_path", "metadata: the path /home/me", meta(PRINTS, origin="/home/me/x.ipynb")),
    ("no_stored_error", "ValueError", output(PRINTS, output_type="error", ename="ValueError", evalue="", traceback=[])),
    ("no_stderr", "stderr", output(PRINTS, output_type="stream", name="stderr", text="100%|###|")),
    ("no_memory_address", "at 0x7f55", output(PRINTS, **STREAM, text="<Legend at 0x7f55>")),
    ("no_memory_address", "at 0x7f55", data(FIGURE, text_plain="<matplotlib.legend.Legend at 0x7f55>")),
    ("png_only", "image/svg", data(FIGURE, **{"image_svg+xml": "<svg/>", "text_plain": "1"})),
    ("png_only", "image/jpeg", data(FIGURE, image_jpeg="aaaa")),
    ("png_only", "widget", data(FIGURE, **{"application_vnd.jupyter.widget-view+json": "{}"})),
    ("png_only", "no text", data(FIGURE, text_html="<b>x</b>", text_plain="<IPython.core.display.HTML object>")),
    ("png_only", "no text", data(FIGURE, text_html="<b>x</b>")),
    ("png_only", "<svg>", data(FIGURE, text_html="<p><SVG></SVG>", text_plain="a table")),
    ("png_only", "<script>", data(FIGURE, text_html="<script>x()</script>", text_plain="a table")),
    ("small_pngs", "60,004 bytes", data(FIGURE, image_png=BIG)),
    ("alt_text", "alt text ''", meta(FIGURE, mystnb={})),
    ("alt_text", "alt text 'Plot'", meta(FIGURE, mystnb={"image": {"alt": "Plot"}})),
    (
        "alt_text",
        "another figure",
        meta(FIGURE, mystnb={"image": {"alt": "A line that rises from left to right, number 1."}}),
    ),
    (
        "alt_text",
        "2 figures",
        lambda root: edit(root, lambda nb: nb.cells[FIGURE].outputs.append(nb.cells[FIGURE].outputs[-1])),
    ),
    (
        "mostly_compared",
        "of 18",
        every(range(PRINTS, PRINTS + 10), lambda cell: cell.metadata.update(tags=["nbval-ignore-output"])),
    ),
    ("mostly_compared", "of 18", every(range(PRINTS, PRINTS + 10), lambda cell: cell.outputs[0].update(text="True\n"))),
    (
        "mostly_compared",
        "of 18",
        every(range(PRINTS, PRINTS + 10), lambda cell: cell.outputs[0].update(text="(2, 3)\n")),
    ),
    (
        "mostly_compared",
        "of 18",
        every(
            range(PRINTS, PRINTS + 10),
            lambda cell: cell.update(source="print(42)", outputs=[nbformat.from_dict({**STREAM, "text": "42\n"})]),
        ),
    ),
    (
        "mostly_compared",
        "of 18",
        every(
            range(PRINTS, PRINTS + 10),
            lambda cell: cell.update(
                source="print('all of 7 equal')", outputs=[nbformat.from_dict({**STREAM, "text": "all of 7 equal\n"})]
            ),
        ),
    ),
    ("ignored_cells_assert", "asserts nothing", source(TIMED, "assert time.time() > 0", "")),
    *(
        ("ignored_cells_assert", "asserts nothing", source(TIMED, "assert time.time() > 0", instead))
        for instead in (
            "assert True",
            "assert 1 == 1",
            "assert not False",
            "assert time == time",
            "def check():\n    assert time.time() > 0",
            "if False:\n    assert time.time() > 0",
            "try:\n    assert time.time() < 0\nexcept AssertionError:\n    pass",
        )
    ),
    ("opening", "begins with", source(0, "# A good page", "A good page")),
    ("opening", "2 headings", source(BODY, "## Body", "# Body")),
    ("opening", "1 sentences", source(0, " And in a second one.", "")),
    ("opening", "**Prerequisites**", source(0, "**Prerequisites** None at all.", "**Prerequisites**")),
    ("opening", "**Cost**", source(0, "**Cost**", "Cost")),
    ("setup_first", "differs", source(SETUP, "\n", "\n# changed\n")),
    ("setup_first", "tags setup", meta(SETUP, tags=["nbval-ignore-output"])),
    ("setup_first", "report", source(REPORT, "runtime.report()", "runtime.report")),
    ("setup_first", "nbval-ignore-output", meta(REPORT, tags=[])),
    ("named_columns", "without a name", source(BODY, "## Body", "| | A |\n|---|---|\n| b | 1 |\n\n## Body")),
    ("named_columns", "$x$", source(BODY, "## Body", "| B | $x$ |\n|---|:-:|\n| b | 1 |\n\n## Body")),
    ("exercises", "no `## Exercises`", source(EXERCISE, "## Exercises", "## Tasks")),
    ("exercises", "wanted `### Exercise 1`", source(EXERCISE, "### Exercise 1", "### Exercise 2")),
    ("exercises", "no task", source(EXERCISE, "Add one and one.", "")),
    ("exercises", "no code cell", drop(SOLUTION, SOLUTION + 1)),
    ("exercises", "tagged solution", meta(SOLUTION, tags=["solution"])),
    ("exercises", "asserts nothing", source(SOLUTION, "assert two == 2", "two == 2")),
    ("exercises", "asserts nothing", source(SOLUTION, "assert two == 2", "assert 1 + 1 == 2")),
    ("interview_questions", "no `## Interview", source(QUESTION, "## Interview questions", "## Questions")),
    ("interview_questions", "no target", source(QUESTION, "(q-good-page)=", "(good-page)=")),
    ("interview_questions", "in this order", source(QUESTION, "**Why it is asked.**", "**Why.**")),
    ("interview_questions", "nothing after **Follow-ups.**", source(QUESTION, " *And a bad one?* Any other.", "")),
    ("interview_questions", "a link in the 30-second answer", source(QUESTION, "One that", "[One](other.ipynb) that")),
    ("interview_questions", "81 words", source(QUESTION, "One that all rules accept.", "word " * 81)),
    ("sources", "0 sections", source(SOURCES, "## Sources", "## Notes")),
    ("sources", "cites nothing", source(SOURCES, "{cite:t}`someone2020title`", "someone")),
    ("code_cells", "14 code cells", drop(PRINTS, PRINTS + 5)),
    ("words", "wanted 2,000", source(BODY, "word word ", "word ")),
    ("words", "wanted 2,000", source(BODY, "word " * 2000, "```{tip}\n:class: " + "word " * 2000 + "\n```")),
    ("words", "wanted 2,000", source(BODY, "word " * 2000, "```python\n" + "word " * 2000 + "\n```")),
    ("figures", "3 figures", drop(FIGURE, FIGURE + 2)),
    ("figures", "11 figures", lambda root: edit(root, repeat_figure_cells)),
    ("citations", "nobody1999", source(BODY, "someone2020title", "nobody1999")),
    ("citations", "someone2020title", text("chapters/references.bib", "someone2020title", "someone2021title")),
    ("cross_references", "fig-9", source(BODY, "fig-0", "fig-9")),
    ("cross_references", "eq-sum", source(BODY, "$$ (eq-sum)", "$$")),
    ("cross_references", "KV cash", source(BODY, "KV cache", "KV cash")),
    ("cross_references", "no document", source(BODY, "`../glossary`", "`glossary`")),
    ("cross_references", "q-bad", source(SOURCES, "- The page", "- {ref}`the page <q-bad>`")),
    ("local_links", "../glosary.md", source(BODY, "../glossary.md", "../glosary.md")),
    ("local_links", "#bodies", source(BODY, "#body", "#bodies")),
    ("local_links", "glossary.md#none", source(BODY, "../glossary.md", "../glossary.md#none")),
    ("book:contents_agree", "not in _toc.yml", text("_toc.yml", "- file: chapters/glossary\n", "")),
    (
        "book:contents_agree",
        "does not exist",
        text("_toc.yml", "- file: chapters/glossary\n", "- file: chapters/gone\n"),
    ),
    ("book:contents_agree", "2 times", text("_toc.yml", "chapters:\n", "chapters:\n- file: chapters/glossary\n")),
    ("book:targets_are_unique", "q-good-page", text("index.md", "# Home", "(q-good-page)=\n# Home")),
    ("book:documents_resolve", "better.ipynb", text("index.md", "good.ipynb", "better.ipynb")),
    ("book:documents_resolve", "nobody1999", text("index.md", "# Home", "# Home\n\n{cite}`nobody1999`")),
]


@pytest.mark.parametrize("name", RULES)
def test_the_good_book_passes(name: str, book_root: Path) -> None:
    assert problems_of(name, book_root) == []


@pytest.mark.parametrize(
    ("name", "message", "damage"), BROKEN, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(BROKEN)]
)
def test_a_broken_book_is_reported(name: str, message: str, damage: Callable[[Path], None], book_root: Path) -> None:
    damage(book_root)
    found = problems_of(name, book_root)
    assert any(message in problem for problem in found), found


def test_every_rule_is_shown_able_to_fail() -> None:
    elsewhere = {"long_answers", "book:advice", "book:question_bank"}  # test_answers.py and test_bank_rule.py beside
    assert {name for name, *_ in BROKEN} == set(RULES) - elsewhere


@pytest.mark.parametrize(
    "harmless",
    [
        source(BODY, "## Body", "See https://example.org/home/x, compute/work and `1/root`.\n\n## Body"),
        source(BODY, "## Body", "Written `{cite}` or [so](https://example.org/a#b).\n\n## Body"),
        source(BODY, "## Body", "```{admonition} Note\n:class: tip\nAn option is no text.\n```\n\n## Body"),
        source(PRINTS, "print(0 + 0)", 'print(";")'),
        source(PRINTS, "print(0 + 0)", 'print("A:\\n", 0)'),
    ],
)
def test_what_only_looks_wrong_is_accepted(harmless: Callable[[Path], None], book_root: Path) -> None:
    harmless(book_root)
    assert {name: found for name in RULES if (found := problems_of(name, book_root))} == {}
