"""64 MB of lines sorted with 4 MB of memory: ``kb.algorithms`` and GNU sort, one thread each, runs on the same disk."""

import filecmp
import shutil
import tempfile
from pathlib import Path

import torch

from benchmarks.contest import Contest
from benchmarks.sorting import LINES, gnu_sort, gnu_version, write_lines
from kb.algorithms import external_sort

DEVICES = ("cpu",)
MEGABYTES = 64
MEMORY = 4 * 2**20


def contest(device: torch.device) -> Contest:
    """Assert that both files are the same."""
    version = gnu_version()
    folder = Path(tempfile.mkdtemp())
    source, ours, theirs = (folder / name for name in ("source", "ours", "theirs"))
    write_lines(source, MEGABYTES)
    report = external_sort(source, ours, memory=MEMORY)
    gnu_sort(source, theirs, MEMORY)
    assert filecmp.cmp(ours, theirs, shallow=False)
    return Contest(
        title="64 MB of lines sorted with 4 MB of memory",
        ours="kb.algorithms",
        theirs="GNU sort",
        unit="line",
        units=MEGABYTES * LINES,
        agreement="the same file",
        run_ours=lambda: external_sort(source, ours, memory=MEMORY),
        run_theirs=lambda: gnu_sort(source, theirs, MEMORY),
        details={"runs": len(report.run_lines), "passes": report.passes, "fan-in": report.fan_in, "sort": version},
        rounds=7,
        close=lambda: shutil.rmtree(folder),
    )
