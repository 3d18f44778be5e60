"""Rules on the book as a whole: its contents, its targets, its question bank, and its pages that are not notebooks."""

from collections import Counter

from book import questions
from book.rules import references
from book.rules.model import Book, without_code


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
    """Every question of the bank is well-formed and answered, on the page that the bank names and nowhere else.

    That page exists and holds the target ``(q-<id>)=`` and a 30-second answer below it. Where the bank and a page
    disagree, the bank is wrong; and so it is where a page answers a question that is not in it.
    """
    entries, malformed = book.bank
    problems = list(malformed)
    held = {document: questions.targets_in(without_code(text)) for document, text in book.documents.items()}
    pages = {f"q-{entry['id']}": f"chapters/{entry['page']}" for entry in entries}
    for entry in entries:
        problems += questions.unanswered(entry, held.get(f"chapters/{entry['page']}"))
    for document, anchors in sorted(held.items()):
        for anchor in sorted(anchors):
            if anchor not in pages:
                problems.append(f"{document}: the question ({anchor})= is not in questions.yml")
            elif pages[anchor] != document:
                problems.append(f"{document}: answers ({anchor})=, the bank says {pages[anchor]}")
    return problems
