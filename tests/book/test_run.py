"""``make run`` on notebooks of a few cells: what it writes, when it writes nothing, what a failure leaves behind."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from book import figures, imports, kernels, notebooks, records, run
from book.rules.model import Book

FIGURE = "import matplotlib.pyplot as plt\n\nfigure, axes = plt.subplots()\nline = axes.plot([1, 2, 3])"
REPORT = "import os\n\nprint(os.environ['KB_PROGRESS'], os.environ['OMP_NUM_THREADS'], os.path.basename(os.getcwd()))"

NO_NOTEBOOKS = {"braces": "{}", "empty": "", "words": "no notebook"}


def make_run(root: Path, *arguments: str) -> int:
    return run.main(list(arguments), Book(root), root / "records")


def write_page(root: Path, name: str, sources: list[str]) -> Path:
    """A notebook of code cells that were never run, as the fixture ``make_page`` writes it."""
    path = root / "chapters" / "serving" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    notebooks.write(path, nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]))
    return path


@pytest.fixture(scope="module")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of one page that was run; not to be changed."""
    root = tmp_path_factory.mktemp("book")
    package = root / "src" / "kb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("ONE = 1\n")
    write_page(root, "small", ["from kb import runtime", "import kb.runtime\n\n1 + 1", REPORT, FIGURE])
    assert make_run(root) == 0
    return root


@pytest.fixture
def page(after_a_run: Path, tmp_path: Path) -> Path:
    """The page in a copy of that book."""
    shutil.copytree(after_a_run, tmp_path, dirs_exist_ok=True)
    return tmp_path / "chapters/serving/small.ipynb"


def test_a_run_keeps_outputs_and_records_them(page: Path, tmp_path: Path) -> None:
    cells = notebooks.code_cells(notebooks.read(page))
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]
    assert cells[1].outputs[0].data["text/plain"] == "2"
    assert cells[2].outputs[0].text == "0 2 serving\n"
    assert set(cells[3].outputs[0].data) == {"image/png", "text/plain"}
    assert "execution" not in json.dumps([cell.metadata for cell in cells])

    record = records.read(records.page_record("serving/small", tmp_path / "records"))
    assert record is not None
    assert record["date"] == records.today()
    assert record["seconds"] > 0
    assert record["versions"]["python"]
    assert "2 threads" in record["hardware"], "the record tells what the page ran on"
    assert 0.1 < record["peak_gib"] < 8
    assert (record["code_cells"], record["figures"], record["printing_cells"]) == (4, 1, 2)


