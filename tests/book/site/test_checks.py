"""Each check on the site, shown able to fail: a tiny site that passes all, and one fault at a time put into it."""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.book.site import browsing, static_checks

# Two pixels, one black and one white; and one that is grey all over.
BLACK_AND_WHITE = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAAC0lEQVR4nGNg+A8AAQIBANnvgMcAAAAASUVORK5CYII="

PAGE = """<!doctype html>
<html lang="en" data-theme="light">
<head><title>Tiny</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width">
<style>
body { margin: 0; font: 16px sans-serif; background: #fff; color: #111; }
[data-theme=dark] body { background: #111; color: #eee; }
figure { margin: 0; }
a { color: inherit; }
button { font-size: 24px; }
</style>
<script>
window.MathJax = { startup: { promise: Promise.resolve() } };
</script></head>
<body><main><h1>Tiny</h1>
<button class="theme-switch-button" onclick="const d = document.documentElement.dataset;
  d.theme = d.theme === 'light' ? 'dark' : 'light'">Theme</button>
<article><h2 id="there">A heading</h2>
<p>Text with a <a href="other.html#anchor">link</a> and <span class="math"><mjx-container>x</mjx-container></span>.</p>
<img src="figure.png" alt="A black square and a white one.">
</article></main></body></html>
"""
OTHER = '<!doctype html><html lang="en"><title>Other</title><p id="anchor">There. <a href="index.html#there">Back</a>'


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny site, with ``old`` replaced by ``new`` in its page."""

    def write(old: str = "", new: str = "") -> Path:
        assert old in PAGE
        (tmp_path / "index.html").write_text(PAGE.replace(old, new, 1) if old else PAGE, encoding="utf-8")
        (tmp_path / "other.html").write_text(OTHER, encoding="utf-8")
        (tmp_path / "figure.png").write_bytes(base64.b64decode(BLACK_AND_WHITE))
        return tmp_path

    return write


@contextmanager
def opened(browser: Browser, site: Path) -> Iterator[browsing.Visit]:
    with browsing.served(site) as root, browsing.visiting(browser, root) as visit:
        yield visit.open("index.html")


def test_the_tiny_site_passes_the_checks_on_files(tiny):
    site = tiny()
    assert static_checks.broken_links(site) == []
    assert static_checks.remote_loads(site) == []
    assert static_checks.images_without_alt(site) == []


def test_the_tiny_site_passes_the_checks_in_the_browser(tiny, browser):
    with opened(browser, tiny()) as visit:
        assert visit.unrendered() == []
        for theme in ("light", "dark"):
            visit.theme(theme)
            assert visit.unreadable() == []
            assert visit.faint() == []
        assert visit.inaccessible() == []
        assert visit.dark_is_dark() == []
        assert visit.overflow() == []
        assert (visit.outside, visit.missing, visit.errors) == ([], [], [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("other.html#anchor", "gone.html", "'gone.html' leads to no file"),
        ("other.html#anchor", "other.html#gone", "'other.html#gone' leads to no anchor"),
        ("other.html#anchor", "#gone", "'#gone' leads to no anchor"),
        ("other.html#anchor", "../outside.html", "leads to no file"),
        ("other.html#anchor", "https://nodots/x", "is no web address"),
        ("figure.png", "gone.png", "'gone.png' leads to no file"),
    ],
)
def test_broken_links_are_found(tiny, old, new, said):
    (problem,) = static_checks.broken_links(tiny(old, new))
    assert problem.startswith("index.html: ")
    assert said in problem


def test_a_link_out_of_the_site_is_found(tiny):
    site = tiny("other.html#anchor", "../outside.html")
    outside = site.parent / "outside.html"
    outside.write_text("there")
    assert static_checks.broken_links(site) == ["index.html: '../outside.html' leads out of the site"]
    outside.unlink()


@pytest.mark.parametrize(
    "new",
    [
        '<script src="https://example.org/x.js"></script></head>',
        '<link rel="stylesheet" href="//example.org/x.css"></head>',
        '<link rel="preconnect" href="https://example.org"></head>',
    ],
)
def test_files_of_other_hosts_are_found(tiny, new):
    (problem,) = static_checks.remote_loads(tiny("</head>", new))
    assert "example.org" in problem


@pytest.mark.parametrize(
    ("new", "said"), [("", "no alt attribute"), ('alt="plot"', "describes nothing"), ('alt=""', "describes nothing")]
)
def test_images_that_are_not_described_are_found(tiny, new, said):
    (problem,) = static_checks.images_without_alt(tiny('alt="A black square and a white one."', new))
    assert said in problem


@pytest.mark.parametrize(
    ("check", "old", "new", "said"),
    [
        ("unrendered", "<mjx-container>x</mjx-container>", "\\(x\\)", "not rendered: \\(x\\)"),
        ("unrendered", "window.MathJax", "window.nothing", "MathJax did not load"),
        ("unrendered", "<mjx-container>x", "<mjx-container><mjx-merror>bad</mjx-merror>", "MathJax reports: bad"),
        (
            "unreadable",
            "figure { margin: 0; }",
            "img { filter: none; } article { color: #aaa; }",
            "text: contrast of 2",
        ),
        ("unreadable", 'src="figure.png"', 'src="gone.png"', "not loaded"),
        (
            "unreadable",
            "</article>",
            '<svg role="img" aria-label="x"><text y="20" fill="#ddd">axis</text></svg></article>',
            'text "axis" of a drawing: contrast of 1',
        ),
        ("dark_is_dark", "[data-theme=dark] body", "[data-theme=never] body", "luminance of the ground"),
        ("overflow", "<p>Text", '<p style="width: 600px">Text', "wide on a screen of 390"),
        (
            "overflow",
            "<p>Text",
            '<div style="overflow: hidden"><p style="width: 600px">cut</p></div><p>Text',
            "ends at 600 of 390",
        ),
        (
            "overflow",
            "<p>Text",
            '<div class="math" id="sum"><mjx-container style="display: block; width: 300px; overflow: auto">'
            '<mjx-math><span style="display: block; width: 350px">x</span></mjx-math></mjx-container></div><p>Text',
            "sum: the formula is 50 too wide",
        ),
        ("faint", "<p>Text", '<p>Text, <b>more</b> and <b style="color: #999">faint</b> text', "color-contrast"),
        ("faint", "<p>Text", '<p>Plain</p><p style="opacity: 0.4">Pale</p><p>Text', "color-contrast"),
        ("faint", "<p>Text", '<p>Plain</p><div style="background: #555"><p>Text</p></div><p>Text', "color-contrast"),
        ("faint", "a { color: inherit; }", "a { color: #333; text-decoration: none; }", "link-in-text-block"),
        (  # one link in two texts: black beside grey, and black beside nearly black
            "faint",
            "<p>Text",
            "<style>a { color: #000; text-decoration: none; }</style>"
            '<p>Plain</p><p style="color: #767676">See <a href="#there">there</a> first</p><p>Text',
            "link-in-text-block",
        ),
        ("inaccessible", '<html lang="en"', "<html", "html-has-lang"),
        ("inaccessible", 'alt="A black square and a white one."', "", "image-alt"),
    ],
)
def test_faults_are_found_in_the_browser(tiny, browser, check, old, new, said):
    with opened(browser, tiny(old, new)) as visit:
        problems = getattr(visit, check)()
    assert any(said in problem for problem in problems), problems


def test_a_dark_figure_is_unreadable_in_the_dark_only(tiny, browser):
    drawing = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90'><circle r='30'/></svg>"
    with opened(browser, tiny("figure.png", drawing)) as visit:
        assert visit.unreadable() == []
        visit.theme("dark")
        assert any("contrast of 1" in problem for problem in visit.unreadable())


@pytest.mark.parametrize(
    ("kind", "new"),
    [
        ("outside", "fetch('http://example.org/x').catch(() => 0); window.MathJax"),
        ("missing", "fetch('gone.json'); window.MathJax"),
        ("errors", "console.error('wrong'); window.MathJax"),
        ("errors", "setTimeout(() => { throw new Error('thrown'); }); window.MathJax"),
    ],
)
def test_what_goes_wrong_while_loading_is_recorded(tiny, browser, kind, new):
    with opened(browser, tiny("window.MathJax", new)) as visit:
        visit.page.wait_for_timeout(200)
        assert getattr(visit, kind) != []


def test_the_look_of_a_text_is_that_of_the_theme_that_is_on(tiny, browser):
    with opened(browser, tiny("</style>", "[data-theme=dark] p { color: #555; }</style>")) as visit:
        for theme, wanted in (("light", False), ("dark", True), ("light", False)):
            visit.theme(theme)
            assert bool(visit.faint()) == wanted


def test_a_missing_theme_button_is_found(tiny, browser):
    with opened(browser, tiny('class="theme-switch-button"', "")) as visit:
        visit.page.set_default_timeout(500)
        with pytest.raises(Exception, match="theme-switch-button"):
            visit.theme("dark")
