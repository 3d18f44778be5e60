"""Amends what Sphinx and the theme write that axe-core objects to.

The toggles of the navigation have no name; bibliography entries carry roles that ARIA 1.2 dropped, in a list that
allows nothing else beside them.
"""

import re
from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx

_SUMMARY = re.compile(
    r'(<a class="[^"]*reference internal[^"]*" href="[^"]*">)(.*?)(</a><details[^>]*><summary)>', re.DOTALL
)
_ROLES = re.compile(r' role="(?:doc-biblioentry|doc-backlink)"')


def amend(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Amend the body and the navigation of one page."""
    if "body" in context:
        context["body"] = without_roles(context["body"])
    if "generate_toctree_html" in context:
        context["generate_toctree_html"] = _named(context["generate_toctree_html"])


def without_roles(body: str) -> str:
    """``body`` without the bibliography's roles."""
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    return _ROLES.sub("", body)


def named_toggles(html: str) -> str:
    """A navigation in which each toggle is named after the chapter it opens."""
    return _SUMMARY.sub(lambda match: f'{match[1]}{match[2]}{match[3]} aria-label="Pages of {_plain(match[2])}">', html)


def _plain(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html).strip().replace('"', "&quot;")


def _named(generate: Callable[..., Any]) -> Callable[..., Any]:
    """The theme's generator of the navigation, with its toggles named."""

    def generated(*arguments: Any, **options: Any) -> Any:
        made = generate(*arguments, **options)
        return named_toggles(str(made)) if made else made

    return generated
