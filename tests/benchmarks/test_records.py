"""Every record can be quoted: its script is the one that made it, and what is derived follows from its samples."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.measurement_record import MEASUREMENT
from benchmarks.race_record import RACE, per_second, shown
from benchmarks.record import RESULTS, Kind, Record, read_all

LARGEST_RECORD = 60_000  # bytes
SCRIPTS = [(kind, name) for kind in (RACE, MEASUREMENT) for name in kind.names()]


@pytest.mark.parametrize("name", sorted(read_all()))
def test_a_committed_record_can_be_quoted(name: str) -> None:
    found = read_all()[name]
    (kind,) = [kind for kind in (RACE, MEASUREMENT) if kind.name in found]
    assert kind.problems(found) == []
    assert name == f"{found[kind.name]}-{found['device']}"
    assert (RESULTS / f"{name}.json").stat().st_size <= LARGEST_RECORD


@pytest.mark.parametrize(("kind", "name"), SCRIPTS, ids=[name for _, name in SCRIPTS])
def test_every_script_has_a_record_on_the_cpu_or_else_where_it_runs(kind: Kind, name: str) -> None:
    devices = bench.devices(kind, name)
    assert devices
    assert set(devices) <= set(bench.EVERY_DEVICE)
    wanted = ["cpu"] if "cpu" in devices else devices
    assert {f"{name}-{device}" for device in wanted} & set(kind.read_all())


def test_no_race_and_measurement_share_a_name() -> None:
    assert set(RACE.names()) & set(MEASUREMENT.names()) == set()


@pytest.mark.parametrize(("kind", "name"), SCRIPTS, ids=[name for _, name in SCRIPTS])
def test_every_script_offers_what_the_command_calls(kind: Kind, name: str) -> None:
    module = importlib.import_module(f"benchmarks.{kind.folder.name}.{name}")
    assert callable(getattr(module, "contest" if kind is RACE else "measure"))


def test_medians_of_a_race_are_those_of_pairs(good_race: Record, races: Kind) -> None:
    medians = [good_race[key] for key in ("median_ratio", "ours_ms_per_unit", "theirs_ms_per_unit")]
    assert medians == [1.5, 750.0, 500.0]
    assert (per_second(good_race, "ours"), per_second(good_race, "theirs")) == (1e3 / 750.0, 2.0)
    assert races.problems(good_race) == []


def test_medians_of_a_measurement_are_those_of_its_samples(good_measurement: Record, measurements: Kind) -> None:
    assert good_measurement["medians"] == {"run": 2.0, "rest": 4.0}
    assert good_measurement["median_ratios"] == {"run / rest": 0.5}
    assert measurements.problems(good_measurement) == []


def test_each_kind_reads_its_own_records(
    good_race: Record, good_measurement: Record, races: Kind, measurements: Kind, tmp_path: Path
) -> None:
    assert races.write(good_race, tmp_path).name == "sprint-text.json"
    assert measurements.write(good_measurement, tmp_path).name == "lap-text.json"
    assert races.read_all(tmp_path) == {"sprint-text": good_race}
    assert measurements.read_all(tmp_path) == {"lap-text": good_measurement}


def change_script(record: Record, kind: Kind) -> None:
    (kind.folder / f"{record[kind.name]}.py").write_text("METRES = 60\n")


def remove_script(record: Record, kind: Kind) -> None:
    (kind.folder / f"{record[kind.name]}.py").unlink()


Spoil = Callable[[Record, Kind], object]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_script, "its script has changed"),
        (remove_script, "there is no race 'sprint' any more"),
        (lambda good, _: good.update(median_ratio=0.5), "median_ratio is 0.5, and its samples give 1.5"),
        (lambda good, _: good.update(ours_seconds=[9.0] * 5), "ours_ms_per_unit is 750.0"),
        (lambda good, _: good.update(ours_seconds=[1.0] * 4, theirs_seconds=[2.0] * 4), "at least 5 samples"),
        (lambda good, _: good["theirs_seconds"].pop(), "at least 5 samples"),
        (lambda good, _: good["ours_seconds"].__setitem__(0, 0.0), "not a time"),
        (lambda good, _: good["ours_seconds"].__setitem__(0, float("nan")), "not a time"),
        (lambda good, _: good.pop("commit"), "it lacks commit"),
    ],
)
def test_a_race_that_cannot_be_quoted_says_why(good_race: Record, races: Kind, spoil: Spoil, said: str) -> None:
    spoil(good_race, races)
    assert said in " ".join(races.problems(good_race))


def samples(record: Record, name: str, values: list[object]) -> None:
    record["samples"][name]["values"] = values


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_script, "its script has changed"),
        (remove_script, "there is no measurement 'lap' any more"),
        (lambda good, _: good["medians"].update(run=1.0), "medians is {'run': 1.0"),
        (lambda good, _: good["median_ratios"].clear(), "median_ratios is {}"),
        (lambda good, _: good["facts"].update(tokens="1 2 4"), "facts_sha256 is"),
        (lambda good, _: samples(good, "run", [3.0, 1.0, 9.0]), "and its samples give"),
        (lambda good, _: samples(good, "run", []), "run has no samples"),
        (lambda good, _: samples(good, "run", [1.0, True, 2.0]), "not a finite number"),
        (lambda good, _: samples(good, "run", [1.0, float("inf"), 2.0]), "not a finite number"),
        (lambda good, _: samples(good, "run", [1.0]), "not pairs"),
        (lambda good, _: samples(good, "rest", [1.0, 0.0, 1.0]), "divides by zero"),
        (lambda good, _: good["samples"].pop("rest"), "not two of its samples"),
        (lambda good, _: good.update(samples={}, ratios={}, facts={}), "neither samples nor facts"),
        (lambda good, _: good.pop("method"), "it lacks method"),
    ],
)
def test_a_measurement_that_cannot_be_quoted_says_why(
    good_measurement: Record, measurements: Kind, spoil: Spoil, said: str
) -> None:
    spoil(good_measurement, measurements)
    assert said in " ".join(measurements.problems(good_measurement))


@pytest.mark.parametrize(("ratio", "text"), [(0.898, "0.90"), (1.4, "1.40"), (0.1, "0.10"), (0.000318, "0.00032")])
def test_a_ratio_is_shown_with_digits_that_say_something(ratio: float, text: str) -> None:
    assert shown({"median_ratio": ratio}) == text
