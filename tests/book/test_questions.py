"""The question bank: strict about its file, and about its pages, which answer every question."""

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
    (tmp_path / "interview" / "plain.md").write_text("# Without a target\n", encoding="utf-8")
    return tmp_path


def test_a_question_has_the_short_answer_of_its_page(chapters):
    (question,) = load(write(chapters, [GOOD]))
    assert question.anchor == "q-adam"
    assert question.thirty_seconds == "It divides the mean gradient by the root of its mean square."
    assert question.topic == "Optimization"
    assert (question.difficulty, question.asked, question.from_notes) == ("basic", "explain", False)


def test_a_short_answer_is_not_taken_from_the_next_question(chapters):
    assert targets(chapters / "interview" / "optimization.ipynb")["q-sgd"] == ""


def test_a_markdown_page_answers_as_a_notebook_does(chapters):
    (chapters / "interview" / "advice.md").write_text(f"# Advice\n\n{PAGE}", encoding="utf-8")
    (in_notebook,), (in_markdown,) = (
        load(write(chapters, [GOOD | {"page": page}])) for page in ("interview/optimization", "interview/advice")
    )
    assert in_markdown.thirty_seconds == in_notebook.thirty_seconds
    assert targets(chapters / "interview" / "advice.md") == targets(chapters / "interview" / "optimization.ipynb")


def test_of_a_notebook_and_a_markdown_file_the_notebook_is_the_page(chapters):
    (chapters / "interview" / "optimization.md").write_text("# Notes\n", encoding="utf-8")
    assert page_file("interview/optimization", chapters).suffix == ".ipynb"
    assert len(load(write(chapters, [GOOD]))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"page": "interview/missing"}, "question adam: there is no page chapters/interview/missing"),
        ({"page": "interview/plain"}, "question adam: chapters/interview/plain holds no target (q-adam)="),
        ({"id": "adamw"}, "question adamw: chapters/interview/optimization holds no target (q-adamw)="),
        ({"id": "sgd"}, "question sgd: chapters/interview/optimization has no **30-second answer.** below (q-sgd)="),
    ],
)
def test_a_question_that_its_page_does_not_answer_is_refused(chapters, change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(write(chapters, [GOOD | change]))


def test_all_that_is_wrong_is_said_at_once(chapters):
    broken = [GOOD | {"id": "sgd"}, GOOD | {"id": "A B"}, GOOD | {"id": "x", "page": "interview/missing"}]
    with pytest.raises(ValueError, match="id must be") as refused:
        load(write(chapters, [*broken, GOOD, GOOD]))
    assert len(str(refused.value).splitlines()) == 4


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
        ([GOOD | {"en": 7}], "en must be text, got 7"),
        ([GOOD | {"en": ""}], "en must be text, got None"),
        ([GOOD, GOOD | {"id": "x", "note": "[]"}], "question 2: note must be text"),
    ],
)
def test_a_broken_bank_is_refused(tmp_path, entries, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(write(tmp_path, entries))


@pytest.mark.parametrize("text", ["", "id: adam\n", "- just text\n", "- {id: adam\n"])
def test_what_is_no_list_of_questions_is_refused(tmp_path, text):
    path = tmp_path / "questions.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"questions\.yml"):
        load(path)


def test_every_question_of_the_book_is_answered():
    questions = load(BANK)
    assert len({question.id for question in questions if question.from_notes}) == 48
    assert all(question.thirty_seconds for question in questions)
    assert all(re.search(r"[\u4e00-\u9fff]|RoPE|AUC|prenorm", question.zh) for question in questions)


def test_topics_read_as_titles():
    assert topic("interview/word_vectors") == "Word vectors"
    assert topic("interview/llm_families") == "LLM families"
