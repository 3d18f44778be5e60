"""Runs the code cells of a page in plain Python, one after the other in one namespace: ``python -m book.plain PAGE``.

For machines that have no Jupyter. Outputs are not compared, only what the cells assert. A page that needs a package
which is not installed is told apart from one that fails: it was not run.
"""

import argparse
import json
import linecache
import os
import sys
import time
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from book import notebooks

OWN = ("kb", "book")  # a module of these that is missing is a failure, not a need


def run(path: Path) -> dict[str, Any]:
    """Run the page at ``path`` in this process, from its own folder and as its main module.

    Returns:
        ``result`` ("passed", "failed" or "not run"), ``reason``, ``cells`` that ran to their end, and ``seconds``.
    """
    cells = notebooks.code_cells(json.loads(path.read_text(encoding="utf-8")))
    page = types.ModuleType("__main__")
    page.__dict__["display"] = print  # what IPython offers without an import
    sys.modules["__main__"] = page
    os.chdir(path.parent)
    start = time.perf_counter()
    verdict, reason, done = "passed", "", 0
    for cell in cells:
        try:
            _run_cell(notebooks.source(cell), f"<code cell {done + 1}>", page.__dict__)
        except Exception as error:
            traceback.print_exc()
            verdict, reason = "failed", f"code cell {done + 1}: {type(error).__name__}: {error}"
            if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in OWN:
                verdict, reason = "not run", f"needs {error.name}"
            break
        done += 1
    return {"result": verdict, "reason": reason, "cells": done, "seconds": round(time.perf_counter() - start, 1)}


def _run_cell(source: str, file: str, names: dict[str, Any]) -> None:
    """Run one cell, which a rule keeps plain Python. The source stays visible to tracebacks and to inspect."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one page; returns 0 where it passed, 1 where it failed, 3 where it was not run."""
    parser = argparse.ArgumentParser(prog="python -m book.plain", description="Run the code cells of one page.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--result", type=Path, help="write what came of it to this file, as JSON")
    options = parser.parse_args(arguments)
    target = options.result.resolve() if options.result else None
    found = run(options.notebook.resolve())
    if target:
        target.write_text(json.dumps(found), encoding="utf-8")
    print(f"{options.notebook.stem}: {found['result']} {found['reason']}".rstrip(), flush=True)
    return {"passed": 0, "failed": 1, "not run": 3}[found["result"]]


if __name__ == "__main__":
    sys.exit(main())
