"""What the races and measurements of external sorting share: a file of random lines, GNU sort, and a sort apart."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

LINES = 18_396  # of 57 bytes: a megabyte
_APART = """
import json, sys, time
from kb.algorithms import external_sort

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024

source, small, destination, memory = sys.argv[1:]
external_sort(small, destination)  # what Python sets up once
before, start = peak(), time.perf_counter()
report = external_sort(source, destination, memory=int(memory))
seconds = time.perf_counter() - start
told = vars(report) | {"runs": len(report.run_lines), "seconds": seconds, "resident_bytes": peak() - before}
del told["run_lines"]
print(json.dumps(told))
"""


def write_lines(path: Path, megabytes: int) -> None:
    """Lines of 48 random hexadecimal digits and the number of their megabyte, the same on every machine."""
    source = np.random.default_rng(0)
    with open(path, "wb") as file:
        for block in range(megabytes):
            digits = source.bytes(24 * LINES).hex().encode()
            file.write(b"".join(b"%s %07d\n" % (digits[48 * n : 48 * n + 48], block) for n in range(LINES)))


def gnu_version() -> str:
    """What GNU sort calls itself.

    Raises:
        AssertionError: there is no GNU sort.
    """
    program = shutil.which("sort")
    assert program, "there is no sort to race against"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert "GNU coreutils" in said, "the sort of this machine is not GNU's"
    return said.splitlines()[0]


def gnu_sort(source: Path, destination: Path, memory: int) -> None:
    """Sort by GNU sort, as bytes, in one thread and so much memory; runs lie beside the destination."""
    options = ["-S", f"{memory}b", "--parallel=1", "-T", str(destination.parent), "-o", str(destination)]
    subprocess.run(["sort", *options, str(source)], env={**os.environ, "LC_ALL": "C"}, check=True)


def sort_apart(source: Path, destination: Path, memory: int) -> str:
    """Sort by ``kb`` in a process of its own, so that its memory is its own; Linux only.

    Returns:
        JSON: the report, with ``seconds``, and ``resident_bytes`` by which the process grew.
    """
    small = destination.with_name("small")
    small.write_bytes(b"b\na\n")
    line = [sys.executable, "-c", _APART, str(source), str(small), str(destination), str(memory)]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout
