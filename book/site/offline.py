"""A built page asks for nothing outside its own folder.

MathJax 3 comes from the package sphinx-mathjax-offline, which carries every input and output format of it (24 MB); the
site needs one, TeX to HTML, with its fonts and the extensions that TeX macros load on first use (2 MB). Scripts that
extensions would load from a delivery network are dropped: Thebe and the notebook widgets, which the book does not use.
"""

import shutil
import sysconfig
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")


def mathjax() -> Path:
    """The folder that holds MathJax in this environment.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    # Its name has hyphens, so that it cannot be imported.
    folder = Path(sysconfig.get_path("purelib")) / "sphinx-mathjax-offline" / "static" / "mathjax"
    if not (folder / _PARTS[0]).is_file():
        raise FileNotFoundError("MathJax was not found: install sphinx-mathjax-offline, or run 'make env'")
    return folder


def configure(app: Sphinx, config: Any) -> None:
    """Point Sphinx to the vendored MathJax, and keep remote scripts out."""
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.nb_ipywidgets_js = {}
    _disconnect(app, "sphinx_thebe")
    # The menu's speech and exploration modules would load hundreds of files; MathML for screen readers stays.
    config.mathjax3_config = {
        **(config.mathjax3_config or {}),
        "options": {
            **(config.mathjax3_config or {}).get("options", {}),
            "menuOptions": {"settings": {"explorer": False, "assistiveMml": True}},
        },
    }


def _disconnect(app: Sphinx, package: str) -> None:
    """Unhook an extension that Jupyter Book always loads, and that cannot be switched off."""
    for listeners in app.events.listeners.values():
        for listener in [entry for entry in listeners if entry.handler.__module__.startswith(package)]:
            listeners.remove(listener)


def drop_remote(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Take scripts and style sheets of other hosts, and those of extensions that are off, out of a page."""
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if not is_unwanted(getattr(file, "filename", file))]


def is_unwanted(name: str | None) -> bool:
    """Whether a page may not load the script or style sheet of this name."""
    return "://" in (name or "") or "thebe" in (name or "")


def copy_mathjax(app: Sphinx, failure: Exception | None) -> None:
    """Put the needed part of MathJax into the built site."""
    if failure is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in _PARTS:
        origin = mathjax() / part
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target / part, dirs_exist_ok=True)
        else:
            shutil.copy2(origin, target / part)
