"""The directive ``question-bank``: each question in both languages, its state, and its short answer if it has one.

Without JavaScript the page is a plain list under one heading per topic. ``static/questions.js`` shows the filter, which
is hidden until then, and hides what does not match.
"""

from collections.abc import Iterable
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.questions import Question, load, page_file
from book.site.elements import element, raw


class QuestionBank(SphinxDirective):
    """All questions, a section for each topic, with a filter above them."""

    def run(self) -> list[nodes.Node]:
        """Make the filter and the sections."""
        bank = Path(self.env.srcdir) / "chapters" / "questions.yml"
        self.env.note_dependency(str(bank))
        questions = load(bank)
        for page in {question.page for question in questions}:
            answers = page_file(page, bank.parent)
            if answers.is_file():
                self.env.note_dependency(str(answers))
        # Topics that are answered come first, else in the order of the bank.
        first = list(dict.fromkeys(q.topic for q in sorted(questions, key=lambda q: q.state)))
        by_topic = groupby(sorted(questions, key=lambda q: first.index(q.topic)), key=lambda q: q.topic)
        sections = [self._section(topic, group) for topic, group in by_topic]
        return [_summary(questions), *_filter(sorted(first), len(questions)), *sections]

    def _section(self, topic: str, questions: Iterable[Question]) -> nodes.section:
        name = f"topic-{nodes.make_id(topic)}"
        items = [self._item(question) for question in questions]
        section = nodes.section("", nodes.title("", topic), ids=[name], names=[name], classes=["kb-topic"])
        section += element("ul", *items, classes="kb-questions", role="list")
        self.state.document.note_implicit_target(section, section)
        return section

    def _item(self, question: Question) -> nodes.Node:
        answered = question.state == "answered"
        state = element("span", question.state.capitalize(), classes=f"kb-state kb-{question.state}")
        parts: list[nodes.Node] = [
            element("p", question.en, classes="kb-question-en"),
            element("p", question.zh, classes="kb-question-zh", lang="zh-Hans"),
        ]
        if question.thirty_seconds:
            answer = self.parse_text_to_nodes(question.thirty_seconds)
            parts.append(element("details", element("summary", "30-second answer"), *answer, classes="kb-answer"))
        if question.note:
            parts.append(element("p", f"On the wording: {question.note}", classes="kb-note"))
        place: nodes.Node = self._link(question) if answered else nodes.Text(f"planned in {question.page}")
        parts.append(element("p", state, " ", element("span", place), classes="kb-meta"))
        return element(
            "li",
            *parts,
            classes="kb-question",
            id=f"question-{question.id}",
            data_topic=question.topic,
            data_state=question.state,
        )

    def _link(self, question: Question) -> nodes.Node:
        """A cross-reference, so that a target that has gone is a warning."""
        reference = addnodes.pending_xref(
            "",
            refdomain="std",
            reftype="ref",
            reftarget=question.anchor,
            refexplicit=True,
            refwarn=True,
            refdoc=self.env.docname,
        )
        reference += nodes.inline("", f"Read the full answer: {question.topic}", classes=["std", "std-ref"])
        return reference


def _summary(questions: list[Question]) -> nodes.paragraph:
    answered = sum(question.state == "answered" for question in questions)
    text = f"{len(questions)} questions: {answered} answered so far, {len(questions) - answered} open."
    return nodes.paragraph("", text, classes=["kb-count"])


def _filter(topics: list[str], total: int) -> list[nodes.Node]:
    options = "".join(f"<option>{escape(topic)}</option>" for topic in topics)
    return [
        raw(f"""
<form class="kb-filter" id="question-filter" role="search" aria-label="Filter the questions" hidden>
  <div><label for="question-text">Text</label>
    <input id="question-text" type="search" autocomplete="off" placeholder="attention, 注意力 …"></div>
  <div><label for="question-topic">Topic</label>
    <select id="question-topic"><option value="">All topics</option>{options}</select></div>
  <div><label for="question-state">State</label>
    <select id="question-state"><option value="">All</option><option value="answered">Answered</option>
    <option value="open">Open</option></select></div>
  <p class="kb-results"><output id="question-count" aria-live="polite">{total} of {total} questions</output>
    <button type="reset">Clear</button></p>
</form>""")
    ]


def add_script(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Load the filter on the page that has one, and nowhere else."""
    if doctree is not None and any("kb-topic" in section["classes"] for section in doctree.findall(nodes.section)):
        app.add_js_file("questions.js", loading_method="defer")
