"""``make gpu`` on the CPU: the plain runner, its verdicts, and a record that goes on past a failure."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from book import gpu, notebooks


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_DEVICE", "cpu")
    monkeypatch.setenv("PYTHONPATH", f"{notebooks.ROOT}:{notebooks.ROOT / 'src'}")


def verdict(path: Path, limit: float = 60) -> tuple[str, str, int]:
    result = gpu.run_page(path, path.parents[2], limit)
    return result["result"], result["reason"], result["cells"]


@pytest.mark.parametrize(
    ("sources", "wanted"),
    [
        (["x = (7\n% 4\n)", "assert (\n    x\n    != 4\n)"], ("passed", "", 2)),
        (["import os\n\nassert os.path.basename(os.getcwd()) == 'serving'"], ("passed", "", 1)),
        (["import os\n\nassert os.environ['KB_DEVICE'] == 'cpu'"], ("passed", "", 1)),
        (["def f():\n    return 41", "import inspect\n\nassert '41' in inspect.getsource(f)"], ("passed", "", 2)),
        (["class A: pass", "import pickle\n\npickle.loads(pickle.dumps(A()))", "display(A)"], ("passed", "", 3)),
        (["x = 1", "assert x == 2, 'not two'", "x = 3"], ("failed", "code cell 2: AssertionError: not two", 1)),
        (["import no_such_package.part"], ("not run", "needs no_such_package", 0)),
        (
            ["import kb.no_such_part"],
            ("failed", "code cell 1: ModuleNotFoundError: No module named 'kb.no_such_part'", 0),
        ),
        (["import os\n\nos._exit(7)"], ("failed", "died with exit status 7", 0)),
    ],
)
def test_a_page_gets_its_verdict(sources: list[str], wanted: object, make_page: Callable[..., Path]) -> None:
    assert verdict(make_page("serving/small", sources)) == wanted


def test_a_page_that_hangs_is_stopped(make_page: Callable[..., Path]) -> None:
    page = make_page("serving/hangs", ["import time\n\ntime.sleep(60)"])
    assert verdict(page, limit=2) == ("failed", "over 2 s", 0)


def test_a_failing_page_shows_its_traceback(make_page: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    verdict(make_page("serving/bad", ["x = 0", "print('before')\ny = 1 / x"]))
    said = capsys.readouterr().out
    assert "y = 1 / x" in said
    assert "ZeroDivisionError" in said


def test_pages_and_tests_are_recorded_past_a_failure(
    make_page: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, source in {"a_bad": "1 / 0", "b_good": "1 + 1", "c_needs": "import no_such_package"}.items():
        make_page(f"serving/{name}", [source])
    (tmp_path / "tests" / "gpu").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\n")
    (tmp_path / "tests" / "gpu" / "test_it.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_it(): pass\ndef test_other(): assert False\n"
    )
    target = tmp_path / "gpu.json"
    assert gpu.main(["--record", str(target)], tmp_path) == 1
    record = json.loads(target.read_text())
    assert {name: page["result"] for name, page in record["pages"].items()} == {
        "serving/a_bad": "failed",
        "serving/b_good": "passed",
        "serving/c_needs": "not run",
    }
    assert (record["tests"]["passed"], record["tests"]["failed"]) == (1, 0)
    assert record["pages"]["serving/b_good"]["device"] == record["device"]
    assert "needs no_such_package" in capsys.readouterr().out

    assert gpu.main(["serving/b_good", "--record", str(target)], tmp_path) == 0, "one page leaves the others recorded"
    assert len(json.loads(target.read_text())["pages"]) == 3
    assert gpu.main(["serving/b_good"], tmp_path) == 0
    assert gpu.main(["serving/c_needs"], tmp_path) == 1, "nothing was run, which is no success"
    assert not (tmp_path / "book").exists(), "a run on the CPU is no GPU record"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_one_sentence_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KB_DEVICE")
    assert gpu.main([], tmp_path) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "needs a CUDA device" in said.err


def test_no_jupyter_and_no_yaml_is_needed() -> None:
    code = (
        "import sys\nfor name in ('nbformat', 'nbclient', 'yaml', 'IPython', 'hypothesis', 'matplotlib', 'PIL'):\n"
        "    sys.modules[name] = None\nimport book.gpu, book.plain"
    )
    subprocess.run([sys.executable, "-c", code], cwd=notebooks.ROOT, check=True)
