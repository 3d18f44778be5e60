"""The question bank: strict about its file, and truthful about what is answered."""

import re

import nbformat
import pytest

from book.questions import BANK, load, page_file, targets, topic

GOOD = {
    "id": "adam",
    "en": "How does Adam work?",
    "zh": "adam优化器原理",
    "page": "interview/optimization",
    "difficulty": "basic",
    "asked": "explain",
}
PAGE = """\
## Interview questions

(q-adam)=
### How does Adam work?

**30-second answer.** It divides the mean gradient by
the root of its mean square.

**Why it is asked.** To see whether you know $\\epsilon$.

(q-sgd)=
### And SGD?

**Why it is asked.** No short answer here.
"""


def write(folder, entries):
    lines = []
    for entry in entries:
        lines += [f"{'- ' if place == 0 else '  '}{key}: {value}" for place, (key, value) in enumerate(entry.items())]
    path = folder / "questions.yml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def chapters(tmp_path):
    (tmp_path / "interview").mkdir()
    cells = [nbformat.v4.new_markdown_cell("# Optimization"), nbformat.v4.new_markdown_cell(PAGE)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "interview" / "optimization.ipynb")
    return tmp_path


def test_a_question_is_answered_when_its_page_holds_the_target(chapters):
    (question,) = load(write(chapters, [GOOD]))
    assert question.state == "answered"
    assert question.anchor == "q-adam"
    assert question.thirty_seconds == "It divides the mean gradient by the root of its mean square."
    assert question.topic == "Optimization"
    assert (question.difficulty, question.asked, question.from_notes) == ("basic", "explain", False)


def test_a_short_answer_is_not_taken_from_the_next_question(chapters):
    assert targets(chapters / "interview" / "optimization.ipynb")["q-sgd"] is None


def test_a_markdown_page_answers_as_a_notebook_does(chapters):
    (chapters / "interview" / "advice.md").write_text(f"# Advice\n\n{PAGE}", encoding="utf-8")
    in_notebook, in_markdown = load(write(chapters, [GOOD, GOOD | {"id": "sgd", "page": "interview/advice"}]))
    assert in_markdown.state == "answered"
    assert in_markdown.thirty_seconds is None
    held = targets(chapters / "interview" / "advice.md")
    assert held == targets(chapters / "interview" / "optimization.ipynb")
    assert held["q-adam"] == in_notebook.thirty_seconds


def test_of_a_notebook_and_a_markdown_file_the_notebook_is_the_page(chapters):
    (chapters / "interview" / "optimization.md").write_text("# Notes\n", encoding="utf-8")
    assert page_file("interview/optimization", chapters).suffix == ".ipynb"
    assert load(write(chapters, [GOOD]))[0].state == "answered"


@pytest.mark.parametrize("change", [{"id": "adamw"}, {"page": "interview/missing"}])
def test_a_question_without_page_or_target_is_open(chapters, change):
    (question,) = load(write(chapters, [GOOD | change]))
    assert question.state == "open"
    assert question.thirty_seconds is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([GOOD, GOOD], "id 'adam' is used 2 times"),
        ([{key: value for key, value in GOOD.items() if key != "zh"}], "question 1: missing zh"),
        ([GOOD | {"difficulty": "hard"}], "difficulty must be one of basic, intermediate, advanced, got 'hard'"),
        ([GOOD | {"asked": "politely"}], "asked must be one of explain"),
        ([GOOD | {"from": "me"}], "from must be notes, or left out"),
        ([GOOD | {"answer": "yes"}], "unknown answer"),
        ([GOOD | {"id": "Adam W"}], "id must be lower-case words"),
        ([GOOD | {"page": "optimization"}], "page must be chapter/page"),
        ([GOOD | {"page": "../secret"}], "page must be chapter/page"),
        ([GOOD | {"state": "answered"}], "state must be open, or left out"),
        ([GOOD | {"en": 7}], "en must be text, got 7"),
        ([GOOD | {"en": ""}], "en must be text, got None"),
        ([GOOD, GOOD | {"id": "x", "note": "[]"}], "question 2: note must be text"),
    ],
)
def test_a_broken_bank_is_refused(tmp_path, entries, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(write(tmp_path, entries))


@pytest.mark.parametrize("text", ["", "id: adam\n", "- just text\n"])
def test_what_is_no_list_of_questions_is_refused(tmp_path, text):
    path = tmp_path / "questions.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"questions\.yml"):
        load(path)


def test_the_bank_of_the_book_is_whole():
    questions = load(BANK)
    assert sum(question.from_notes for question in questions) == 48
    assert all(re.search(r"[\u4e00-\u9fff]|RoPE|AUC|prenorm", question.zh) for question in questions)
    for question in questions:
        held = targets(page_file(question.page))
        assert (question.state == "answered") == (question.anchor in held)


def test_topics_read_as_titles():
    assert topic("interview/word_vectors") == "Word vectors"
    assert topic("interview/llm_families") == "LLM families"
