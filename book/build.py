"""``make book``: build the website from what is committed, and say where it is.

Notebooks are never executed here: their outputs are committed, and ``make test`` has compared them. Every build starts
clean in a folder of its own and takes the place of the former site only once it is whole and free of warnings, so that
the site holds no stale file and a failed build leaves the last good one alone.
"""

import argparse
import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

import psutil
from filelock import FileLock

from book import cards
from book.notebooks import ROOT
from book.publish import address, pages_address
from book.questions import BANK, load

SITE = ROOT / "_build" / "html"


class BuildError(Exception):
    """The site could not be built without a warning; the message lists what was reported."""


class _Tee:
    """Pass what is written on, and keep it.

    One line is kept back: where Sphinx says that the pages are, they will not stay.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.kept = stream, [""]

    def write(self, text: str) -> int:
        self.kept.append(text)
        return len(text) if "The HTML pages are in" in text else self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()


def build(root: Path = ROOT, site: Path | None = None) -> Path:
    """Build the site of the tree at ``root`` and return its front page.

    Args:
        root: Holds ``_config.yml``, ``_toc.yml`` and what they name.
        site: Where the site goes; ``_build/html`` under ``root`` if not given.

    Raises:
        BuildError: Sphinx reported a warning or an error; the site that was there before is as it was.
        ValueError: ``root`` holds no book.
    """
    for name in ("_config.yml", "_toc.yml"):
        if not (root / name).is_file():
            raise ValueError(f"root: {root.name}/ holds no {name}; wanted the folder of the book")
    site = site or root / "_build" / "html"
    partial = site.with_name(f".{site.name}-{os.getpid()}")
    former = site.with_name(f".{site.name}-former")
    site.parent.mkdir(parents=True, exist_ok=True)
    try:
        problems = _sphinx(root, partial / "html", partial / "doctrees")
        if problems:
            raise BuildError(problems)
        _write_cards(root, partial / "html", site)
        # One at a time, as two builds of one tree may end together; and what a killed one left is swept up.
        with FileLock(site.with_name(f".{site.name}.lock")):
            shutil.rmtree(former, ignore_errors=True)
            if site.exists():
                site.replace(former)
            (partial / "html").replace(site)
            shutil.rmtree(former, ignore_errors=True)
            _sweep(site)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return site / "index.html"


def _write_cards(root: Path, output: Path, site: Path) -> None:
    """Write the questions as files to take along; their links lead to the published site, else to this one."""
    bank = root / "chapters" / BANK.name
    if bank.is_file():
        known = address(root)
        cards.write(output / cards.FOLDER, load(bank), pages_address(known) if known else f"{site.resolve().as_uri()}/")


def _sweep(site: Path) -> None:
    """Remove what builds left that were killed: partial sites whose process is gone."""
    for left in site.parent.glob(f".{site.name}-*"):
        process = left.name.rpartition("-")[2]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _sphinx(root: Path, output: Path, doctrees: Path) -> str:
    """Run Sphinx with Jupyter Book's configuration; what it warned of, empty when all is well."""
    # Jupyter Book takes seconds to import, and the argument parser should answer without it.
    from jupyter_book.sphinx import build_sphinx  # type: ignore[import-untyped]
    from sphinx.util import console

    if not sys.stderr.isatty():
        console.nocolor()
    errors = _Tee(sys.stderr)
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(_Tee(sys.stdout)):
        result = build_sphinx(
            root,
            output,
            noconfig=True,
            path_config=root / "_config.yml",
            confoverrides={
                "external_toc_path": (root / "_toc.yml").as_posix(),
                "latex_individualpages": False,
            },
            doctreedir=doctrees,
            builder="html",
            freshenv=True,
            warningiserror=True,
            keep_going=True,
        )
    reported = "".join(errors.kept).strip()
    if result and not reported:
        return f"Sphinx gave up: {result}"
    return reported if result else ""


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 when the site is built, 1 when anything was reported."""
    parser = argparse.ArgumentParser(prog="python -m book.build", description="Build the website into _build/html.")
    parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        index = build()
    except BuildError as error:
        print(f"\nThe site was not built; warnings count as errors. What was reported:\n\n{error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in index.parent.rglob("*") if path.is_file()) / 2**20
    print(f"\nBuilt in {time.perf_counter() - started:.0f} s, {size:.0f} MB. Open it in a browser:\n{index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
