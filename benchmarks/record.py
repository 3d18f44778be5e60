"""The record of a race: raw samples and what they were made with; everything else in it can be computed again.

Nothing here needs torch: the site and the tests read records on any machine.
"""

import hashlib
import json
import math
import statistics
from pathlib import Path
from typing import Any

from book import records
from book.notebooks import ROOT

RACES = ROOT / "benchmarks" / "races"
RESULTS = ROOT / "benchmarks" / "results"

FEWEST_ROUNDS = 5
_KEYS = {
    *("race", "title", "ours", "theirs", "unit", "units", "agreement", "command", "commit", "script_sha256"),
    *("hardware", "device", "versions", "date", "ours_seconds", "theirs_seconds"),
    *("median_ratio", "ours_ms_per_unit", "theirs_ms_per_unit"),
}


def names(races: Path = RACES) -> list[str]:
    """The races that there are, sorted."""
    return sorted(path.stem for path in races.glob("*.py") if path.stem != "__init__")


def script_hash(race: str, races: Path = RACES) -> str:
    """The sha256 of a race's script."""
    return hashlib.sha256((races / f"{race}.py").read_bytes()).hexdigest()


def derived(record: dict[str, Any]) -> dict[str, float]:
    """What follows from the samples: the median of the paired ratios, and milliseconds per unit of both."""
    ours, theirs, units = record["ours_seconds"], record["theirs_seconds"], record["units"]
    return {
        "median_ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 6),
        "ours_ms_per_unit": round(1e3 * statistics.median(ours) / units, 6),
        "theirs_ms_per_unit": round(1e3 * statistics.median(theirs) / units, 6),
    }


def problems(record: dict[str, Any], races: Path = RACES) -> list[str]:
    """What is wrong with a record, a sentence each; empty where it can be quoted."""
    missing = sorted(_KEYS - set(record))
    if missing:
        return [f"it lacks {', '.join(missing)}"]
    found = []
    if record["race"] not in names(races):
        return [f"there is no race {record['race']!r} any more: delete the record"]
    if record["script_sha256"] != script_hash(record["race"], races):
        found.append("its script has changed since: run `make bench` again")
    samples = [*record["ours_seconds"], *record["theirs_seconds"]]
    if len(record["ours_seconds"]) != len(record["theirs_seconds"]) or len(samples) < 2 * FEWEST_ROUNDS:
        return [*found, f"it has not at least {FEWEST_ROUNDS} samples of both"]
    if not all(isinstance(sample, float) and math.isfinite(sample) and sample > 0 for sample in samples):
        return [*found, "a sample is not a time in seconds"]
    for key, value in derived(record).items():
        if record[key] != value:
            found.append(f"{key} is {record[key]}, and its samples give {value}")
    return found


def read_all(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """All records by the name of their file, sorted."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}


def write(record: dict[str, Any], results: Path) -> Path:
    """Write a record, at once or not at all, to ``<race>-<device>.json``."""
    path = results / f"{record['race']}-{record['device']}.json"
    records.write(path, record)
    return path
