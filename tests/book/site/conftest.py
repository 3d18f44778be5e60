"""The built site, served, and one browser for the session.

Without the site or without Chromium the tests are skipped and say why; with ``KB_REQUIRE_BROWSER=1``, as in CI, they
fail.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from book.notebooks import ROOT
from tests.book.site import browsing

SITE = ROOT / "_build" / "html"


def absent(reason: str) -> None:
    """Skip, or fail where the checks are wanted."""
    if os.environ.get("KB_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need the site or the browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("site")


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    if not (SITE / "index.html").is_file():
        absent("the site is not built: run `make book`")
    return SITE


@pytest.fixture(scope="session")
def root(site: Path) -> Iterator[str]:
    """The address that the built site is served at."""
    with browsing.served(site) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, started once."""
    path = browsing.chromium()
    if path is None:
        absent("Chromium was not found: install it, or name it in KB_CHROMIUM")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=browsing.ARGUMENTS)
        yield started
        started.close()
