"""``make test`` on a root of its own: what fails is counted, what is skipped is shown, one failure stops nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from book import check, notebooks, run, steps
from book.rules.model import Book

TESTS = """
import pytest

def test_good(): pass

@pytest.mark.skip(reason="no CUDA device")
def test_skipped(): pass

@pytest.mark.parametrize("x", [1, 2])
def test_pair(x): assert x == 1
"""


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    path = tmp_path / "test_some.py"
    path.write_text(TESTS)
    return path


def test_a_pytest_step_counts_and_keeps_reasons(tests: Path, tmp_path: Path) -> None:
    result = steps.pytest("some", [str(tests)], tmp_path)
    assert (result.passed, result.failed, result.skipped) == (2, 1, 1)
    assert result.skips[0].reason == "no CUDA device"
    assert result.skips[0].test.endswith("test_skipped")
    assert result.seconds > 0


def test_where_a_browser_is_required_a_skip_fails(tests: Path, tmp_path: Path) -> None:
    result = steps.pytest("some", [str(tests), "-k", "skipped"], tmp_path, skips_fail=True)
    assert (result.passed, result.failed, result.skipped) == (0, 1, 1)


def test_no_tests_is_a_failure(tests: Path, tmp_path: Path) -> None:
    result = steps.pytest("some", [str(tests), "-k", "nothing"], tmp_path)
    assert (result.failed, result.note) == (1, "no test was found")


def test_a_test_file_that_cannot_be_imported_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name")
    assert steps.pytest("some", [str(tmp_path / "test_broken.py")], tmp_path).failed == 1
    assert steps.pytest("some", ["--no-such-option"], tmp_path).failed == 1


def test_a_command_fails_with_its_exit_status(tmp_path: Path) -> None:
    assert steps.command("good", ["this"], tmp_path).failed == 0
    result = steps.command("bad", ["no_module_of_that_name"], tmp_path)
    assert (result.passed, result.failed, result.note) == (0, 1, "exit status 1")


def test_a_step_beside_others_says_what_it_found_when_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finish = steps.beside({"good": ["this"], "bad": ["no_module_of_that_name"]}, tmp_path)
    assert capfd.readouterr().out == ""
    good, bad = finish()
    assert (good.passed, bad.note) == (1, "exit status 1")
    said = capfd.readouterr().out
    assert said.index("=== good") < said.index("The Zen of Python") < said.index("=== bad") < said.index("No module")


def test_the_table_adds_up_and_lists_every_skip() -> None:
    skip = steps.Skip("tests.gpu::test_a", "no CUDA device")
    results = [steps.Result("unit tests", 5, 1, [skip], 2.0), steps.Result("types", 1, seconds=1.5)]
    lines = steps.table(results, 3.0).splitlines()
    assert lines[3].split() == ["all", "together", "6", "1", "1", "3.0"]
    assert lines[4:] == ["skipped, 1: no CUDA device", "    tests.gpu::test_a"]


def test_a_page_passes_or_fails_and_only_a_cell_that_may_vary_has_a_second_try(
    make_page: Callable[..., Path], tmp_path: Path
) -> None:
    tries = "from pathlib import Path\n\nmark = Path(r'{}')\ntries = mark.read_text() if mark.exists() else ''\n"
    tries = tries.format(tmp_path / "tries") + "_ = mark.write_text(tries + 'x')\nassert {}"
    path = make_page("serving/small", [tries.format("True"), "print(3)", "import random\n\nprint(random.random())"])
    nb = notebooks.read(path)
    for cell in (nb.cells[0], nb.cells[2]):
        cell.metadata["tags"] = ["nbval-ignore-output"]
    notebooks.write(path, nb)
    assert run.main([], Book(tmp_path), tmp_path / "records") == 0
    text, mark = path.read_text(), tmp_path / "tries"

    def checked(condition: str, tags: str = '"nbval-ignore-output"') -> tuple[int, str, int]:
        mark.unlink()
        path.write_text(text.replace("assert True", f"assert {condition}").replace('"nbval-ignore-output"', tags, 1))
        (result,) = check.pages(tmp_path)
        assert (result.name, result.passed) == ("page serving/small", 3 - result.failed)
        return result.failed, result.note, len(mark.read_text())

    second = "run twice: at first, Cell 0 failed, whose output may vary"
    assert checked("True") == (0, "", 1)
    assert checked("tries") == (0, second, 2)
    assert checked("len(tries) > 1") == (1, second, 2)
    assert checked("tries", tags="") == (1, "", 1)
    path.write_text(text.replace('"3\\n"', '"4\\n"'))
    (result,) = check.pages(tmp_path)
    assert (result.failed, result.note) == (1, "")  # the cell that may vary passed


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("import threading", True),
        ("from concurrent.futures import ThreadPoolExecutor", True),
        ("from multiprocessing import shared_memory as shared", True),
        ("if True:\n    from kb.moe.parallel import cost, timings as clocks", True),
        ("from kb.distributed import Ranks, demo", True),
        ("import threads, parallels\nfrom kb import timing", False),
        ("threading = 'import threading'", False),
    ],
)
def test_a_page_that_starts_processes_or_threads_wants_the_machine(
    make_page: Callable[..., Path], line: str, wanted: bool
) -> None:
    assert check.wants_the_machine(make_page("serving/small", ["x = 1", line])) == wanted


def test_pages_run_two_at_a_time_on_a_core_each_and_alone_where_they_start_threads(
    make_page: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begin = f"import os, time\nfrom pathlib import Path\n\nmarks = Path(r'{tmp_path}')\n"
    wait = "for _ in range(1200):\n    if (marks / '{1}').exists():\n        break\n    time.sleep(0.05)\n"
    meet = "(marks / '{0}').touch()\n" + wait + "assert (marks / '{1}').exists()\n"
    meet += "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
    meet += "assert len(getattr(os, 'sched_getaffinity', lambda _: [0])(0)) == 1"
    alone = "import threading\n\nassert (marks / 'a').exists() and (marks / 'c').exists()\n"
    for name, rest in {
        "a": meet.format("a", "c"),
        "b": alone + "assert os.environ['OMP_NUM_THREADS'] == '2'",
        "c": meet.format("c", "a") + "\nassert False",
    }.items():
        make_page(f"serving/{name}", [begin + rest])
    results = check.pages(tmp_path)
    assert [(result.name, result.passed, result.failed) for result in results] == [
        ("page serving/a", 1, 0),
        ("page serving/b", 1, 0),
        ("page serving/c", 0, 1),
    ]
    said = capfd.readouterr().out
    assert all(said.count(f"=== page serving/{name} ") == 1 for name in "abc")
    assert said.index("=== page serving/b ") > max(said.index(f"=== page serving/{name} ") for name in "ac")


def test_every_step_runs_and_is_recorded_though_the_first_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []

    def fake(name: str, *_: object, **__: object) -> steps.Result:
        done.append(name)
        skips = [steps.Skip("t", "no browser")] if name == "site tests" else []
        return steps.Result(name, 1, int(name == "lint"), skips)

    monkeypatch.setattr(steps, "command", fake)
    monkeypatch.setattr(steps, "beside", lambda given, _: lambda: [fake(name) for name in given])
    monkeypatch.setattr(steps, "pytest", fake)
    monkeypatch.setattr(notebooks, "pages", lambda chapters: [chapters / "serving" / "small.ipynb"])
    monkeypatch.setattr(check, "wants_the_machine", lambda _: True)
    assert check.main([], tmp_path) == 1
    before = ["lint", "format", "unit tests", "types", "compiled loops"]
    assert done == [*before, "page serving/small", "site", "site tests"]
    said = capsys.readouterr().out
    assert "FAILED: lint" in said
    assert "skipped, 1: no browser" in said
    record = json.loads((tmp_path / "_build/records/tests.json").read_text())
    assert (record["passed"], record["failed"], record["skipped"]) == (8, 1, 1)
    assert record["steps"][-1]["skips"] == [{"test": "t", "reason": "no browser"}]
    assert record["skips"] == record["steps"][-1]["skips"]
    assert record["pages"]["serving/small"]["passed"] == 1


def test_a_site_that_is_not_built_is_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "command", lambda name, *_: steps.Result(name, failed=1))
    assert [(result.name, result.failed) for result in check.site(tmp_path)] == [("site", 1), ("site tests", 1)]


def test_an_unknown_page_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["serving/none"], tmp_path) == 2
    assert "'serving/none'" in capsys.readouterr().err
