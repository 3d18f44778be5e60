"""Rules on the book as a whole: its contents, its targets, its question bank, and its pages that are not notebooks."""

import re
from collections import Counter

from book.rules import references
from book.rules.model import Book, labels_in

QUESTION_KEYS = {"id", "en", "zh", "page", "difficulty", "asked"}


def contents_agree(book: Book) -> list[str]:
    """Every document is in _toc.yml once, and everything there exists."""
    listed, there = Counter(book.contents), set(book.documents)
    return [
        *(f"_toc.yml lists {name}, which does not exist" for name in sorted(set(listed) - there)),
        *(f"{name} is not in _toc.yml" for name in sorted(there - set(listed))),
        *(f"_toc.yml lists {name} {times} times" for name, times in sorted(listed.items()) if times > 1),
    ]


def targets_are_unique(book: Book) -> list[str]:
    """No target is set twice; a reference to it would lead to either."""
    return [f"the target {label} is set {n} times" for label, n in sorted(Counter(book.labels).items()) if n > 1]


def documents_resolve(book: Book) -> list[str]:
    """The documents that are plain Markdown cite, refer and link to what is there."""
    plain = sorted(set(book.documents) - set(book.notebooks))
    checks = (references.citations_in, references.cross_references_in, references.local_links_in)
    return [problem for document in plain for check in checks for problem in check(book, document)]


def question_bank(book: Book) -> list[str]:
    """Every question of the bank is well-formed, and open or answered where the bank says.

    A question that is not marked ``state: open`` is answered: its page exists and holds the target ``(q-<id>)=``. One
    that is marked has no such target, and no page yet, since a page that is written answers all its questions. Where
    the bank and a page disagree, the bank is wrong; and so it is where a page answers a question that is not in it.
    """
    problems, seen = [], set()
    anchors = {
        doc: {label for label in labels_in(text) if label.startswith("q-")} for doc, text in book.documents.items()
    }
    for place, question in enumerate(book.questions, start=1):
        missing = sorted(QUESTION_KEYS - set(question))
        if missing:
            problems.append(f"question {place}: no {', '.join(missing)}")
            continue
        anchor, document = f"q-{question['id']}", f"chapters/{question['page']}"
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", question["id"]) or anchor in seen:
            problems.append(f"question {place}: the id {question['id']!r} is not a new slug")
        seen.add(anchor)
        elsewhere = sorted(doc for doc, held in anchors.items() if anchor in held and doc != document)
        problems += [f"question {question['id']}: answered on {doc}, the bank says {document}" for doc in elsewhere]
        answered = anchor in anchors.get(document, ())
        if document in book.documents and not answered:
            problems.append(f"question {question['id']}: {document} exists and holds no target ({anchor})=")
        elif answered and "state" in question:
            problems.append(f"question {question['id']}: marked open, but {document} answers it: delete its state")
        elif not answered and question.get("state") != "open":
            problems.append(f"question {question['id']}: there is no page {document}, and it is not marked state: open")
    problems += [
        f"{doc}: the question ({anchor})= is not in questions.yml"
        for doc, held in sorted(anchors.items())
        for anchor in sorted(held - seen)
    ]
    return problems
