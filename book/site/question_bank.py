"""The directives ``question-bank`` and ``question-sheet``: the questions to search and learn, and those to print.

Without JavaScript both are plain lists. The bank has one heading per topic; ``static/questions.js`` shows the filter
and hides what does not match, ``static/cards.js`` turns what matches into cards. The sheet has the questions of the
notes, numbered, each with its short answer in full.
"""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book import cards
from book.questions import ASKED, DIFFICULTIES, Question, load, page_file
from book.site.elements import doc_link, element, raw


class _Questions(SphinxDirective):
    """What both directives need: the questions, and each as the children of an element."""

    def questions(self) -> list[Question]:
        """The bank, with everything it was read from noted as a dependency of this page; what is wrong is a warning."""
        bank = Path(self.env.srcdir) / "chapters" / "questions.yml"
        self.env.note_dependency(str(bank))
        try:
            found = load(bank)
        except ValueError as error:
            raise self.error(str(error)) from error
        for page in {question.page for question in found}:
            self.env.note_dependency(str(page_file(page, bank.parent)))
        return found

    def wording(self, question: Question) -> list[nodes.Node]:
        """The question in both languages."""
        return [
            element("p", question.en, classes="kb-question-en"),
            element("p", question.zh, classes="kb-question-zh", lang="zh-Hans"),
        ]

    def answer(self, question: Question) -> Sequence[nodes.Node]:
        """The short answer."""
        answer: Sequence[nodes.Node] = self.parse_text_to_nodes(question.thirty_seconds)
        return answer

    def note(self, question: Question) -> list[nodes.Node]:
        """What is to be said of the wording."""
        return [element("p", f"On the wording: {question.note}", classes="kb-note")] if question.note else []

    def link(self, question: Question) -> nodes.Node:
        """A cross-reference to the full answer, so that a target that has gone is a warning."""
        reference = addnodes.pending_xref(
            "",
            refdomain="std",
            reftype="ref",
            reftarget=question.anchor,
            refexplicit=True,
            refwarn=True,
            refdoc=self.env.docname,
        )
        text = f"The full answer and its proof: {question.topic}"
        reference += nodes.inline("", text, classes=["std", "std-ref"])
        return reference


class QuestionBank(_Questions):
    """All questions, a section for each topic, with a filter and the cards' buttons above them."""

    def run(self) -> list[nodes.Node]:
        """Make the filter and the sections."""
        questions = self.questions()
        topics = list(dict.fromkeys(q.topic for q in questions))
        by_topic = groupby(sorted(questions, key=lambda q: topics.index(q.topic)), key=lambda q: q.topic)
        sections = [self._section(topic, group) for topic, group in by_topic]
        return [_summary(questions), self._take_along(), *_filter(sorted(topics), len(questions)), *sections]

    def _section(self, topic: str, questions: Iterable[Question]) -> nodes.section:
        name = f"topic-{nodes.make_id(topic)}"
        items = [self._item(question) for question in questions]
        section = nodes.section("", nodes.title("", topic), ids=[name], names=[name], classes=["kb-topic"])
        section += element("ul", *items, classes="kb-questions", role="list")
        self.state.document.note_implicit_target(section, section)
        return section

    def _item(self, question: Question) -> nodes.Node:
        parts = self.wording(question)
        answer = self.answer(question)
        parts.append(element("details", element("summary", "30-second answer"), *answer, classes="kb-answer"))
        parts += self.note(question)
        about = [f"{question.difficulty.capitalize()}, asked {ASKED[question.asked]}"]
        about += ["from the notes"] if question.from_notes else []
        parts.append(element("p", "; ".join(about), ". ", element("span", self.link(question)), classes="kb-meta"))
        return element(
            "li",
            *parts,
            classes="kb-question",
            id=f"question-{question.id}",
            data_id=question.id,
            data_topic=question.topic,
            data_difficulty=question.difficulty,
            data_asked=question.asked,
            data_origin="notes" if question.from_notes else "book",
        )

    def _take_along(self) -> nodes.Node:
        up = "../" * self.env.docname.count("/")
        links = [
            element("a", text, href=f"{up}{cards.FOLDER}/{name}", download="")
            for text, name in (("an Anki deck", cards.DECK), ("a table for any other program", cards.TABLE))
        ]
        sheet = self.env.docname.rpartition("/")[0] + "/question_sheet"
        printed: list[nodes.Node | str] = []
        if sheet in self.env.found_docs:
            printed = [", ", doc_link(self.env, f"/{sheet}", "a sheet to print")]
        return element("p", "To take along: ", links[0], ", ", links[1], *printed, ".", classes="kb-take-along")


class QuestionSheet(_Questions):
    """The questions of the notes in their order, numbered, with their short answers: made to be printed."""

    def run(self) -> list[nodes.Node]:
        """Make the list."""
        items = [
            element(
                "li", *self.wording(question), *self.answer(question), *self.note(question), classes="kb-sheet-question"
            )
            for question in self.questions()
            if question.from_notes
        ]
        return [element("ol", *items, classes="kb-sheet")]


def _summary(questions: list[Question]) -> nodes.paragraph:
    noted = sum(question.from_notes for question in questions)
    text = f"{len(questions)} questions, {noted} of them from the notes."
    return nodes.paragraph("", text, classes=["kb-count"])


def _select(name: str, label: str, every: str, options: dict[str, str]) -> str:
    chosen = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items())
    return f"""<div><label for="question-{name}">{label}</label>
<select id="question-{name}"><option value="">{every}</option>{chosen}</select></div>"""


def _filter(topics: list[str], total: int) -> list[nodes.Node]:
    selects = [
        _select("topic", "Topic", "All topics", {topic: topic for topic in topics}),
        _select("difficulty", "Difficulty", "All", {name: name.capitalize() for name in DIFFICULTIES}),
        _select("asked", "Asked", "In any way", {key: text.capitalize() for key, text in ASKED.items()}),
        _select("origin", "From", "Notes and book", {"notes": "The notes", "book": "The book"}),
        _select("known", "Known", "All", {"no": "Not yet", "yes": "Known"}),
    ]
    return [
        raw(f"""
<form class="kb-filter" id="question-filter" role="search" aria-label="Filter the questions" hidden>
  <div><label for="question-text">Text</label>
    <input id="question-text" type="search" autocomplete="off" placeholder="attention, 注意力 …"></div>
  {"".join(selects)}
  <p class="kb-results"><output id="question-count" aria-live="polite">{total} of {total} questions</output>
    <span><button type="button" id="question-cards" aria-pressed="false">Cards</button>
    <button type="button" id="question-print">Print these</button>
    <button type="reset">Clear</button></span></p>
</form>
<div class="kb-deck" id="question-deck" role="group" aria-label="Cards" hidden>
  <output id="deck-place" aria-live="polite"></output>
  <span><button type="button" id="deck-back">Back</button>
  <button type="button" id="deck-reveal">Reveal</button>
  <button type="button" id="deck-next">Next</button></span>
  <span><button type="button" id="deck-knew">I knew it</button>
  <button type="button" id="deck-not">Not yet</button></span>
  <span><button type="button" id="deck-shuffle">Shuffle</button>
  <button type="button" id="deck-forget">Forget what I knew</button></span>
</div>""")
    ]


def add_script(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Load filter and cards on the page that has them, and nowhere else."""
    if doctree is not None and any("kb-topic" in section["classes"] for section in doctree.findall(nodes.section)):
        for name in ("questions.js", "cards.js"):
            app.add_js_file(name, loading_method="defer")
