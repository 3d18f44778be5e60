"""The Sphinx extension that makes a plain Jupyter Book this site.

It adds three things that Jupyter Book does not have: pages generated from data (question bank, status, the cards and
races of the home page), a site that loads with nothing from outside its own folder, and a Colab button that appears
only where the address of the repository is known. Each is a module of its own; this file only registers them.
"""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from book.site import accessible, bibliography, colab, elements, home, offline, question_bank, status

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.add_node(elements.Element, html=(elements.visit, elements.depart))
    app.add_directive("chapter-cards", home.ChapterCards)
    app.add_directive("races", home.Races)
    app.add_directive("cache-picture", home.CachePicture)
    app.add_directive("colab-note", colab.ColabNote)
    app.add_directive("question-bank", question_bank.QuestionBank)
    app.add_directive("question-sheet", question_bank.QuestionSheet)
    app.add_directive("book-status", status.BookStatus)
    app.connect("config-inited", _add_static)
    app.connect("config-inited", bibliography.register)
    app.connect("config-inited", colab.configure)
    app.connect("config-inited", offline.configure)
    app.connect("html-page-context", question_bank.add_script)
    # After the extensions that put the addresses there.
    app.connect("html-page-context", offline.drop_remote, priority=900)
    app.connect("html-page-context", accessible.amend, priority=900)
    app.connect("build-finished", offline.copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _add_static(app: Sphinx, config: Any) -> None:
    config.html_static_path.append(str(STATIC))
    config.html_css_files.append("book.css")
    config.html_js_files.append("from_disk.js")
    config.templates_path.append(str(TEMPLATES))
