"""``make lock``: resolve ``requirements.in`` anew into ``requirements.txt``, the exact environment of site and CI.

pip itself resolves, in a dry run that sees nothing of what is installed. What only some platforms need is left to pip:
the local part of a version (torch's ``+cpu``), and the CUDA libraries that torch brings on others.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from book.notebooks import ROOT

HEADER = """\
# The exact environment of the site and of CI (Python 3.11 to 3.13). The direct needs are in requirements.in;
# made by `make lock`.
"""
PYTHONS = ("3.11.5", "3.13")  # the first and the last that the project supports; "3.11" would mean 3.11.0
_OF_THE_PLATFORM = re.compile(r"nvidia-.*|cuda-.*|triton|pip")


def markers(requirements: Iterable[str]) -> dict[str, str]:
    """The direct needs of some platforms only: environment markers by name."""
    parts = [line.partition(";") for line in requirements if ";" in line and not line.startswith("#")]
    return {canonicalize_name(re.split(r"[<>=!~ ]", name)[0]): marker.strip() for name, _, marker in parts}


def pins(report: dict[str, Any], only: Mapping[str, str] | None = None) -> list[str]:
    """The lines of ``requirements.txt`` for a report of pip, one a distribution, sorted as pip sorts.

    Args:
        report: What ``pip install --report`` wrote.
        only: Markers of direct needs, see :func:`markers`; their lines keep them.

    Raises:
        ValueError: the report names nothing to install.
    """
    found = {item["metadata"]["name"]: item["metadata"]["version"] for item in report.get("install", [])}
    if not found:
        raise ValueError("report: pip resolved nothing; wanted at least one distribution")
    only = only or {}
    lines = []
    for name in sorted(found, key=str.lower):
        marker = only.get(canonicalize_name(name))
        if marker is not None:
            lines.append(f"{name}=={found[name].partition('+')[0]}; {marker}")
        elif not _OF_THE_PLATFORM.fullmatch(canonicalize_name(name)):
            lines.append(f"{name}=={found[name].partition('+')[0]}")
    return lines


def changes(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """What differs between two lists of pins, a line each, for people."""
    old, new = (dict(line.split("==", 1) for line in lines if "==" in line) for lines in (before, after))
    return [
        f"{name}: {old.get(name, 'new')} -> {new.get(name, 'gone')}"
        for name in sorted(old.keys() | new.keys(), key=str.lower)
        if old.get(name) != new.get(name)
    ]


def main(root: Path = ROOT) -> int:
    """Write ``requirements.txt``; 0, or pip's exit status where it cannot resolve, and then nothing is written."""
    target = root / "requirements.txt"
    before = target.read_text(encoding="utf-8").splitlines() if target.exists() else []
    print("resolving requirements.in (a minute or two) ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        line = [*pip, "--ignore-installed", "--report", str(report), "-r", str(root / "requirements.in")]
        status = subprocess.run(line, check=False).returncode
        if status:
            print("requirements.txt is as it was: pip could not resolve requirements.in", file=sys.stderr)
            return status
        needs = (root / "requirements.in").read_text(encoding="utf-8").splitlines()
        lines = pins(json.loads(report.read_text(encoding="utf-8")), markers(needs))
        resolved = Path(folder, "requirements.txt")
        resolved.write_text("\n".join(lines), encoding="utf-8")
        for python in PYTHONS:
            print(f"looking for every one of them for Python {python} ...", flush=True)
            other = ["--python-version", python, "--only-binary", ":all:", "--no-deps", "--target", folder]
            status = subprocess.run([*pip, *other, "-r", str(resolved)], check=False).returncode
            if status:
                print(f"requirements.txt is as it was: not all of it is there for Python {python}", file=sys.stderr)
                return status
    partial = target.with_suffix(".partial")
    partial.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(target)
    print("\n".join(changes(before, lines)) or "nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
