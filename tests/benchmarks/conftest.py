"""A folder of scripts, and good records of them."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.measurement_record import MEASUREMENT
from benchmarks.race_record import RACE
from benchmarks.record import Kind, Record


def _scripts(folder: Path, name: str) -> Path:
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / f"{name}.py").write_text("METRES = 100\n")
    return folder


@pytest.fixture
def races(tmp_path: Path) -> Kind:
    """Races of which there is one, ``sprint``."""
    return dataclasses.replace(RACE, folder=_scripts(tmp_path / "races", "sprint"))


@pytest.fixture
def measurements(tmp_path: Path) -> Kind:
    """Measurements of which there is one, ``lap``."""
    return dataclasses.replace(MEASUREMENT, folder=_scripts(tmp_path / "measurements", "lap"))


@pytest.fixture
def good_race(races: Kind) -> Record:
    """A record of ``sprint`` that can be quoted."""
    made = dict.fromkeys(races.keys, "text") | {
        "race": "sprint",
        "script_sha256": races.script_hash("sprint"),
        "units": 4,
        "ours_seconds": [1.0, 2.0, 3.0, 4.0, 5.0],
        "theirs_seconds": [2.0, 2.0, 2.0, 2.0, 2.0],
    }
    return made | races.derived(made)


@pytest.fixture
def good_measurement(measurements: Kind) -> Record:
    """A record of ``lap`` that can be quoted."""
    made = dict.fromkeys(measurements.keys, "text") | {
        "measurement": "lap",
        "script_sha256": measurements.script_hash("lap"),
        "samples": {
            "run": {"unit": "s", "values": [3.0, 1.0, 2.0]},
            "rest": {"unit": "s", "values": [6.0, 4.0, 2.0]},
        },
        "ratios": {"run / rest": ["run", "rest"]},
        "facts": {"tokens": "1 2 3"},
    }
    return made | measurements.derived(made)
