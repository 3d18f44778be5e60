"""``make gpu``: the GPU tests, then the code cells of every page on the GPU, and a record of both.

It needs pytest, numpy, torch and what kb imports, no Jupyter: pages run by ``book.plain``, each in a process of its own
with a time limit, one after the other. What else a page needs and is not installed is recorded as such; the page
counts as not run. A failure stops nothing. ``KB_DEVICE=cpu`` tries the whole thing out where there is no GPU, and then
nothing is recorded unless ``--record`` says where.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from book import kernels, notebooks, records, steps

PAGE_LIMIT = 600  # seconds
SHOWN_LINES = 40  # of the output of a page that failed


def missing() -> str:
    """Why nothing can be run here, in one sentence; empty where it can."""
    try:
        import torch
    except ModuleNotFoundError:
        return "make gpu needs torch: run it with a Python that has it, as in `make gpu PYTHON=/path/to/python`."
    wanted = os.environ.get("KB_DEVICE", "cuda")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        return "make gpu needs a CUDA device, and torch sees none (KB_DEVICE=cpu tries the runner out on the CPU)."
    return ""


def environment(root: Path) -> dict[str, str]:
    """The environment of tests and pages: the packages of this tree, no drawing, CUDA unless KB_DEVICE says else."""
    path = os.pathsep.join(filter(None, (str(root / "src"), str(root), os.environ.get("PYTHONPATH", ""))))
    device = os.environ.get("KB_DEVICE", "cuda")
    return kernels.environment(backend="Agg") | {"KB_DEVICE": device, "PYTHONPATH": path}


def run_page(path: Path, root: Path, limit: float = PAGE_LIMIT) -> dict[str, Any]:
    """Run one page in a process of its own; what ``book.plain`` found, or that it hung or died."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "result.json")
        line = [sys.executable, "-m", "book.plain", str(path), "--result", str(target)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        try:
            done = subprocess.run(line, cwd=root, env=environment(root), timeout=limit, check=False, **pipes)
            said, died = done.stdout, f"died with exit status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            text = error.stdout or b""
            said, died = text.decode(errors="replace") if isinstance(text, bytes) else text, f"over {limit:g} s"
        found: dict[str, Any] = {"result": "failed", "reason": died, "cells": 0, "seconds": None}
        if target.exists():
            found = json.loads(target.read_text(encoding="utf-8"))
    if found["result"] == "failed":
        print("\n".join(said.splitlines()[-SHOWN_LINES:]), flush=True)
    return found


def run_pages(paths: Sequence[Path], root: Path, device: str) -> dict[str, dict[str, Any]]:
    """Run pages one after the other, and say what came of each."""
    steps.heading(f"pages on {device}")
    results = {}
    for place, path in enumerate(paths, start=1):
        name = notebooks.page_name(path, root / "chapters")
        print(f"{place} of {len(paths)}: {name} ...", flush=True)
        found = run_page(path, root) | {"device": device, "date": records.today()}
        results[name] = found
        time = "" if found["seconds"] is None else f" in {found['seconds']} s"
        print(f"{name}: {found['result']}{time} {found['reason']}".rstrip(), flush=True)
    return results


def run_tests(root: Path) -> dict[str, Any]:
    """Run the tests that are marked ``gpu`` and count them."""
    result = steps.pytest("gpu tests", ["-m", "gpu", "tests/gpu"], root, env=environment(root))
    return {
        "passed": result.passed,
        "failed": result.failed,
        "skipped": result.skipped,
        "skips": [{"test": skip.test, "reason": skip.reason} for skip in result.skips],
        "seconds": round(result.seconds, 1),
        "note": result.note,
    }


def main(arguments: Sequence[str] | None = None, root: Path = notebooks.ROOT) -> int:
    """Run everything on the GPU, or one page; returns 1 where anything failed, 2 where nothing could be run."""
    parser = argparse.ArgumentParser(prog="make gpu", description="The GPU tests and the pages, on the GPU.")
    parser.add_argument("page", nargs="*", help="such as serving/kv_cache; tests and all pages where none is named")
    parser.add_argument("--record", type=Path, help="where to write the record; book/records/gpu.json by default")
    options = parser.parse_args(arguments)
    try:
        paths = notebooks.find(options.page, root / "chapters")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if reason := missing():
        print(reason, file=sys.stderr)
        return 2
    sys.path[:0] = [str(root / "src")]
    from kb import runtime

    on_cuda = os.environ.get("KB_DEVICE", "cuda").startswith("cuda")
    target = options.record or (root / records.GPU.relative_to(notebooks.ROOT) if on_cuda else None)
    record = (records.read(target) if target else None) or {}
    if not options.page:
        record |= {"tests": run_tests(root), "pages": {}}
    device = runtime.hardware()
    record |= {"date": records.today(), "device": device, "versions": runtime.versions()}
    record["pages"] = record.get("pages", {}) | run_pages(paths, root, device)
    if target:
        records.write(target, record)
    return summary(record, [notebooks.page_name(path, root / "chapters") for path in paths], bool(options.page))


def summary(record: dict[str, Any], names: Sequence[str], pages_only: bool) -> int:
    """Say what passed, failed and was not run; the exit status of the whole."""
    steps.heading("summary")
    failed = 0
    if not pages_only:
        tests = record["tests"]
        failed += tests["failed"]
        counts = f"{tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped"
        print(f"tests: {counts} {tests['note']}".rstrip())
    for state in ("passed", "failed", "not run"):
        found = [name for name in names if record["pages"][name]["result"] == state]
        print(f"pages {state}: {len(found)}{''.join(f'{chr(10)}    {name} {_why(record, name)}' for name in found)}")
        failed += len(found) if state == "failed" else 0
    ran = any(record["pages"][name]["result"] != "not run" for name in names)
    if names and not ran:
        print("no page was run: install what they need, or put it on PYTHONPATH")
    return 1 if failed or (names and not ran) else 0


def _why(record: dict[str, Any], name: str) -> str:
    page = record["pages"][name]
    return page["reason"] or f"{page['seconds']} s"


if __name__ == "__main__":
    sys.exit(main())
