"""The Colab button: there only where the address of the repository is known, and never an invented one.

The published site lives on the branch gh-pages, and with it the published notebooks under ``_sources/``, whose set-up
cell knows where to install ``kb`` from. A notebook of the main branch does not, so the button points to the former.
"""

from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.publish import BRANCH, GITHUB, SOURCES, address


def on_github(repository: str) -> bool:
    """Whether an address is a repository on GitHub: Colab opens notebooks of no other host by their address."""
    return GITHUB.fullmatch(repository) is not None


def configure(app: Sphinx, config: Any) -> None:
    """Hand the theme what its Colab button needs, or nothing at all."""
    options = config.html_theme_options
    repository = address(Path(app.srcdir))
    options["launch_buttons"] = {}
    options["repository_url"] = repository if on_github(repository) else ""
    if on_github(repository):
        options["repository_branch"] = BRANCH
        options["path_to_docs"] = SOURCES
        options["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}
        options["use_repository_button"] = True


class ColabNote(SphinxDirective):
    """One sentence on how a page is opened in Colab from this copy of the site."""

    def run(self) -> list[nodes.Node]:
        """Make the paragraph."""
        if on_github(address(Path(self.env.srcdir))):
            return [
                nodes.paragraph(
                    "",
                    "On a page, choose Colab from the rocket menu. The first cell installs the package kb and leaves "
                    "Colab's own torch, numpy and matplotlib as they are.",
                )
            ]
        how = "make book REPOSITORY=https://github.com/owner/name"
        return [
            nodes.paragraph(
                "",
                "",
                nodes.Text("This copy of the site was built without a repository's address, so its pages have no "),
                nodes.Text("Colab button: publish the repository and build with "),
                nodes.literal("", how),
                nodes.Text(", or from a clone of it."),
            )
        ]
