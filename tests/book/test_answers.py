"""The long form of an answer, on a page of the interview chapter: accepted as it should be, rejected once broken."""

from pathlib import Path

import nbformat
import pytest

from book import notebooks
from book.rules import BOOK_RULES, PAGE_RULES, Book, Page
from book.rules.answers import ADVICE, advice, interview_questions, long_answers, sources

ANSWER = """(q-good-page)=
## What is it?

**In Chinese.** 是什么

**30-second answer.** One that all rules accept.

**Why it is asked.** To find out.

### By hand
"""
END = """### What goes wrong

**Traps.** Thinking that a rule is enough.

**Follow-ups.** *And a bad one?* Any other.

**Sources.** {cite:t}`someone2020title`, section 1.
"""
PROOF = "assert two == 2"


@pytest.fixture
def interview_page(book_root: Path) -> Path:
    """The good page of conftest.py as one of the interview chapter, its question in the long form."""
    before, after = book_root / "chapters/serving/good.ipynb", book_root / "chapters/interview/good.ipynb"
    nb = notebooks.read(before)
    proof = nbformat.v4.new_code_cell(PROOF, execution_count=len(notebooks.code_cells(nb)) + 1)
    say = nbformat.v4.new_markdown_cell
    nb.cells[-2:] = [say(ANSWER), proof, say(END)]
    for index, cell in enumerate(nb.cells):
        cell["id"] = f"cell-{index:02d}"
    after.parent.mkdir()
    notebooks.write(after, nb)
    before.unlink()
    for name in ("_toc.yml", "index.md", "chapters/questions.yml"):
        path = book_root / name
        path.write_text(path.read_text(encoding="utf-8").replace("serving/good", "interview/good"), encoding="utf-8")
    return after


def problems(path: Path, old: str = "", new: str = "") -> list[str]:
    """What the rule finds on the page after one replacement in its cells; what is replaced must be there."""
    nb = notebooks.read(path)
    assert not old or any(old in cell.source for cell in nb.cells)
    for cell in nb.cells:
        cell["source"] = cell.source.replace(old, new) if old else cell.source
    notebooks.write(path, nb)
    return long_answers(Page.load(path, Book(path.parents[2])))


def test_a_page_in_the_long_form_is_accepted_by_every_rule(interview_page: Path) -> None:
    page = Page.load(interview_page, Book(interview_page.parents[2]))
    assert {rule.__name__: found for rule in PAGE_RULES if (found := rule(page))} == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(q-good-page)=", "(good-page)=", "no question of level 2"),
        ("## What is it?\n", "## What was it?\n", "the bank asks 'What is it?'"),
        ("是什么", "那是什么", "not that of the bank"),
        ("**In Chinese.** 是什么", "是什么", "in this order"),
        ("**Traps.**", "**Follow-ups.**", "in this order"),
        (" Thinking that a rule is enough.", "", "nothing after **Traps.**"),
        ("One that all rules accept.", "[One](other.ipynb) that all rules accept.", "a link in the 30-second answer"),
        ("One that all rules accept.", "word " * 81, "81 words"),
        (PROOF, "two", "no cell asserts"),
        ("{cite:t}`someone2020title`", "Someone", "cite nothing"),
    ],
)
def test_a_broken_answer_is_reported(old: str, new: str, message: str, interview_page: Path) -> None:
    found = problems(interview_page, old, new)
    assert any(message in problem for problem in found), found


def test_an_assertion_outside_of_the_answer_does_not_prove_it(interview_page: Path) -> None:
    found = problems(interview_page, "### What goes wrong", "## Exercises\n\n### What goes wrong")
    assert any("in this order" in problem for problem in found), found


def test_short_questions_may_follow_and_then_keep_their_form(interview_page: Path) -> None:
    nb = notebooks.read(interview_page)
    nb.cells.append(nbformat.v4.new_markdown_cell("## Interview questions\n\n(q-short)=\n### And this?\n\nNo.", id="q"))
    notebooks.write(interview_page, nb)
    assert any(
        "in this order" in p for p in interview_questions(Page.load(interview_page, Book(interview_page.parents[2])))
    )


def test_other_chapters_keep_the_short_form_and_their_sources(book_root: Path) -> None:
    page = Page.load(book_root / "chapters/serving/good.ipynb", Book(book_root))
    assert long_answers(page) == interview_questions(page) == sources(page) == []


@pytest.fixture
def advice_page(book_root: Path) -> Path:
    """A Markdown page of the interview chapter that answers a question of its own."""
    path = book_root / "chapters/interview/talk.md"
    path.parent.mkdir()
    answer = ANSWER.replace("good-page", "talk").replace("What is it?", "And this?").replace("是什么", "这个呢")
    path.write_text(f"# Talk\n\n{ADVICE} It comes from people.\n\n{answer}\nSay it.\n\n{END}", encoding="utf-8")
    asked = "{difficulty: basic, asked: derive, id: talk, en: 'And this?', zh: 这个呢, page: interview/talk}"
    for name, entry in (("chapters/questions.yml", asked), ("_toc.yml", "file: chapters/interview/talk")):
        with (book_root / name).open("a", encoding="utf-8") as file:
            file.write(f"- {entry}\n")
    return path


def test_advice_in_the_long_form_is_accepted_by_every_rule(advice_page: Path) -> None:
    book = Book(advice_page.parents[2])
    assert {rule.__name__: found for rule in BOOK_RULES if (found := rule(book))} == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("**Traps.**", "**Follow-ups.**", "in this order"),
        (" Thinking that a rule is enough.", "", "nothing after **Traps.**"),
        ("One that all rules accept.", "word " * 81, "81 words"),
        ("## And this?\n", "## And that?\n", "the bank asks 'And this?'"),
        ("这个呢", "那个呢", "not that of the bank"),
        ("{cite:t}`someone2020title`", "Someone", "cite nothing"),
        (ADVICE, "**Advice.**", "wanted **Advice, not measured.** before the first question"),
    ],
)
def test_broken_advice_is_reported(old: str, new: str, message: str, advice_page: Path) -> None:
    text = advice_page.read_text(encoding="utf-8")
    assert old in text
    advice_page.write_text(text.replace(old, new), encoding="utf-8")
    found = advice(Book(advice_page.parents[2]))
    assert any(message in problem and "interview/talk" in problem for problem in found), found


def test_a_markdown_page_that_exists_answers_its_questions(advice_page: Path) -> None:
    advice_page.write_text("# Talk\n", encoding="utf-8")
    book = Book(advice_page.parents[2])
    assert advice(book) == []  # it answers nothing
    assert any("holds no target" in problem for rule in BOOK_RULES for problem in rule(book))


def test_markdown_of_other_chapters_is_not_judged_by_the_long_form(advice_page: Path) -> None:
    text = advice_page.read_text(encoding="utf-8").replace("**Traps.**", "")
    advice_page.unlink()
    (advice_page.parents[1] / "serving/talk.md").write_text(text, encoding="utf-8")
    assert advice(Book(advice_page.parents[2])) == []
