"""``make run``: runs pages from top to bottom and keeps their outputs in place.

Only pages whose code, or whose imports from kb, changed since their record was written are run; of the others, the
record's counts are brought up to date. A page that fails is left as it was. Kernels are those that nbval starts, in the
folder of the page, so that what is stored here is what the tests compare with.
"""

import argparse
import base64
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager  # type: ignore[import-untyped]

from book import figures, imports, kernels, notebooks, records
from book.rules import cells, measure
from book.rules.model import Book, Page

CELL_TIMEOUT = 600  # seconds; a page has 120 in all, but a busy machine is slower


COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # IPython colours its tracebacks, whatever NO_COLOR says

# Run in the kernel of the page after its last cell, so that the record tells what the page itself ran on.
PROBE = """
import json, resource, sys
from kb import runtime
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
print(json.dumps({"hardware": runtime.hardware(), "versions": runtime.versions(), "peak_gib": round(peak, 2)}))
"""


class PageError(Exception):
    """A page did not run to its end; the message names the page and the cell and holds the traceback."""


def execute(path: Path, name: str, say: Callable[[str], None]) -> tuple[Any, dict[str, Any]]:
    """Run all cells of the notebook at ``path``; the file is not touched.

    Returns:
        The notebook with its new outputs, and what it ran on: seconds, hardware, versions, peak memory.

    Raises:
        PageError: a cell raised, hung or killed its kernel.
    """
    nb = notebooks.read(path)
    code = [index for index, cell in enumerate(nb.cells) if cell.cell_type == "code"]
    for index in code:
        nb.cells[index].update(outputs=[], execution_count=None)
    nb.cells.append(nbformat.v4.new_code_cell(PROBE))
    reached, start, seconds = 0, time.perf_counter(), 0.0

    def started(cell: Any, cell_index: int) -> None:
        nonlocal reached, seconds
        reached, seconds = cell_index + 1, time.perf_counter() - start
        if cell_index in code:
            say(f"{name}: {code.index(cell_index) + 1} of {len(code)} cells")

    manager = AsyncKernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager())
    client = NotebookClient(
        nb,
        km=manager,
        timeout=CELL_TIMEOUT,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        on_cell_start=started,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute(cleanup_kc=True, env=kernels.environment())
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise PageError(f"{name}: cell {reached} failed\n\n{COLOURS.sub('', str(error))}") from error
    probe = nb.cells.pop()
    for cell in notebooks.code_cells(nb):
        for output in cell.outputs:
            _shrink(output)
    return nb, json.loads(probe.outputs[0].text) | {"seconds": round(seconds, 1)}


def _shrink(output: Any) -> None:
    if "image/png" in output.get("data", {}):
        small = figures.compress(base64.b64decode(output.data["image/png"]))
        output.data["image/png"] = base64.b64encode(small).decode()
        output.metadata.pop("needs_background", None)


def stale(page: Page, record: dict[str, Any] | None, code_hash: str) -> str:
    """Why a page has to be run, in words; empty where its outputs are those of its code."""
    if record is None:
        return "there is no record of it"
    if record.get("code_hash") != code_hash:
        return "its code or its imports changed"
    return "it was not run from top to bottom" if cells.executed_in_order(page) else ""


def run_page(path: Path, book: Book, folder: Path, *, force: bool, say: Callable[[str], None]) -> bool:
    """Run one page if it has to be, write it and its record; returns whether it was run.

    Raises:
        PageError: it did not run to its end; page and record are as they were.
    """
    page = Page.load(path, book)
    place = records.page_record(page.name, folder)
    record = records.read(place)
    code_hash = imports.fingerprint(
        [notebooks.source(cell) for cell in notebooks.code_cells(page.nb)], book.root / "src"
    )
    reason = "asked for" if force else stale(page, record, code_hash)
    fresh: dict[str, Any] = {}
    if reason:
        say(f"{page.name}: running, {reason}")
        nb, conditions = execute(path, page.name, say)
        page = Page(path, nb, book)
        fresh = {"page": page.name, "date": records.today(), "code_hash": code_hash} | conditions
    if cells.canonical_file(page):
        notebooks.write(path, page.nb)
    updated = (record or {}) | fresh | measure.summary(page)
    if updated != record:
        records.write(place, updated)
    return bool(reason)


def _progress(line: str) -> None:
    """One line that is overwritten on a terminal; in a log, a line each time."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line}", end="", flush=True)
    else:
        print(line, flush=True)


def main(arguments: Sequence[str] | None = None, book: Book | None = None, folder: Path = records.PAGES) -> int:
    """Run the pages that are named, or all; returns 1 where one failed."""
    parser = argparse.ArgumentParser(prog="make run", description="Re-execute pages in place.")
    parser.add_argument("page", nargs="*", help="such as serving/kv_cache; all pages where none is named")
    parser.add_argument("--force", action="store_true", help="also where nothing changed")
    options = parser.parse_args(arguments)
    book = book or Book()
    try:
        paths = notebooks.find(options.page, book.chapters)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    kernels.warm_up()
    failures = []
    ran = 0
    for path in paths:
        name = notebooks.page_name(path, book.chapters)
        start = time.perf_counter()
        try:
            done = run_page(path, book, folder, force=options.force, say=_progress)
        except (PageError, ValueError) as error:  # it failed, or its file or record cannot be read
            failures.append(name)
            print(f"\n{error}", file=sys.stderr)
            continue
        ran += done
        _progress(f"{name}: {f'done in {time.perf_counter() - start:.1f} s' if done else 'up to date'}\n")
    left = f"; left as they were after an error: {', '.join(failures)}" if failures else ""
    print(f"{ran} of {len(paths)} pages run{left}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
