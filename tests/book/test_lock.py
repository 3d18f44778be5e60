"""``make lock`` on pip's reports: what is pinned, what is left to the platform, and what is kept where pip fails."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from book import lock
from book.notebooks import ROOT


def report(**versions: str) -> dict[str, list[dict[str, dict[str, str]]]]:
    return {"install": [{"metadata": {"name": n.replace("_", "-"), "version": v}} for n, v in versions.items()]}


def test_pins_are_sorted_without_what_only_some_platforms_need() -> None:
    found = lock.pins(report(torch="2.13.0+cpu", Jinja2="3.1.6", nvidia_nccl_cu12="2.27", triton="3.7", attrs="26.1"))
    assert found == ["attrs==26.1", "Jinja2==3.1.6", "torch==2.13.0"]


def test_a_direct_need_of_one_platform_keeps_its_marker() -> None:
    only = lock.markers(["# a comment; of no meaning", 'triton==3.7; platform_system == "Linux"', "numba"])
    assert only == {"triton": 'platform_system == "Linux"'}
    found = lock.pins(report(triton="3.7", numba="0.68"), only)
    assert found == ["numba==0.68", 'triton==3.7; platform_system == "Linux"']
    assert lock.changes(found, ["numba==0.69", found[1]]) == ["numba: 0.68 -> 0.69"]


def test_an_empty_report_is_refused() -> None:
    with pytest.raises(ValueError, match="resolved nothing"):
        lock.pins({"install": []})


def test_changes_are_said() -> None:
    old = ["# made by", "a==1", "b==2", "c==3"]
    assert lock.changes(old, ["a==1", "b==2.1", "d==4"]) == ["b: 2 -> 2.1", "c: 3 -> gone", "d: new -> 4"]


def test_where_pip_cannot_resolve_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "requirements.in").write_text("a requirement that is none\n")
    (tmp_path / "requirements.txt").write_text("a==1\n")
    assert lock.main(tmp_path) != 0
    assert (tmp_path / "requirements.txt").read_text() == "a==1\n"


def test_requirements_txt_pins_every_direct_need() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {Requirement(line).name.lower() for line in lines if line and not line.startswith("#")}
    direct = [line for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert [line for line in direct if line and Requirement(line).name.lower() not in pinned] == []
    assert [line for line in lines if line and not line.startswith("#") and "==" not in line] == []
