"""The question bank: every interview question of the notes and of the pages, in English and Chinese, with its answer.

Every question is answered: its page, a notebook or a Markdown file, holds the MyST target ``(q-<id>)=`` and below it a
paragraph that begins ``**30-second answer.**``. The short answer shown in the bank is that paragraph, read from the
page, so that the two cannot differ. ``load`` refuses a bank of which this is not true, and a rule of the book reports
it, both with all that is wrong.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from book.notebooks import CHAPTERS, read, source

BANK = CHAPTERS / "questions.yml"

DIFFICULTIES = ("basic", "intermediate", "advanced")
# How one is asked, and how the site words it.
ASKED = {
    "explain": "to explain",
    "compare": "to compare",
    "derive": "to derive",
    "calculate": "to calculate",
    "implement": "to write code",
    "diagnose": "to find what is wrong",
    "decide": "to decide or design",
    "experience": "about yourself",
}

_NEEDED = ("id", "en", "zh", "page", "difficulty", "asked")
_OPTIONAL = ("note", "from")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PAGE = re.compile(r"[a-z0-9_]+/[a-z0-9_]+")
_TARGET = re.compile(r"^\(([^()\s]+)\)=\s*$", re.MULTILINE)
_ANSWER = re.compile(r"^\*\*30-second answer\.\*\*\s*(.+?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)

# Page names that do not read as a title once their underscores are spaces.
_TOPICS = {
    "activations_gradients": "Activations and gradients",
    "auto_cot": "Auto-CoT",
    "contrastive": "Contrastive learning",
    "finetuning": "Fine-tuning",
    "kv_cache": "KV cache",
    "llm_families": "LLM families",
    "llm_practice": "LLMs in practice",
    "numpy_backprop": "Backprop in NumPy",
    "positions": "Position encodings",
    "race": "Boosting in practice",
    "smoe_and_mmoe": "SMoE and MMoE",
    "sparse_moe": "Sparse MoE",
    "vision_language": "Vision and language",
    "vllm": "vLLM",
}


@dataclass(frozen=True)
class Question:
    """One question of the bank.

    Args:
        id: Short name, unique, in words joined by hyphens.
        en: The question in English.
        zh: The question in Chinese, as the notes word it.
        page: The page that answers it, such as ``serving/kv_cache``.
        difficulty: One of ``DIFFICULTIES``.
        asked: How one is asked, a key of ``ASKED``.
        from_notes: Whether it is a question of the notes, which was asked in an interview.
        note: What the notes got wrong or left open; empty if nothing.
        topic: What the page is about, as a title.
        thirty_seconds: The page's short answer, in Markdown.
    """

    id: str
    en: str
    zh: str
    page: str
    difficulty: str
    asked: str
    from_notes: bool
    note: str
    topic: str
    thirty_seconds: str

    @property
    def anchor(self) -> str:
        """The target on the page."""
        return f"q-{self.id}"


def topic(page: str) -> str:
    """The topic of a page: ``interview/word_vectors`` is about "Word vectors"."""
    name = page.rpartition("/")[2]
    return _TOPICS.get(name, name.replace("_", " ").capitalize())


def load(path: Path = BANK, *, chapters: Path | None = None) -> list[Question]:
    """The questions in the order of the file, all of them answered.

    Args:
        path: The bank, a YAML list.
        chapters: The folder that holds the pages; the bank's own folder if not given.

    Raises:
        ValueError: the file is no list of questions, a key is missing, unknown or of the wrong kind, an id is used
            twice, or a page does not answer its question; one line for each of these.
    """
    entries, problems = read_bank(path)
    files = {entry["page"]: page_file(entry["page"], chapters or path.parent) for entry in entries}
    held = {page: found for page, file in files.items() if (found := targets(file)) is not None}
    problems += [problem for entry in entries for problem in unanswered(entry, held.get(entry["page"]))]
    if problems:
        raise ValueError("\n".join(problems))
    return [
        Question(
            **{key: entry[key].strip() for key in _NEEDED},
            from_notes="from" in entry,
            note=entry.get("note", "").strip(),
            topic=topic(entry["page"]),
            thirty_seconds=held[entry["page"]][f"q-{entry['id']}"],
        )
        for entry in entries
    ]


def read_bank(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The entries of the bank that are well-formed, and what is wrong with the others."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        return [], [f"{path.name}: no YAML: {' '.join(str(error).split())}"]
    if not isinstance(found, list) or not found:
        return [], [f"{path.name}: wanted a list of questions, got {type(found).__name__}"]
    judged = [(entry, _malformed(entry, f"{path.name}, question {n}")) for n, entry in enumerate(found, start=1)]
    entries = [entry for entry, problem in judged if not problem]
    problems = [problem for _, problem in judged if problem]
    uses = Counter(entry["id"] for entry in entries)
    problems += [f"{path.name}: id {id_!r} is used {n} times, wanted once" for id_, n in uses.items() if n > 1]
    return entries, problems


def unanswered(entry: Mapping[str, str], held: Mapping[str, str] | None) -> list[str]:
    """What the page of a question lacks, of which ``held`` are the targets: itself, the target or the short answer."""
    anchor = f"q-{entry['id']}"
    if held is None:
        return [f"question {entry['id']}: there is no page chapters/{entry['page']}"]
    if anchor not in held:
        return [f"question {entry['id']}: chapters/{entry['page']} holds no target ({anchor})="]
    if not held[anchor]:
        return [f"question {entry['id']}: chapters/{entry['page']} has no **30-second answer.** below ({anchor})="]
    return []


def page_file(page: str, chapters: Path = CHAPTERS) -> Path:
    """The file of a page: its notebook, or its Markdown where there is no notebook; perhaps neither is there."""
    notebook = chapters / f"{page}.ipynb"
    return notebook if notebook.is_file() else notebook.with_suffix(".md")


def targets(page: Path) -> dict[str, str] | None:
    """The question targets of the page in a file, each with its short answer; None where there is no file."""
    if not page.is_file():
        return None
    if page.suffix == ".md":
        return targets_in(page.read_text(encoding="utf-8"))
    cells = (cell for cell in read(page)["cells"] if cell["cell_type"] == "markdown")
    return targets_in("\n\n".join(source(cell) for cell in cells))


def targets_in(text: str) -> dict[str, str]:
    """The question targets of a Markdown text, each with its short answer, which is empty where there is none."""
    marks = list(_TARGET.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        if mark[1].startswith("q-"):
            answer = _ANSWER.search(text, mark.end(), end)
            found[mark[1]] = " ".join(answer[1].split()) if answer else ""
    return found


def _malformed(entry: Any, where: str) -> str:
    """What is wrong with the form of an entry, empty where nothing is."""
    if not isinstance(entry, dict):
        return f"{where}: wanted keys and values, got {type(entry).__name__}"
    missing = [key for key in _NEEDED if key not in entry]
    unknown = [str(key) for key in entry if key not in (*_NEEDED, *_OPTIONAL)]
    if missing or unknown:
        problem = f"missing {', '.join(missing)}" if missing else f"unknown {', '.join(unknown)}"
        return f"{where}: {problem}; wanted {', '.join(_NEEDED)} and perhaps {', '.join(_OPTIONAL)}"
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            return f"{where}: {key} must be text, got {value!r}"
    for key, pattern, wanted in (
        ("id", _ID, "lower-case words joined by hyphens"),
        ("page", _PAGE, "chapter/page, such as serving/kv_cache"),
        ("difficulty", re.compile("|".join(DIFFICULTIES)), f"one of {', '.join(DIFFICULTIES)}"),
        ("asked", re.compile("|".join(ASKED)), f"one of {', '.join(ASKED)}"),
        ("from", re.compile("notes"), "notes, or left out"),
    ):
        if key in entry and not pattern.fullmatch(entry[key]):
            return f"{where}: {key} must be {wanted}, got {entry[key]!r}"
    return ""
