"""Every recorded race can be quoted: its script is the one that made it, and its medians are those of its samples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks import record
from benchmarks.contest import Contest


@pytest.fixture
def races(tmp_path: Path) -> Path:
    folder = tmp_path / "races"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "sprint.py").write_text("METRES = 100\n")
    return folder


@pytest.fixture
def good(races: Path) -> dict[str, Any]:
    made = dict.fromkeys(record._KEYS, "text") | {
        "race": "sprint",
        "script_sha256": record.script_hash("sprint", races),
        "units": 4,
        "ours_seconds": [1.0, 2.0, 3.0, 4.0, 5.0],
        "theirs_seconds": [2.0, 2.0, 2.0, 2.0, 2.0],
    }
    return made | record.derived(made)


@pytest.mark.parametrize("name", sorted(record.read_all()))
def test_a_committed_record_can_be_quoted(name: str) -> None:
    found = record.read_all()[name]
    assert record.problems(found) == []
    assert name == f"{found['race']}-{found['device']}"


def test_there_is_a_record_of_every_race_on_the_cpu() -> None:
    assert {f"{race}-cpu" for race in record.names()} <= set(record.read_all())


def test_medians_are_those_of_pairs(good: dict[str, Any], races: Path) -> None:
    assert (good["median_ratio"], good["ours_ms_per_unit"], good["theirs_ms_per_unit"]) == (1.5, 750.0, 500.0)
    assert record.problems(good, races) == []


def change_script(good: dict[str, Any], races: Path) -> None:
    (races / "sprint.py").write_text("METRES = 60\n")


def remove_script(good: dict[str, Any], races: Path) -> None:
    (races / "sprint.py").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_script, "its script has changed"),
        (remove_script, "there is no race 'sprint' any more"),
        (lambda good, races: good.update(median_ratio=0.5), "median_ratio is 0.5, and its samples give 1.5"),
        (lambda good, races: good.update(ours_seconds=[9.0] * 5), "ours_ms_per_unit is 750.0"),
        (lambda good, races: good.update(ours_seconds=[1.0] * 4, theirs_seconds=[2.0] * 4), "at least 5 samples"),
        (lambda good, races: good["theirs_seconds"].pop(), "at least 5 samples"),
        (lambda good, races: good["ours_seconds"].__setitem__(0, 0.0), "not a time"),
        (lambda good, races: good["ours_seconds"].__setitem__(0, float("nan")), "not a time"),
        (lambda good, races: good.pop("commit"), "it lacks commit"),
    ],
)
def test_a_record_that_cannot_be_quoted_says_why(
    good: dict[str, Any], races: Path, spoil: Callable[[dict[str, Any], Path], object], said: str
) -> None:
    spoil(good, races)
    assert said in " ".join(record.problems(good, races))


def fake_contest(answer: Callable[[], object] = lambda: None) -> Contest:
    return Contest("Sprint", "kb.run", "library.run", "metre", 100, "both arrive", answer, lambda: None)


def test_a_race_is_recorded_with_its_samples(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.races.decode.contest", lambda device: fake_contest())
    assert bench.main(["decode", "--rounds", "5"], tmp_path) == 0
    (path,) = tmp_path.glob("*.json")
    made = json.loads(path.read_text())
    assert path.stem == f"decode-{made['device']}"
    assert len(made["ours_seconds"]) == len(made["theirs_seconds"]) == 5
    assert (made["title"], made["units"]) == ("Sprint", 100)
    assert "ours / theirs = " in capsys.readouterr().out


def test_a_race_whose_answers_differ_leaves_no_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def differ(device: object) -> Contest:
        raise AssertionError("the contenders write different tokens")

    monkeypatch.setattr("benchmarks.races.decode.contest", differ)
    assert bench.main(["decode", "--rounds", "5"], tmp_path) == 1
    assert "decode: not recorded: the contenders write different tokens" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"), [(["sprint"], "there is no 'sprint'"), (["--rounds", "4"], "at least 5, got 4")]
)
def test_bad_arguments_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(arguments) == 2
    assert said in capsys.readouterr().err
