"""A page in a real browser with the network cut, and the checks that need one.

Whatever a page asks of another host is refused and recorded; so are console errors and answers of 400 and above. Each
check returns what is wrong as sentences.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CONTRAST = 4.5  # WCAG AA for text
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

COLOUR = ("color-contrast", "link-in-text-block")  # rules of axe-core whose answer depends on the theme
MARK = "data-kb-look"
CHECKS = Path(__file__).with_name("checks.js")


def chromium() -> str | None:
    """The browser: ``KB_CHROMIUM``, else the first that the path has, else None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("KB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a port of this machine, for as long as the block lasts; gives the address of its root."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Visit:
    """One page, opened, and all that went wrong on the way."""

    page: Page
    root: str
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def open(self, path: str) -> "Visit":
        """Load a page of the site, with all that it loads and its mathematics."""
        self.page.goto(f"{self.root}/{path}", wait_until="load")
        self.page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
        return self

    def theme(self, wanted: str) -> None:
        """Press the button for light and dark until ``wanted`` is on."""
        for _ in range(4):
            if self.page.evaluate("document.documentElement.dataset.theme") == wanted:
                # The button shows a tooltip as long as it is pointed at or has the focus, and colours fade over.
                self.page.mouse.move(0, 0)
                self.page.evaluate("document.activeElement.blur()")
                self.page.wait_for_timeout(400)
                return
            self.page.locator(".theme-switch-button:visible").first.click()
        raise AssertionError(f"the theme button never gave {wanted}")

    def dark_is_dark(self) -> list[str]:
        """The ground of the two themes, where it is not light in the one and dark in the other."""
        luminance = {}
        for name in ("light", "dark"):
            self.theme(name)
            luminance[name] = self.page.evaluate("kbChecks.ground()")
        return [] if luminance["dark"] < 0.1 < 0.7 < luminance["light"] else [f"luminance of the ground: {luminance}"]

    def unreadable(self) -> list[str]:
        """Figures and text that cannot be told from their ground, in the theme that is on."""
        return self.page.evaluate("(least) => kbChecks.unreadable(least)", CONTRAST)

    def overflow(self) -> list[str]:
        """What does not fit the width of a phone."""
        self.page.set_viewport_size(PHONE)
        try:
            return self.page.evaluate("kbChecks.overflow()")
        finally:
            self.page.set_viewport_size(DESKTOP)

    def unrendered(self) -> list[str]:
        """Mathematics that the reader sees as source."""
        return self.page.evaluate("kbChecks.unrendered()")

    def inaccessible(self) -> list[str]:
        """Violations that axe-core finds, each with its first element, but for those of colour."""
        return self._violations({"rules": {rule: {"enabled": False} for rule in COLOUR}})

    def faint(self) -> list[str]:
        """Text that axe-core cannot tell from its ground or from the text around it, in the theme that is on."""
        self.page.evaluate("(mark) => kbChecks.markLooks(mark)", MARK)
        return self._violations({"runOnly": list(COLOUR)}, [f"[{MARK}]"])

    def _violations(self, options: dict[str, Any], include: list[str] | None = None) -> list[str]:
        # No preload: axe would fetch style sheets again, some from where they are not. One result type: half the time.
        options = {"preload": False, "resultTypes": ["violations"], **options}
        context = {"include": [include]} if include else None
        found = Axe().run(self.page, context=context, options=options).response["violations"]
        return [
            f"{one['id']} ({one['impact']}), {len(one['nodes'])} times: {one['nodes'][0]['html'][:160]}"
            for one in found
        ]


@contextmanager
def visiting(browser: Browser, root: str) -> Iterator[Visit]:
    """A fresh tab that reaches ``root`` and nothing else."""
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    context.add_init_script(path=CHECKS)
    page = context.new_page()
    visit = Visit(page, root)
    host = urlsplit(root).netloc

    def gate(route: Route) -> None:
        if urlsplit(route.request.url).netloc == host:
            route.continue_()
        else:
            visit.outside.append(route.request.url)
            route.abort()

    context.route("**/*", gate)
    page.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("response", lambda got: visit.missing.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    try:
        yield visit
    finally:
        context.close()
