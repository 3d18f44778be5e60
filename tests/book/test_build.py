"""Building the site: a warning fails it and keeps the last good one, and the generated pages show what is there."""

import json
import shutil
import subprocess
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup
from pybtex.database import Entry, Person

from book import cards, check
from book.build import BuildError, build
from book.notebooks import ROOT
from book.site.accessible import named_toggles, without_roles
from book.site.bibliography import AuthorYearLabels
from book.site.colab import on_github
from book.site.home import CHAPTERS
from book.site.offline import is_unwanted, mathjax
from book.steps import Result, Skip

PAGES = ("questions", "status", "interview/optimization", *(f"{chapter.folder}/index" for chapter in CHAPTERS))
TOC = "format: jb-book\nroot: index\nchapters:\n" + "".join(f"  - file: chapters/{name}\n" for name in PAGES)
INDEX = "# A small book\n\n```{chapter-cards}\n```\n\n```{races}\n```\n\n```{colab-note}\n```\n\n$$x^2$$\n"
QUESTION = '- id: adam\n  en: How does Adam work?\n  zh: "adam优化器原理"\n  page: interview/optimization\n'
QUESTION += "  difficulty: basic\n  asked: explain\n"
ANSWER = "# Optimization\n\n(q-adam)=\n## How does Adam work?\n\n**30-second answer.** It divides by $\\sqrt{v}$.\n"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of a few pages with the configuration of the real one."""
    monkeypatch.delenv("REPOSITORY", raising=False)
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book" / "site").mkdir(parents=True)
    shutil.copytree(ROOT / "book" / "site" / "static", tmp_path / "book" / "site" / "static")
    (tmp_path / "chapters").mkdir()
    shutil.copy(ROOT / "chapters" / "references.bib", tmp_path / "chapters")
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "index.md").write_text(INDEX)
    (tmp_path / "chapters" / "questions.md").write_text("# Questions\n\n```{question-bank}\n```\n")
    (tmp_path / "chapters" / "status.md").write_text("# Status\n\n```{book-status}\n```\n")
    (tmp_path / "chapters" / "questions.yml").write_text(QUESTION, encoding="utf-8")
    for chapter in CHAPTERS:
        (tmp_path / "chapters" / chapter.folder).mkdir()
        (tmp_path / "chapters" / chapter.folder / "index.md").write_text(f"# {chapter.title}\n")
    (tmp_path / "chapters" / "interview" / "optimization.md").write_text(ANSWER)
    return tmp_path


@pytest.fixture
def page(book):
    """The same book with a notebook, ``interview/plain``."""
    code = nbformat.v4.new_code_cell("1 + 1", execution_count=1)
    code.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": "2"}, execution_count=1)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Plain"), code])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, book / "chapters" / "interview" / "plain.ipynb")
    (book / "_toc.yml").write_text(TOC + "  - file: chapters/interview/plain\n")
    return book


def soup(page):
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def test_a_build_is_whole_and_local(book):
    index = build(book)
    assert index == book / "_build" / "html" / "index.html"
    page = soup(index)
    assert len(page.find_all("h1")) == 1
    assert page.html["lang"] == "en"
    for tag, name in (("script", "src"), ("link", "href"), ("img", "src")):
        assert not [found[name] for found in page.find_all(tag) if "://" in found.get(name, "")]
    assert (index.parent / "_static" / "mathjax" / "tex-chtml.js").is_file()
    assert "unpkg" not in index.read_text(encoding="utf-8")
    assert [count.text for count in page.select(".kb-card .kb-card-count")] == ["0 notebooks"] * 6
    assert "No race has been recorded yet" in page.text
    assert "without a repository" in page.text

    bank = soup(index.parent / "chapters" / "questions.html")
    item = bank.select_one("li.kb-question")
    assert (item["data-topic"], item["data-asked"]) == ("Optimization", "explain")
    assert bank.select_one(".kb-count").text == "1 questions, 0 of them from the notes."
    assert "It divides by" in item.select_one("details.kb-answer").text
    assert item.select_one(".kb-meta a")["href"] == "interview/optimization.html#q-adam"
    assert (index.parent / cards.FOLDER / cards.DECK).is_file()
    assert item.select_one('[lang="zh-Hans"]').text.strip() == "adam优化器原理"
    assert bank.select_one("output[aria-live=polite]").text == "1 of 1 questions"
    assert {label["for"] for label in bank.select("#question-filter label")} == {
        found["id"] for found in bank.select("#question-filter input, #question-filter select")
    }

    status = soup(index.parent / "chapters" / "status.html").text
    assert status.count("ot recorded yet") == 4


def test_a_question_without_an_answer_fails_the_build(book):
    (book / "chapters" / "interview" / "optimization.md").write_text("# Optimization\n")
    with pytest.raises(BuildError, match=r"questions\.md:3: ERROR: question adam: .* holds no target"):
        build(book)


def test_a_warning_fails_the_build_and_keeps_the_last_site(book):
    index = build(book)
    before = index.read_bytes()
    (index.parent / "stale.html").write_text("from another time")
    (book / "index.md").write_text(INDEX + "\n{cite:p}`nobody1900nothing`\n")
    with pytest.raises(BuildError, match="nobody1900nothing") as reported:
        build(book)
    assert "\x1b" not in str(reported.value)
    assert index.read_bytes() == before
    (book / "index.md").write_text(INDEX)
    build(book)
    assert not (index.parent / "stale.html").exists()
    assert {path.name for path in (book / "_build").iterdir()} == {".html.lock", "html"}


def test_status_shows_what_was_recorded(page):
    folder = page / "book" / "records"
    (folder / "interview").mkdir(parents=True)
    record = {"seconds": 28.44, "code_cells": 27, "printing_cells": 20, "compared_cells": 16, "compared_share": 0.8}
    (folder / "interview" / "plain.json").write_text(json.dumps(record | {"versions": {"torch": "2.13.0"}}))
    (folder / "gpu.json").write_text(json.dumps({"device": "H200", "pages": {"interview/plain": {"result": "failed"}}}))
    lap = {"measurement": "lap", "title": "A lap", "method": "by hand", "hardware": "a watch", "date": "2026-01-31"}
    lap |= {"samples": {"run": {"unit": "s", "values": [1.0, 2.0, 4.0]}}, "medians": {"run": 2.0}}
    (page / "benchmarks" / "results").mkdir(parents=True)
    (page / "benchmarks" / "results" / "lap-cpu.json").write_text(
        json.dumps(lap | {"median_ratios": {"run / rest": 0.5}})
    )
    check.record([Result("unit tests", 310, 0, [Skip("a", "no browser"), Skip("b", "no browser")])], page, 1.0)
    tables = {
        found["aria-label"]: found.get_text(" ", strip=True)
        for found in soup(build(page).parent / "chapters" / "status.html").select(".kb-scroll")
    }
    assert "interview/plain 28.4 s 27 16 of 20 (80%) –" in tables["Pages"]
    assert "torch 2.13.0" in tables["Hardware and versions"]
    assert "All together 310 0 2 1.0 s" in tables["Tests"]
    assert "interview/plain failed –" in tables["Each page's code, run on the GPU"]
    assert "A lap by hand run 2 s (3 samples); run / rest 0.5 a watch 2026-01-31" in tables["Measurements"]
    assert "No race has been recorded yet" in (page / "_build" / "html" / "index.html").read_text(encoding="utf-8")
    assert "2 × no browser" in (page / "_build" / "html" / "chapters" / "status.html").read_text(encoding="utf-8")


def test_the_races_are_shown_with_both_sides_and_their_ratio(book):
    record = {"race": "sprint", "title": "Sprint", "ours": "kb.run, shoes on", "theirs": "kb.run, shoes off"}
    record |= {"unit": "token", "ours_ms_per_unit": 2.5, "theirs_ms_per_unit": 10.0, "median_ratio": 0.26}
    record |= {"ours_seconds": [1.0] * 5, "hardware": "legs", "date": "2026-01-31"}
    (book / "benchmarks" / "results").mkdir(parents=True)
    (book / "benchmarks" / "results" / "sprint-cpu.json").write_text(json.dumps(record))
    shown = soup(build(book)).select_one(".kb-scroll table").get_text(" ", strip=True)
    assert "Race Contender Against Ratio of times" in shown
    sides = "kb.run, shoes on, 2.50 ms per token (400 tokens/s) kb.run, shoes off, 10.0 ms per token (100 tokens/s)"
    assert f"Sprint {sides} 0.26, median of 5 pairs legs 2026-01-31" in shown


def test_a_folder_without_a_book_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no _config\.yml"):
        build(tmp_path)


@pytest.mark.parametrize(("where", "known"), [("https://github.com/a/b", True), ("https://gitlab.com/a/b", False)])
def test_the_colab_button_needs_github(page, monkeypatch, where, known):
    monkeypatch.setenv("REPOSITORY", where)
    built = soup(build(page).parent / "chapters" / "interview" / "plain.html")
    links = [found["href"] for found in built.find_all("a") if "colab" in found.get("href", "")]
    wanted = "https://colab.research.google.com/github/a/b/blob/gh-pages/_sources/chapters/interview/plain.ipynb"
    assert set(links) == ({wanted} if known else set())
    assert on_github(where) is known


def test_amendments_for_accessibility():
    toggle = '<a class="current reference internal" href="#">1. <em>S</em></a><details open="open"><summary>'
    assert '<summary aria-label="Pages of 1. S">' in named_toggles(toggle)
    listed = '<div role="list" class="citation-list"><div class="citation" id="a" role="doc-biblioentry">'
    assert "role" not in without_roles(listed)


def test_what_a_page_may_not_load():
    assert is_unwanted("https://cdn.example/x.js")
    assert is_unwanted("_static/sphinx-thebe.js")
    assert not is_unwanted("_static/book.css")
    assert not is_unwanted(None)
    assert (mathjax() / "tex-chtml.js").is_file()


def test_builds_that_end_together_leave_one_whole_site_and_nothing_beside(book):
    command = [
        sys.executable,
        "-c",
        f"from book.build import build; from pathlib import Path; build(Path({str(book)!r}))",
    ]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    dead = book / "_build" / ".html-999999999"
    dead.mkdir(parents=True)
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out.decode()
    assert (book / "_build" / "html" / "index.html").is_file()
    assert {path.name for path in (book / "_build").iterdir()} <= {"html", ".html.lock"}


def test_labels_of_the_bibliography_are_author_and_year():
    authors = {"one": "Noam Shazeer", "two": "Ada Byron and Alan Turing", "many": "Jan de Vries and A. B and C. D"}
    entries = [
        Entry("misc", {"year": "2019"}, {"author": map(Person, names.split(" and "))}) for names in authors.values()
    ]
    again = Entry("misc", {"year": "2019"}, {"author": [Person("Shazeer, N.")]})
    labels = list(AuthorYearLabels().format_labels([*entries, again, Entry("misc")]))
    assert labels == [
        "Shazeer, 2019a",
        "Byron and Turing, 2019",
        "de Vries et al., 2019",
        "Shazeer, 2019b",
        "anonymous, no year",
    ]
