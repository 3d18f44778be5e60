"""One docutils node that can be any HTML element, and the few shapes the generated pages are made of.

Docutils has no node for a form, a ``details`` or an attribute such as ``lang`` or ``data-topic``. Writing raw HTML
instead would hide the text from the search index and its links from Sphinx's checks.
"""

from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx import addnodes


class Element(nodes.General, nodes.TextElement):
    """An HTML element: ``tag`` is its name, ``html`` its attributes; classes and ids are docutils' own.

    A text element to docutils, as it may hold links.
    """


def element(tag: str, *children: nodes.Node | str, classes: str = "", id: str = "", **attributes: str) -> Element:  # noqa: A002
    """Make an HTML element.

    Args:
        tag: Its name.
        *children: Nodes, or text.
        classes: CSS classes, joined by blanks.
        id: Its id, if it has one.
        **attributes: Any other attribute; an underscore in a name becomes a hyphen.
    """
    html = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    node = Element("", tag=tag, html=html, classes=classes.split(), ids=[id] if id else [])
    node.extend(nodes.Text(child) if isinstance(child, str) else child for child in children)
    return node


def visit(translator: Any, node: Element) -> None:
    """Write the opening tag."""
    translator.body.append(translator.starttag(node, node["tag"], "", **node["html"]))


def depart(translator: Any, node: Element) -> None:
    """Write the closing tag, and a line end where it shows as no blank."""
    if node["tag"] not in ("input", "img", "br"):
        translator.body.append(f"</{node['tag']}>" + ("" if node["tag"] in ("a", "span") else "\n"))


def raw(html: str) -> nodes.raw:
    """Markup that needs neither search nor checks."""
    return nodes.raw("", html, format="html")


def doc_link(env: Any, target: str, text: str) -> addnodes.pending_xref:
    """A link to a page of the book, which Sphinx resolves, and warns of where it cannot.

    Args:
        env: Sphinx's environment.
        target: The page, such as ``/chapters/status``.
        text: What to show.
    """
    options = {"refdomain": "std", "reftype": "doc", "refexplicit": True, "refwarn": True}
    return addnodes.pending_xref("", nodes.inline("", text), reftarget=target, refdoc=env.docname, **options)


def date(text: str) -> Element:
    """A date that is not broken at its hyphens."""
    return element("span", text, classes="kb-date")


def table(caption: str, head: list[str], rows: list[list[nodes.Node | str]], *, label: str = "") -> Element:
    """A table with a caption and a header cell per row, in a box that scrolls on narrow screens.

    Args:
        caption: What the table shows.
        head: The column headings.
        rows: Cells of each row, the first being the row's name.
        label: How screen readers announce the scrolling box; the caption if not given.
    """
    cells = [element("th", name, scope="col") for name in head]
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    inner = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *cells)),
        element("tbody", *body),
        classes="table kb-table",
    )
    return element("div", inner, classes="kb-scroll", tabindex="0", role="region", aria_label=label or caption)
