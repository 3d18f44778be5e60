"""A small book that every rule accepts, for tests to break; it is written into the folder of the test."""

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from book import notebooks, setup_cell

OPENING = """# A good page

It answers in one sentence. And in a second one.

**You will be able to** tell a good page from a bad one.

**Prerequisites** None at all.

**Cost** One second on 2 CPU cores.
"""
BODY = """## Body

See {{numref}}`fig-0`, {{eq}}`eq-sum`, {{term}}`KV cache`, {{doc}}`../glossary`, [the glossary](../glossary.md) and
[above](#body), as {{cite:p}}`someone2020title` says.

$$ a = b $$ (eq-sum)

{words}
"""
QUESTION = """## Interview questions

(q-good-page)=
### What is a good page?

**30-second answer.** One that all rules accept.

**Why it is asked.** To find out.

**Follow-ups.** *And a bad one?* Any other.
"""


def png(noise: int = 0) -> bytes:
    """A valid PNG of one pixel; ``noise`` bytes of incompressible text make it larger."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    body = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0\1\2\3")), chunk(b"tEXt", b"n\0" + b"x" * noise)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IEND", b"")


def code(source: str, *tags: str, out: str = "", figure: str = "") -> Any:
    """A code cell with what it printed and, where ``figure`` is an alt text, a figure."""
    cell = nbformat.v4.new_code_cell(source.strip())
    cell.metadata = nbformat.from_dict({"tags": list(tags)} if tags else {})
    if out:
        cell.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=out))
    if figure:
        cell.metadata["mystnb"] = {"image": {"alt": figure}}
        data = {"image/png": base64.b64encode(png()).decode(), "text/plain": "<Figure size 814x374 with 1 Axes>"}
        cell.outputs.append(nbformat.v4.new_output("display_data", data=data))
    return cell


def good_cells() -> list[Any]:
    """The cells of a page that all rules accept."""
    say = nbformat.v4.new_markdown_cell
    figures = [
        code(f"draw({n})", figure=f"A line that rises from left to right, number {n}.", out=f"{n}.5\n")
        for n in range(5)
    ]
    figures[0].metadata["mystnb"]["figure"] = {"name": "fig-0", "caption": "A line."}
    cells = [
        say(OPENING),
        code(setup_cell.text(), "setup", "nbval-ignore-output"),
        code("from kb import runtime\n\nruntime.report()", "versions", "nbval-ignore-output", out="2 cores\n"),
        say(BODY.format(words="word " * 2000)),
        *(code(f"print({n} + {n})", out=f"{2 * n}\n") for n in range(10)),
        *figures,
        code("import time\n\nassert time.time() > 0\nprint(time.time())", "nbval-ignore-output", out="1.5\n"),
        say("## Exercises\n\n### Exercise 1\n\nAdd one and one."),
        code("two = 1 + 1\nprint(two)\nassert two == 2", "solution", "hide-cell", out="2\n"),
        say(QUESTION),
        say("## Sources\n\n- The page: {cite:t}`someone2020title`."),
    ]
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index:02d}"
    return cells


def number(nb: Any) -> None:
    """Give the code cells their execution counts."""
    for count, cell in enumerate(notebooks.code_cells(nb), start=1):
        cell["execution_count"] = count


@pytest.fixture
def book_root(tmp_path: Path) -> Path:
    """The root of a book with one page, ``serving/good``."""
    files = {
        "index.md": "# Home\n\n[The page](chapters/serving/good.ipynb)\n",
        "_toc.yml": "root: index\nchapters:\n- file: chapters/serving/good.ipynb\n- file: chapters/glossary\n",
        "chapters/glossary.md": "# Glossary\n\n```{glossary}\nKV cache\n  What is kept.\n```\n",
        "chapters/references.bib": "@article{someone2020title,\n  title = {Title},\n}\n",
        "chapters/questions.yml": (
            "- {difficulty: basic, asked: explain, id: good-page, en: 'What is it?', zh: 是什么, page: serving/good}\n"
        ),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    nb = nbformat.v4.new_notebook(cells=good_cells())
    number(nb)
    path = tmp_path / "chapters/serving/good.ipynb"
    path.parent.mkdir()
    notebooks.write(path, nb)
    return tmp_path


@pytest.fixture
def make_page(tmp_path: Path) -> Callable[..., Path]:
    """Writes a notebook of code cells that were never run: ``make_page("small", ["x = 1", "print(x)"])``."""

    def write(name: str, sources: list[str]) -> Path:
        path = tmp_path / "chapters" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        notebooks.write(path, nb)
        return path

    return write
