"""Rules on interview questions and sources: the short form at the end of a page, the long one of the interview chapter.

Pages of most chapters end with the questions that they answer, and their sources. A page of the interview chapter *is*
its questions: each is a section of level 2, with the answer that one would say aloud first, the full one with its cells
below, traps, follow-ups and the sources of this answer at its end. Some questions have no answer that a cell could
show; their page is plain Markdown, has the same parts, and says that it is advice.
"""

import re
from collections.abc import Sequence

from book.rules import measure
from book.rules.model import Book, Page
from book.rules.sections import Section, sections, sections_of, under

PARTS = ("**30-second answer.**", "**Why it is asked.**", "**Follow-ups.**")
LONG_PARTS = ("**In Chinese.**", *PARTS[:2], "**Traps.**", PARTS[2], "**Sources.**")
MOST_WORDS = 80  # of a 30-second answer
CHAPTER = "interview/"
ADVICE = "**Advice, not measured.**"


def interview_questions(page: Page) -> list[str]:
    """`## Interview questions`: each has a target `(q-...)=` and three parts. The interview chapter may do without."""
    found = under(page, "Interview questions")
    if not found:
        return [] if _is_interview(page) else ["no `## Interview questions` with a question of level 3 under it"]
    problems = []
    for section in found:
        if not _target(section):
            problems.append(f"`{section.title}`: no target `(q-...)=` above the heading")
        problems += _parts(section.title, "\n".join(section.text), PARTS)
    return problems


def long_answers(page: Page) -> list[str]:
    """A page of the interview chapter: each question of level 2 is worded as in the bank, and answered in full.

    Its parts are there, in order and not empty, a cell among them asserts something, and its sources cite.
    """
    if not _is_interview(page):
        return []
    answers = _answers(sections(page))
    problems = [] if answers else ["no question of level 2 with a target `(q-...)=` above it"]
    for group in answers:
        problems += _long_answer(group, page.book)
        if not any(measure.asserts_in(cell) for section in group for cell in section.code):
            problems.append(f"`{group[0].title}`: no cell asserts anything")
    return problems


def advice(book: Book) -> list[str]:
    """A Markdown page of the interview chapter that answers questions: the long form, without cells, and said to be so.

    Before its first question stands ``**Advice, not measured.**``, as no cell would fail if an answer were wrong.
    """
    problems = []
    for name in sorted(set(book.documents) - set(book.notebooks)):
        text = book.documents[name]
        answers = _answers(sections_of(text)) if name.startswith(f"chapters/{CHAPTER}") else []
        problems += [f"{name}: {problem}" for group in answers for problem in _long_answer(group, book)]
        if answers and ADVICE not in text.partition("\n## ")[0]:
            problems.append(f"{name}: wanted {ADVICE} before the first question, as it has no cells")
    return problems


def sources(page: Page) -> list[str]:
    """`## Sources` with at least one citation; in the interview chapter each answer has its own."""
    if _is_interview(page):
        return []
    texts = ["\n".join(s.text) for s in sections(page) if s.level == 2 and s.title == "Sources"]
    if len(texts) != 1:
        return [f"{len(texts)} sections `## Sources`, wanted one"]
    return [] if "{cite" in texts[0] else ["`## Sources` cites nothing"]


def _is_interview(page: Page) -> bool:
    return page.name.startswith(CHAPTER)


def _target(section: Section) -> str:
    """The id of the question whose target stands above the heading, empty where none does."""
    found = re.fullmatch(r"\(q-([a-z0-9-]+)\)=", section.before)
    return found[1] if found else ""


def _answers(found: Sequence[Section]) -> list[list[Section]]:
    """Each section of level 2 that answers a question, with those below it."""
    groups: list[list[Section]] = []
    for section in found:
        if section.level == 2:
            groups.append([section])
        elif section.level > 2 and groups:
            groups[-1].append(section)
    return [group for group in groups if _target(group[0])]


def _long_answer(group: Sequence[Section], book: Book) -> list[str]:
    """What is wrong with the text of one answer in the long form."""
    bank = {question["id"]: question for question in book.bank[0]}
    title, text = group[0].title, "\n".join(line for section in group for line in ["", *section.text])
    problems = _parts(title, text, LONG_PARTS)
    question = bank.get(_target(group[0]), {})
    if title != question.get("en"):
        problems.append(f"`{title}`: the bank asks {question.get('en')!r}")
    chinese = re.search(rf"^{re.escape(LONG_PARTS[0])}(.*)$", text, re.MULTILINE)
    if chinese and chinese[1].strip() != question.get("zh", "").strip():
        problems.append(f"`{title}`: the wording in Chinese is not that of the bank, {question.get('zh')}")
    if "{cite" not in text.rpartition(LONG_PARTS[-1])[2]:
        problems.append(f"`{title}`: its sources cite nothing")
    return problems


def _parts(title: str, text: str, parts: Sequence[str]) -> list[str]:
    """What is wrong with the parts of one answer: missing, out of order, empty, or too long to say."""
    places = [text.find(part) for part in parts]
    if -1 in places or places != sorted(places):
        return [f"`{title}`: wanted, in this order, {', '.join(parts)}"]
    between = zip(parts, places, [*places[1:], None], strict=True)
    inside = {part: text[start + len(part) : end].strip() for part, start, end in between}
    problems = [f"`{title}`: nothing after {part}" for part, said in inside.items() if not said]
    short = inside[PARTS[0]]
    if re.search(r"\]\((?!\w+://)", short):  # cards show it on a page of another folder
        problems.append(f"`{title}`: a link in the 30-second answer")
    if (words := len(short.split())) > MOST_WORDS:
        problems.append(f"`{title}`: {words} words in the 30-second answer, at most {MOST_WORDS}")
    return problems