def test_an_unchanged_page_is_not_run_and_a_changed_import_runs_it(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = page.read_bytes(), (tmp_path / "records/serving/small.json").read_bytes()
    assert make_run(tmp_path, "serving/small") == 0
    assert "0 of 1 pages run" in capsys.readouterr().out
    assert (page.read_bytes(), (tmp_path / "records/serving/small.json").read_bytes()) == first

    (tmp_path / "src/kb/__init__.py").write_text("CHANGED = True\n")
    assert make_run(tmp_path) == 0
    assert "1 of 1 pages run" in capsys.readouterr().out
    assert page.read_bytes() == first[0], "two executions give identical notebooks, figures included"


def test_prose_may_change_without_a_run(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nb = json.loads(page.read_text())
    nb["cells"].insert(0, {"cell_type": "markdown", "id": "new", "metadata": {}, "source": "three new words"})
    page.write_text(json.dumps(nb))
    assert make_run(tmp_path) == 0
    assert "up to date" in capsys.readouterr().out
    assert page.read_text() == notebooks.text(notebooks.read(page)), "the file is put in canonical form"
    record = records.read(tmp_path / "records/serving/small.json")
    assert record is not None
    assert record["words"] == 3


@pytest.fixture(scope="module")
def after_a_failure(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, str, str]:
    """A book of a page that fails, one that does not and files that are none, after a run; the bad page before.

    Then what was said, as errors and otherwise.
    """
    root, said, told = tmp_path_factory.mktemp("book"), io.StringIO(), io.StringIO()
    own_number = "import os\n\nwritten = open('{name}.pid', 'w').write(str(os.getpid()))"
    bad = write_page(root, "bad", [own_number.format(name="bad"), "raise KeyError('lost')"])
    write_page(root, "good", [own_number.format(name="good"), "1 + 1"])
    for name, content in NO_NOTEBOOKS.items():
        bad.with_name(f"{name}.ipynb").write_text(content)
    before = bad.read_bytes()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told):
        assert make_run(root) == 1
    return root, before, said.getvalue(), told.getvalue()


def test_a_failing_cell_leaves_the_page_alone(after_a_failure: tuple[Path, bytes, str, str]) -> None:
    root, before, said, _ = after_a_failure
    assert "serving/bad: cell 2 failed" in said
    assert "KeyError: 'lost'" in said
    assert "\x1b" not in said
    assert (root / "chapters/serving/bad.ipynb").read_bytes() == before
    assert not (root / "records/serving/bad.json").exists()
    good = notebooks.read(root / "chapters/serving/good.ipynb")
    assert notebooks.code_cells(good)[0].execution_count == 1, "the pages after it still run"


def test_no_kernel_outlives_its_page(after_a_failure: tuple[Path, bytes, str, str]) -> None:
    for name in ("bad", "good"):
        pid = int((after_a_failure[0] / f"chapters/serving/{name}.pid").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_unknown_page_is_named(make_page: Callable[..., Path], tmp_path: Path, capsys) -> None:
    make_page("serving/good", ["print(1)"])
    assert make_run(tmp_path, "serving/goood") == 2
    assert "'serving/goood'" in capsys.readouterr().err


def test_the_closure_follows_imports_of_every_kind(tmp_path: Path) -> None:
    files = {
        "__init__.py": "",
        "data.toml": "a = 1",
        "direct.py": "from kb.deep import inner",
        "unused.py": "",
        "lazy.py": "def f():\n    import kb.late",
        "late.py": "",
        "deep/__init__.py": "from .beside import x",
        "deep/beside.py": "from .. import lazy",
        "deep/inner.py": "import torch",
    }
    for name, text in files.items():
        (tmp_path / "kb" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kb" / name).write_text(text)
    found = imports.closure(["import numpy\nfrom kb import direct", "%magic"], tmp_path)
    names = {path.relative_to(tmp_path / "kb").as_posix() for path in found}
    assert names == set(files) - {"unused.py"}


def test_the_fingerprint_changes_with_code_and_imports_only(tmp_path: Path) -> None:
    package = tmp_path / "kb"
    package.mkdir()
    for name in ("__init__", "used", "unused"):
        (package / f"{name}.py").write_text("")
    first = imports.fingerprint(["import kb.used"], tmp_path)
    assert imports.fingerprint(["import kb.used "], tmp_path) != first
    (package / "unused.py").write_text("x = 1")
    assert imports.fingerprint(["import kb.used"], tmp_path) == first
    (package / "used.py").write_text("x = 1")
    assert imports.fingerprint(["import kb.used"], tmp_path) != first


def test_compressed_figures_look_the_same_and_are_smaller() -> None:
    rows, columns = np.mgrid[0:200, 0:300]
    pixels = np.full((200, 300, 3), (251, 251, 253), np.uint8)
    pixels[(rows + columns) % 50 < 3] = (0, 114, 178)
    ramp = np.linspace(0, 255, 100).astype(np.uint8)
    pixels[20:60, 100:200] = np.stack([ramp, 255 - ramp, np.full(100, 40, np.uint8)], -1)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", compress_level=1)
    small = figures.compress(out.getvalue())
    seen = np.asarray(Image.open(io.BytesIO(small)).convert("RGB"), int)
    assert len(small) < len(out.getvalue())
    assert small == figures.compress(out.getvalue())
    assert tuple(seen[0, 10]) == (251, 251, 253), "the card keeps its colour, or figures would not match it"
    assert np.abs(seen - pixels).max() <= 8


def test_a_record_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1")
    with pytest.raises(ValueError, match=r"x\.json: not JSON"):
        records.read(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"x\.json: a list"):
        records.read(tmp_path / "x.json")
    assert records.read(tmp_path / "y.json") is None


def test_files_that_are_no_notebooks_are_named_and_stop_no_other_page(
    after_a_failure: tuple[Path, bytes, str, str],
) -> None:
    root, _, said, told = after_a_failure
    for name, content in NO_NOTEBOOKS.items():
        assert f"{name}.ipynb: not a notebook" in said
        assert (root / f"chapters/serving/{name}.ipynb").read_text() == content
    left = "serving/bad, serving/braces, serving/empty, serving/words"
    assert f"1 of 5 pages run; left as they were after an error: {left}" in told


def test_pages_run_where_matplotlib_has_no_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "/proc/none")
    kernels.warm_up()
    code = "import matplotlib, matplotlib.font_manager; print(matplotlib.get_configdir())"
    done = subprocess.run([sys.executable, "-c", code], env=kernels.environment(), capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(kernels.MATPLOTLIB), "")


def test_kernels_have_two_threads_whatever_the_machine_says_and_one_beside_another_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("KB_THREADS", raising=False)
    assert {kernels.environment()[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {"2"}
    for name, value in kernels.BESIDE.items():
        monkeypatch.setenv(name, value)
    assert {kernels.environment()[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
