"""A page and the book around it, as the rules see them.

The model reads files and answers questions such as "which targets are there"; it judges nothing.
"""

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from book import notebooks, questions

FENCE = re.compile(r"^(`{3,}|~{3,}|:{3,})(.*?)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)


def without_code(markdown: str) -> str:
    """Markdown without its literal code blocks; what stands in a directive stays."""

    def keep(match: re.Match[str]) -> str:
        return match[0] if match[2].lstrip().startswith("{") and "{code" not in match[2] else ""

    return FENCE.sub(keep, markdown)


def string_constants(tree: ast.AST) -> list[str]:
    """All string literals of a cell, the fixed parts of f-strings included."""
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@dataclass(frozen=True)
class Book:
    """The sources of the book under one root: ``chapters/``, ``index.md``, ``_toc.yml``."""

    root: Path = notebooks.ROOT

    @property
    def chapters(self) -> Path:
        """The folder of the chapters."""
        return self.root / "chapters"

    @cached_property
    def notebooks(self) -> dict[str, Any]:
        """Every notebook by its document name, ``chapters/serving/kv_cache``."""
        return {self._name(path): notebooks.read(path) for path in notebooks.pages(self.chapters)}

    @cached_property
    def documents(self) -> dict[str, str]:
        """The Markdown of every document, notebooks and plain Markdown alike, by document name."""
        found = [self.root / "index.md", *self.chapters.rglob("*.md")]
        texts = {self._name(path): path.read_text(encoding="utf-8") for path in sorted(found) if path.exists()}
        return texts | {name: markdown(nb) for name, nb in self.notebooks.items()}

    @cached_property
    def labels(self) -> list[str]:
        """Every target of a cross-reference, in the order of the documents, repeats kept."""
        named = [label for text in self.documents.values() for label in labels_in(text)]
        return named + [name for nb in self.notebooks.values() for name in figure_names(nb)]

    @cached_property
    def terms(self) -> set[str]:
        """The terms of all glossaries, in lower case, as Sphinx falls back to."""
        blocks = [m[3] for text in self.documents.values() for m in FENCE.finditer(text) if "{glossary}" in m[2]]
        lines = [line for block in blocks for line in block.splitlines() if line and not line[0].isspace()]
        return {line.strip().lower() for line in lines if not line.startswith(":")}

    @cached_property
    def citation_keys(self) -> set[str]:
        """The keys of chapters/references.bib."""
        path = self.chapters / "references.bib"
        return set(re.findall(r"@\w+\{\s*([^,\s]+)\s*,", path.read_text(encoding="utf-8"))) if path.exists() else set()

    @cached_property
    def contents(self) -> list[str]:
        """The documents that _toc.yml lists, without suffix, repeats kept."""
        path = self.root / "_toc.yml"
        found: list[str] = []
        waiting: list[Any] = [yaml.safe_load(path.read_text(encoding="utf-8"))] if path.exists() else []
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                found += [node[key] for key in ("root", "file") if key in node]
                waiting += node.values()
            elif isinstance(node, list):
                waiting += node
        return [re.sub(r"\.(md|ipynb)$", "", name) for name in found]

    @cached_property
    def bank(self) -> tuple[list[dict[str, str]], list[str]]:
        """The well-formed entries of chapters/questions.yml, and what is wrong with the others."""
        path = self.chapters / questions.BANK.name
        return questions.read_bank(path) if path.exists() else ([], [])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).with_suffix("").as_posix()


@dataclass(frozen=True)
class Page:
    """One notebook of a book."""

    path: Path
    nb: Any
    book: Book

    @classmethod
    def load(cls, path: Path, book: Book | None = None) -> "Page":
        """The page at ``path``."""
        return cls(path, notebooks.read(path), book or Book())

    @property
    def name(self) -> str:
        """Name as make targets take it."""
        return notebooks.page_name(self.path, self.book.chapters)

    @property
    def document(self) -> str:
        """Name as the site takes it."""
        return f"chapters/{self.name}"

    @cached_property
    def code(self) -> list[tuple[int, Any]]:
        """Code cells with their number among all cells, from 1: what a reader counts."""
        return [(i, cell) for i, cell in enumerate(self.nb.cells, start=1) if cell.cell_type == "code"]

    @cached_property
    def prose(self) -> list[tuple[int, str]]:
        """Markdown cells with their number among all cells, from 1."""
        return [(i, cell.source) for i, cell in enumerate(self.nb.cells, start=1) if cell.cell_type == "markdown"]


def markdown(nb: Any) -> str:
    """All Markdown of a notebook as one text."""
    return "\n\n".join(notebooks.source(cell) for cell in nb["cells"] if cell["cell_type"] == "markdown")


def parse(cell: Any) -> ast.Module | None:
    """The syntax tree of a code cell, None where it is not plain Python."""
    try:
        return ast.parse(notebooks.source(cell))
    except SyntaxError:
        return None


def figure_names(nb: Any) -> list[str]:
    """The targets that code cells give to their figures."""
    options = (cell.get("metadata", {}).get("mystnb", {}).get("figure", {}) for cell in nb["cells"])
    return [option["name"] for option in options if "name" in option]


def labels_in(text: str) -> list[str]:
    """The targets that a Markdown text sets: ``(name)=``, ``$$ (name)``, ``:name:`` and ``:label:``."""
    text = without_code(text)
    patterns = (r"^\(([^()\s]+)\)=[ \t]*$", r"\$\$[ \t]*\(([^()\s]+)\)[ \t]*$", r"^[ \t]*:(?:name|label):[ \t]*(\S+)")
    return [label for pattern in patterns for label in re.findall(pattern, text, flags=re.MULTILINE)]


def heading_slugs(text: str) -> set[str]:
    """The anchors that headings get by themselves, as GitHub spells them."""
    titles = re.findall(r"^#{1,6}[ \t]+(.+?)[ \t]*$", without_code(text), flags=re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\- ]", "", title.lower())) for title in titles}
