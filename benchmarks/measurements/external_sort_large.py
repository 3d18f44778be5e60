"""1 GB of lines sorted with 64 MB of memory: the time beside GNU sort's, and by how much the process grew."""

import filecmp
import json
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.measurement import Measurement, Samples
from benchmarks.sorting import gnu_sort, gnu_version, sort_apart, write_lines

DEVICES = ("cpu",)
MEGABYTES = 1024
MEMORY = 64 * 2**20
ROUNDS = 3


def measure(device: torch.device) -> Measurement:
    """Sort in turns, each time in a new process; assert that files are the same and memory was kept to."""
    version = gnu_version()
    with tempfile.TemporaryDirectory() as name:
        source, ours, theirs = (Path(name) / part for part in ("source", "ours", "theirs"))
        write_lines(source, MEGABYTES)
        size, reports, gnu = source.stat().st_size, [], []
        for _ in range(ROUNDS):
            reports.append(json.loads(sort_apart(source, ours, MEMORY)))
            start = time.perf_counter()
            gnu_sort(source, theirs, MEMORY)
            gnu.append(time.perf_counter() - start)
        assert filecmp.cmp(ours, theirs, shallow=False)
    report = reports[-1]
    assert report["bytes_read"] == report["bytes_written"] == size * (1 + report["passes"])
    assert report["peak_bytes"] <= MEMORY
    resident = [one["resident_bytes"] / 2**20 for one in reports]
    assert max(resident) < 1.25 * MEMORY / 2**20
    facts = {key: report[key] for key in ("lines", "runs", "fan_in", "passes", "bytes_read", "bytes_written")}
    return Measurement(
        title="1 GB of lines sorted with 64 MB of memory",
        method="each sort in a process of its own, in turns with GNU sort in one thread and as much memory; memory is "
        "the growth of the process's peak over that of a sort of two lines",
        samples={
            "ours": Samples("s", [one["seconds"] for one in reports]),
            "GNU sort": Samples("s", gnu),
            "memory": Samples("MiB", resident),
        },
        ratios={"ours / GNU sort": ("ours", "GNU sort")},
        facts=facts | {"bytes": size, "memory_bytes": MEMORY, "sort": version},
    )
