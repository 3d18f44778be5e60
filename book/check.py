"""``make test``: everything that has to hold, step after step, and one table at the end.

Lint, types, unit tests, every page by strict nbval, the site and the tests on it. A step that fails stops no other, so
that one run shows all there is to mend; the exit status is that of the worst. Each page runs in a process of its own,
two at a time with a core and one thread each, on which a race of two contenders in turns is as fair as on an idle
machine, and the stored outputs are had on another number of threads than a reader's. Those that start processes or
threads of their own run one after the other, with the machine to themselves. A bound on times may fail all the same:
such a page runs once more, alone, and the table says so. Skipped tests are listed with their reasons, and what was
counted is recorded for the status page.
"""

import argparse
import dataclasses
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from book import imports, kernels, notebooks, records, steps
from book.rules.measure import IGNORE
from book.steps import Result

SLOWEST_PAGE = 120  # seconds, the budget of a page on 2 cores
# Most of a test's time is Python's own, or a browser's, which a kernel's second thread does not shorten; a second
# process does.
IN_TWO = ("-n", "2", "--dist", "worksteal")
# What a page imports that starts processes or threads, which want both cores.
ALONE = {"threading", "multiprocessing", "concurrent", "futures", "parallel", "Ranks"}
NBVAL = ("-p", "no:cacheprovider", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=600")


def before_pages(root: Path) -> list[Result]:
    """Lint, format, types and unit tests; beside the tests, what takes one core for half a minute each.

    That is types and, on a fresh clone, the compiling of numba's loops, which tests and pages would wait for later.
    """
    beside = steps.beside({"types": ["mypy"], "compiled loops": ["book.compiled"]}, root)
    results = [
        steps.command("lint", ["ruff", "check", "."], root),
        steps.command("format", ["ruff", "format", "--check", "."], root),
        steps.pytest("unit tests", ["tests", "-m", "not site", *IN_TWO], root, env=one_thread()),
    ]
    return [*results, *beside()]


def one_thread() -> dict[str, str]:
    """The environment of a process beside which another one runs.

    Threads that wait for others do not turn in circles, for these may be waiting for the core.
    """
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def two_cores() -> SimpleQueue[int]:
    """The first and the last core that this process may use; the same one twice where there is one."""
    cores: SimpleQueue[int] = SimpleQueue()
    if hasattr(os, "sched_getaffinity"):
        own = sorted(os.sched_getaffinity(0))
        cores.put(own[0])
        cores.put(own[-1])
    return cores


def take_a_core(cores: SimpleQueue[int]) -> None:
    """Keep this thread, and the processes that it starts, to one of the cores: they see no other."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})


def pages(root: Path) -> list[Result]:
    """All pages: two at a time, then each of those alone that want the machine; in the order of their names."""
    names = {path: notebooks.page_name(path, root / "chapters") for path in notebooks.pages(root / "chapters")}
    alone = {path for path in names if wants_the_machine(path)}
    with ThreadPoolExecutor(2, initializer=take_a_core, initargs=(two_cores(),)) as two:
        waiting = {path: two.submit(page, path, names[path], root, beside=True) for path in names if path not in alone}
    results = {path: page(path, names[path], root) for path in names if path in alone}
    results |= {path: result.result() for path, result in waiting.items()}
    return [second_try(results[path], path, names[path], root) for path in names]


def wants_the_machine(path: Path) -> bool:
    """Whether a page imports what starts processes or threads: it wants the machine to itself."""
    cells = notebooks.code_cells(notebooks.read(path))
    found = {name for cell in cells for name in imports.imported(notebooks.source(cell))}
    return any(not ALONE.isdisjoint(name.split(".")) for name in found)


def page(path: Path, name: str, root: Path, *, beside: bool = False) -> Result:
    """One page by strict nbval: every cell runs, and what is not excused puts out what is stored.

    Args:
        path: The notebook.
        name: Of the page.
        root: Where to run it.
        beside: Another page runs at the same time: it takes one thread, and its output is shown when it has ended.
    """
    env: Mapping[str, str] | None = one_thread() | kernels.BESIDE if beside else None
    result = steps.pytest(f"page {name}", [*NBVAL, str(path)], root, skips_fail=True, env=env, capture=beside)
    if result.seconds > SLOWEST_PAGE:
        result.note = f"{result.note} over its budget of {SLOWEST_PAGE} s".strip()
    return result


def second_try(result: Result, path: Path, name: str, root: Path) -> Result:
    """What a page came to; once more, alone, where the first cell that failed is one whose output may vary.

    Such as a bound on a time. A cell that is compared gets no second try.
    """
    if not result.failures or (first := result.failures[0]) not in varying(path):
        return result
    again = page(path, name, root)
    again.note = f"{again.note} run twice: at first, {first} failed, whose output may vary".strip()
    return again


def varying(path: Path) -> set[str]:
    """Names, as nbval gives them, of a page's cells that are excused from comparison."""
    cells = notebooks.code_cells(notebooks.read(path))
    return {f"Cell {at}" for at, cell in enumerate(cells) if IGNORE in notebooks.tags(cell)}


def site(root: Path) -> list[Result]:
    """Build the website and test it; without a build there is nothing to test."""
    built = steps.command("site", ["book.build"], root)
    if built.failed:
        return [built, Result("site tests", failed=1, note="not run, as the site was not built")]
    strict = os.environ.get("KB_REQUIRE_BROWSER") == "1"
    return [built, steps.pytest("site tests", ["-m", "site", "tests/book/site", *IN_TWO], root, skips_fail=strict)]


def everything(root: Path) -> list[Result]:
    """All steps of ``make test``; recorded before the site is built, which shows the record, and after."""
    start = time.perf_counter()
    results = before_pages(root)
    results += pages(root)
    record(results, root, time.perf_counter() - start)
    results += site(root)
    record(results, root, time.perf_counter() - start)
    return results


def one_page(path: Path, name: str, root: Path) -> list[Result]:
    """What concerns one page: lint, its rules and those of the book, and nbval."""
    return [
        steps.command("lint", ["ruff", "check", str(path)], root),
        steps.pytest("rules", ["tests/book/test_pages.py", "-k", f"[{name}- or test_book"], root),
        second_try(page(path, name, root), path, name, root),
    ]


def record(results: Sequence[Result], root: Path, seconds: float) -> None:
    """Write what was counted so far to ``_build/records/tests.json``."""
    from kb import runtime

    counts = [
        {
            **{key: getattr(result, key) for key in ("name", "passed", "failed", "skipped", "note")},
            "seconds": round(result.seconds, 1),
            "skips": [dataclasses.asdict(skip) for skip in result.skips],
        }
        for result in results
    ]
    written: dict[str, Any] = {
        "date": records.today(),
        "seconds": round(seconds, 1),
        "hardware": runtime.hardware(),
        "versions": runtime.versions(),
        "passed": sum(result.passed for result in results),
        "failed": sum(result.failed for result in results),
        "skipped": sum(result.skipped for result in results),
        "steps": counts,
        "skips": [skip for count in counts for skip in count["skips"]],
        "pages": {c["name"].removeprefix("page "): c for c in counts if c["name"].startswith("page ")},
    }
    records.write(root / records.TESTS.relative_to(notebooks.ROOT), written)


def main(arguments: Sequence[str] | None = None, root: Path = notebooks.ROOT) -> int:
    """Check the book, or one page of it; returns 1 where anything failed, 2 where there is no such page."""
    parser = argparse.ArgumentParser(prog="make test", description="Check the book, or one page of it.")
    parser.add_argument("page", nargs="?", help="such as serving/kv_cache; everything where none is named")
    name = parser.parse_args(arguments).page
    start = time.perf_counter()
    if name:
        try:
            (path,) = notebooks.find([name], root / "chapters")
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        results = one_page(path, notebooks.page_name(path, root / "chapters"), root)
    else:
        results = everything(root)
    steps.heading("summary")
    print(steps.table(results, time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(f"largest process: {peak:.1f} GiB of memory")
    failed = [result.name for result in results if result.failed]
    print(f"FAILED: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
