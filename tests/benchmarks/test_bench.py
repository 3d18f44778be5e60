"""``make bench``: what it runs, what it records, and what it says where it cannot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks.contest import Contest
from benchmarks.environments import NotInstalledError
from benchmarks.foreign.worker import WorkerError
from benchmarks.measurement import Measurement, Samples
from benchmarks.measurement_record import MEASUREMENT
from benchmarks.race_record import RACE

MEASURED = Measurement(
    title="A lap",
    method="by hand",
    samples={"run": Samples("s", [3.0, 1.0, 2.0]), "rest": Samples("s", (6.0, 2.0, 4.0))},
    ratios={"run / rest": ("run", "rest")},
    facts={"laps": 3},
)


def fake_contest(answer: Callable[[], object] = lambda: None, **options: Any) -> Contest:
    return Contest("Sprint", "kb.run", "library.run", "metre", 100, "both arrive", answer, lambda: None, **options)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts something else in the place of the race ``decode`` and of the measurement ``scheduling_overhead``."""

    def replace(contest: Callable[[object], Contest] | None = None, measure: Any = None) -> None:
        if contest is not None:
            monkeypatch.setattr("benchmarks.races.decode.contest", contest)
        if measure is not None:
            monkeypatch.setattr("benchmarks.measurements.scheduling_overhead.measure", measure)

    return replace


def only(folder: Path) -> tuple[Path, dict[str, Any]]:
    (path,) = folder.iterdir()
    return path, json.loads(path.read_text(encoding="utf-8"))


def test_a_race_is_recorded_with_its_samples_and_details(
    scripts: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts(lambda device: fake_contest(details={"threads": 2}))
    assert bench.main(["decode", "--rounds", "5"], tmp_path) == 0
    path, made = only(tmp_path)
    assert path.stem == f"decode-{made['device']}"
    assert len(made["ours_seconds"]) == len(made["theirs_seconds"]) == 5
    assert (made["title"], made["units"], made["details"]) == ("Sprint", 100, {"threads": 2})
    assert RACE.problems(made) == []
    assert "1 of 1: race decode" in (said := capsys.readouterr().out)
    assert "ours / theirs = " in said


def test_a_race_may_say_how_many_rounds_it_takes_and_is_closed(scripts: Callable[..., None], tmp_path: Path) -> None:
    closed: list[bool] = []
    scripts(lambda device: fake_contest(rounds=6, close=lambda: closed.append(True)))
    assert bench.main(["decode"], tmp_path) == 0
    assert len(only(tmp_path)[1]["ours_seconds"]) == 6
    assert closed == [True]


def test_a_race_that_fails_while_it_runs_is_closed(scripts: Callable[..., None], tmp_path: Path) -> None:
    def break_off() -> None:
        raise WorkerError("vLLM ended while it was asked for generate")

    closed: list[bool] = []
    scripts(lambda device: fake_contest(break_off, close=lambda: closed.append(True)))
    assert bench.main(["decode", "--rounds", "5"], tmp_path) == 1
    assert closed == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_is_recorded_with_what_follows_from_it(
    scripts: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts(measure=lambda device: MEASURED)
    assert bench.main(["scheduling_overhead"], tmp_path) == 0
    path, made = only(tmp_path)
    assert path.stem == f"scheduling_overhead-{made['device']}"
    assert made["samples"]["run"] == {"unit": "s", "values": [3.0, 1.0, 2.0]}
    assert (made["medians"], made["median_ratios"]) == ({"run": 2.0, "rest": 4.0}, {"run / rest": 0.5})
    assert (made["facts"], made["command"]) == ({"laps": 3}, "make bench RACE=scheduling_overhead")
    assert MEASUREMENT.problems(made) == []
    assert "run 2 s, rest 4 s, run / rest 0.500: scheduling_overhead-" in capsys.readouterr().out


def test_of_many_medians_a_few_are_told(
    scripts: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    laps = {f"lap {number}": Samples("s", [1.0]) for number in range(12)}
    scripts(measure=lambda device: Measurement("Laps", "by hand", samples=laps))
    assert bench.main(["scheduling_overhead"], tmp_path) == 0
    said = capsys.readouterr().out
    assert "lap 7 1 s, and 4 more: scheduling_overhead-" in said
    assert "lap 8" not in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError("the contenders write different tokens"), "decode: not recorded: the contenders write"),
        (ImportError("No module named 'xgboost'"), "decode: not recorded: No module named 'xgboost'"),
        (NotInstalledError("installing vllm failed"), "decode: not recorded: installing vllm failed"),
        (WorkerError("vLLM did not answer"), "decode: not recorded: vLLM did not answer"),
    ],
)
def test_what_cannot_be_run_is_named_leaves_no_record_and_stops_no_other(
    scripts: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def fail(device: object) -> Contest:
        raise error

    scripts(fail, lambda device: MEASURED)
    assert bench.main(["decode", "scheduling_overhead", "--rounds", "5"], tmp_path) == 1
    assert said in capsys.readouterr().err
    assert only(tmp_path)[0].stem.startswith("scheduling_overhead-")


def test_a_measurement_without_samples_is_not_recorded(
    scripts: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts(measure=lambda device: Measurement("A lap", "by hand"))
    assert bench.main(["scheduling_overhead"], tmp_path) == 1
    assert "it has neither samples nor facts" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_runs_on_another_device_is_left_out(
    scripts: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scripts(lambda device: fake_contest())
    monkeypatch.setattr("benchmarks.races.decode.DEVICES", ("abacus",), raising=False)
    assert bench.main(["decode"], tmp_path) == 1
    assert "decode: left out: it runs on abacus, and this is" in capsys.readouterr().out
    monkeypatch.setattr(RACE.__class__, "names", lambda kind: ["decode"] if kind is RACE else [])
    assert bench.main([], tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"), [(["sprint"], "there is no 'sprint'"), (["--rounds", "4"], "at least 5, got 4")]
)
def test_bad_arguments_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(arguments) == 2
    assert said in capsys.readouterr().err
