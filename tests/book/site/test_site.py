"""The built site, page by page in a browser with the network cut, and as files."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

import nbformat
import pytest
from playwright.sync_api import Browser, expect

from book import notebooks, publish
from book.site import colab
from tests.book.site import browsing, static_checks

NOTEBOOKS = [f"chapters/{notebooks.page_name(path)}" for path in notebooks.pages()]
PAGES = [
    "index",
    *sorted(f"chapters/{path.parent.name}/{path.stem}" for path in notebooks.CHAPTERS.glob("*/*.md")),
    *(f"chapters/{name}" for name in ("status", "glossary", "bibliography")),
    *NOTEBOOKS,
]


def test_no_link_leads_nowhere(site: Path):
    assert static_checks.broken_links(site) == []


def test_no_page_names_a_file_of_another_host(site: Path):
    assert static_checks.remote_loads(site) == []


def test_every_image_is_described(site: Path):
    assert static_checks.images_without_alt(site) == []


@pytest.fixture(scope="module", params=PAGES)
def opened(request: pytest.FixtureRequest, browser: Browser, root: str) -> Iterator[browsing.Visit]:
    """Each page in turn, opened once for all its tests."""
    with browsing.visiting(browser, root) as visit:
        yield visit.open(f"{request.param}.html")


class TestPage:
    """What has to hold of every page."""

    def test_mathematics_is_rendered(self, opened: browsing.Visit):
        assert opened.unrendered() == []

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_reads_in_both_themes(self, opened: browsing.Visit, theme: str):
        opened.theme(theme)
        assert opened.unreadable() == []
        assert opened.faint() == []

    def test_is_accessible(self, opened: browsing.Visit):
        assert opened.inaccessible() == []

    def test_dark_is_dark(self, opened: browsing.Visit):
        assert opened.dark_is_dark() == []

    def test_fits_a_phone(self, opened: browsing.Visit):
        assert opened.overflow() == []

    def test_asks_for_nothing_outside_and_reports_no_error(self, opened: browsing.Visit):
        assert (opened.outside, opened.missing, opened.errors) == ([], [], [])


@pytest.fixture
def visit(browser: Browser, root: str) -> Iterator[browsing.Visit]:
    """A fresh tab."""
    with browsing.visiting(browser, root) as visit:
        yield visit


def test_search_finds_a_term_and_leads_to_it(visit: browsing.Visit):
    page = visit.open("index.html").page
    page.locator(".search-button__button:visible, .search-button:visible").first.click()
    field = page.locator("input[type=search]:visible").first
    field.fill("attention")
    field.press("Enter")
    first = page.locator("#search-results li a").first
    expect(first).to_be_visible(timeout=10_000)
    expect(page.locator("#search-results")).to_contain_text(re.compile("attention", re.IGNORECASE))
    first.click()
    expect(page.locator("article")).to_contain_text(re.compile("attention", re.IGNORECASE))
    assert (visit.outside, visit.missing, visit.errors) == ([], [], [])


def test_search_says_when_there_is_nothing(visit: browsing.Visit):
    page = visit.open("search.html?q=zyxwvutsr").page
    expect(page.locator("#search-results")).to_contain_text("did not match", timeout=10_000)


def test_search_works_on_a_site_that_is_opened_from_the_disk(browser: Browser, site: Path):
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(f"{(site / 'search.html').as_uri()}?q=attention")
    expect(page.locator("#search-results li a").first).to_be_visible(timeout=10_000)
    expect(page.locator("#search-results .search-summary")).to_contain_text("found", timeout=10_000)
    page.close()
    assert errors == []


@pytest.mark.parametrize("name", NOTEBOOKS)
class TestNotebook:
    """What a page offers to take along."""

    def test_downloads_as_the_notebook_that_it_is(self, site: Path, root: str, name: str):
        links = static_checks.Document(site / f"{name}.html").links
        address = urljoin(f"{root}/{name}.html", next(link for link in links if link.endswith(".ipynb")))
        with urlopen(address) as got:
            nb = nbformat.reads(got.read().decode(), as_version=4)
        nbformat.validate(nb)
        ours = notebooks.read(notebooks.ROOT / f"{name}.ipynb")
        assert [notebooks.source(cell) for cell in nb.cells[2:]] == [notebooks.source(cell) for cell in ours.cells[2:]]
        assert publish.is_setup(notebooks.code_cells(nb)[0]["source"])

    def test_opens_in_colab_only_where_the_address_is_known(self, site: Path, name: str):
        links = static_checks.Document(site / f"{name}.html").links
        found = [link for link in links if "colab.research.google.com" in link]
        owner = colab.on_github(colab.address(notebooks.ROOT))
        wanted = f"https://colab.research.google.com/github/{owner}/blob/{publish.BRANCH}/_sources/{name}.ipynb"
        assert set(found) == ({wanted} if owner else set())
        assert (site / publish.SOURCES / f"{name}.ipynb").is_file()
