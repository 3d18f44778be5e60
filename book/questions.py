"""The question bank: every interview question of the notes, in English and Chinese, and whether the book answers it.

A question is answered when its page, a notebook or a Markdown file, exists and holds the MyST target ``(q-<id>)=``;
until then the bank marks it ``state: open``, and the site says so. A rule of the book finds where the two disagree. The
short answer shown in the bank is the paragraph that begins ``**30-second answer.**`` below that target, read from the
page, so that the two cannot differ.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
_OPTIONAL = ("note", "state", "from")
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
        page: The page that answers it or will, such as ``serving/kv_cache``.
        difficulty: One of ``DIFFICULTIES``.
        asked: How one is asked, a key of ``ASKED``.
        from_notes: Whether it is a question of the notes, which was asked in an interview.
        note: What the notes got wrong or left open; empty if nothing.
        topic: What the page is about, as a title.
        state: ``answered`` where the page holds the target, else ``open``.
        thirty_seconds: The page's short answer, in Markdown; None where there is none.
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
    state: Literal["answered", "open"]
    thirty_seconds: str | None

    @property
    def anchor(self) -> str:
        """The target on the page."""
        return f"q-{self.id}"


def topic(page: str) -> str:
    """The topic of a page: ``interview/word_vectors`` is about "Word vectors"."""
    name = page.rpartition("/")[2]
    return _TOPICS.get(name, name.replace("_", " ").capitalize())


def load(path: Path = BANK, *, chapters: Path | None = None) -> list[Question]:
    """The questions in the order of the file.

    Args:
        path: The bank, a YAML list.
        chapters: The folder that holds the pages; the bank's own folder if not given.

    Raises:
        ValueError: the file is no list of questions, a key is missing, unknown or of the wrong kind, or an id is used
            twice.
    """
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path.name}: wanted a list of questions, got {type(entries).__name__}")
    answers: dict[str, dict[str, str | None]] = {}
    questions: list[Question] = []
    for number, entry in enumerate(entries, start=1):
        _validate(entry, f"{path.name}, question {number}")
        page = entry["page"]
        if page not in answers:
            answers[page] = targets(page_file(page, chapters or path.parent))
        anchor = f"q-{entry['id']}"
        questions.append(
            Question(
                **{key: entry[key].strip() for key in _NEEDED},
                from_notes="from" in entry,
                note=entry.get("note", "").strip(),
                topic=topic(page),
                state="answered" if anchor in answers[page] else "open",
                thirty_seconds=answers[page].get(anchor),
            )
        )
    _unique([question.id for question in questions], path.name)
    return questions


def page_file(page: str, chapters: Path = CHAPTERS) -> Path:
    """The file of a page: its notebook, or its Markdown where there is no notebook; perhaps neither is there."""
    notebook = chapters / f"{page}.ipynb"
    return notebook if notebook.is_file() else notebook.with_suffix(".md")


def targets(page: Path) -> dict[str, str | None]:
    """The question targets of the page in a file, each with its short answer or None; empty where there is no file."""
    if not page.is_file():
        return {}
    if page.suffix == ".md":
        text = page.read_text(encoding="utf-8")
    else:
        cells = (cell for cell in read(page)["cells"] if cell["cell_type"] == "markdown")
        text = "\n\n".join(source(cell) for cell in cells)
    marks = list(_TARGET.finditer(text))
    found: dict[str, str | None] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        if mark[1].startswith("q-"):
            answer = _ANSWER.search(text, mark.end(), following.start() if following else len(text))
            found[mark[1]] = " ".join(answer[1].split()) if answer else None
    return found


def _validate(entry: Any, where: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: wanted keys and values, got {type(entry).__name__}")
    missing = [key for key in _NEEDED if key not in entry]
    unknown = [str(key) for key in entry if key not in (*_NEEDED, *_OPTIONAL)]
    if missing or unknown:
        problem = f"missing {', '.join(missing)}" if missing else f"unknown {', '.join(unknown)}"
        raise ValueError(f"{where}: {problem}; wanted {', '.join(_NEEDED)} and perhaps {', '.join(_OPTIONAL)}")
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{where}: {key} must be text, got {value!r}")
    for key, pattern, wanted in (
        ("id", _ID, "lower-case words joined by hyphens"),
        ("page", _PAGE, "chapter/page, such as serving/kv_cache"),
        ("difficulty", re.compile("|".join(DIFFICULTIES)), f"one of {', '.join(DIFFICULTIES)}"),
        ("asked", re.compile("|".join(ASKED)), f"one of {', '.join(ASKED)}"),
        ("from", re.compile("notes"), "notes, or left out"),
        ("state", re.compile("open"), "open, or left out where the question is answered"),
    ):
        if key in entry and not pattern.fullmatch(entry[key]):
            raise ValueError(f"{where}: {key} must be {wanted}, got {entry[key]!r}")


def _unique(ids: list[str], name: str) -> None:
    twice = sorted({key for key in ids if ids.count(key) > 1})
    if twice:
        raise ValueError(f"{name}: id {twice[0]!r} is used {ids.count(twice[0])} times; every id must be unique")
