"""The workflows do what a reader does: they call make targets that exist, on the versions that are promised."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from book.notebooks import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def commands(text: str) -> list[str]:
    jobs: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return [step["run"].strip() for job in jobs.values() for step in job["steps"] if "run" in step]


def not_ours(lines: list[str]) -> list[str]:
    """Lines that are neither ``.ci/run`` nor one make target of the Makefile."""
    calls = {line: re.fullmatch(r"\.ci/run|make ([a-z]+)", line) for line in lines}
    return [line for line, call in calls.items() if not call or (call[1] and call[1] not in TARGETS)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_only_make_targets_are_called(path: Path) -> None:
    found = commands(path.read_text(encoding="utf-8"))
    assert found
    assert not_ours(found) == []


@pytest.mark.parametrize("line", ["pip install torch", "make nothing", "make book && true", "make book\npip list"])
def test_anything_else_is_found(line: str) -> None:
    assert not_ours([line]) == [line]


def test_ci_runs_the_two_commands() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make test", "make book"]


def test_the_tests_run_on_the_oldest_and_the_newest_python() -> None:
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
