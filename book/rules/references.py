"""Rules on what a text refers to: every citation, cross-reference and local link leads somewhere.

Sphinx finds most of these at build time; here they fail in a second, with the page named, and without a build.
"""

import posixpath
import re

from book.rules.model import Book, Page, heading_slugs, labels_in, without_code

_ROLE = re.compile(r"(?<!`)\{([a-z]+)(?::\w+)?\}`([^`]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_OUTSIDE = re.compile(r"^[a-z][a-z+.\-]*:", re.IGNORECASE)
_INLINE_CODE = re.compile(r"(?<![`}])(`+)(?!`).+?(?<!`)\1(?!`)")


def citations(page: Page) -> list[str]:
    """Every citation key is in chapters/references.bib."""
    return citations_in(page.book, page.document)


def cross_references(page: Page) -> list[str]:
    """Every ref, numref, eq, doc and term has its target."""
    return cross_references_in(page.book, page.document)


def local_links(page: Page) -> list[str]:
    """Every Markdown link that is not an outside address leads to a document, a file or a target."""
    return local_links_in(page.book, page.document)


def citations_in(book: Book, document: str) -> list[str]:
    """The citations of one document that have no entry."""
    keys = [key.strip() for role, text in _roles(book, document) if role == "cite" for key in text.split(",")]
    return [f"{document}: citation {key!r} is not in references.bib" for key in keys if key not in book.citation_keys]


def cross_references_in(book: Book, document: str) -> list[str]:
    """The cross-references of one document that have no target."""
    problems = []
    labels = set(book.labels)
    for role, text in _roles(book, document):
        target = _target(text)
        if role in ("ref", "numref", "eq") and target not in labels:
            problems.append(f"{document}: {{{role}}} to {target!r}, which is no target")
        elif role == "doc" and _resolve(document, target) not in book.documents:
            problems.append(f"{document}: {{doc}} to {target!r}, which is no document")
        elif role == "term" and target.lower() not in book.terms:
            problems.append(f"{document}: {{term}} {target!r} is not in the glossary")
    return problems


def local_links_in(book: Book, document: str) -> list[str]:
    """The local links of one document that lead nowhere."""
    problems = []
    text = _INLINE_CODE.sub("", without_code(book.documents[document]))
    for link in _LINK.findall(text):
        if _OUTSIDE.match(link):
            continue
        path, _, anchor = link.partition("#")
        where = re.sub(r"\.(md|ipynb)$", "", _resolve(document, path)) if path else document
        if where in book.documents:
            own = heading_slugs(book.documents[where]) | set(labels_in(book.documents[where]))
            if anchor and anchor not in own | (set() if path else set(book.labels)):
                problems.append(f"{document}: link to {link!r}, which has no such target")
        elif path not in book.labels and not (book.root / _resolve(document, path)).exists():
            problems.append(f"{document}: link to {link!r}, which is not there")
    return problems


def _roles(book: Book, document: str) -> list[tuple[str, str]]:
    return _ROLE.findall(without_code(book.documents[document]))


def _target(text: str) -> str:
    """The target of a role: what stands in angle brackets, else the whole text."""
    bracketed = re.search(r"<([^<>]+)>\s*$", text)
    return (bracketed[1] if bracketed else text).strip()


def _resolve(document: str, path: str) -> str:
    """A path that ``document`` names, as a path from the root of the book."""
    if path.startswith("/"):
        return path.lstrip("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
