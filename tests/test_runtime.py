"""Which device is chosen, and what a page reports."""

import platform

import pytest
import torch

from kb import runtime


def test_an_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_DEVICE", "cuda:99")
    assert runtime.device("cpu") == torch.device("cpu")


def test_the_environment_decides_without_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_DEVICE", "cpu")
    assert runtime.device() == torch.device("cpu")


@pytest.mark.parametrize("found", [True, False])
def test_unset_or_empty_means_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    monkeypatch.setenv("KB_DEVICE", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(found))
    assert runtime.device().type == ("cuda" if found else "cpu")


def test_an_unknown_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'toaster' is not a device"):
        runtime.device("toaster")
    for other in ("meta", "mps", "cpu:3", "vulkan"):
        with pytest.raises(ValueError, match=f"'{other}' is not supported; wanted 'cpu' or 'cuda'"):
            runtime.device(other)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="torch sees 1 CUDA"):
        runtime.device("cuda:1")


def test_versions_are_those_that_run() -> None:
    found = runtime.versions()
    assert found["python"] == platform.python_version()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_the_report_names_hardware_and_versions(capsys: pytest.CaptureFixture[str]) -> None:
    runtime.report()
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == runtime.hardware()
    assert rest[0].startswith(f"python {platform.python_version()}, torch {runtime.versions()['torch']}")
    named = dict(item.split(" ") for line in rest for item in line.split(", "))
    assert named == runtime.versions()
    assert max(map(len, rest)) <= 96
