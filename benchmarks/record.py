"""The records under ``results/``: raw values and what they were made with; everything else in them is computed again.

There are two kinds. A race has two contenders that took turns, a measurement has one system and several numbers; what
only one kind has stands in ``race_record.py`` and ``measurement_record.py``. Nothing here needs torch: the site and the
tests read records on any machine.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book import records
from book.notebooks import ROOT

BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"

Record = dict[str, Any]

_PROVENANCE = frozenset({"command", "commit", "script_sha256", "hardware", "device", "versions", "date"})


@dataclass(frozen=True)
class Kind:
    """A kind of record.

    Args:
        name: Its name, and the key under which a record of it names its script.
        folder: Where its scripts lie.
        own_keys: What a record of it holds besides its provenance.
        derived: What follows from the raw values of a record, to be stored with them.
        faults: What is wrong with the raw values, a sentence each.
    """

    name: str
    folder: Path
    own_keys: frozenset[str]
    derived: Callable[[Record], Record]
    faults: Callable[[Record], list[str]]

    @property
    def keys(self) -> frozenset[str]:
        """What every record of this kind holds."""
        return _PROVENANCE | self.own_keys | {self.name}

    def names(self) -> list[str]:
        """The scripts that there are, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.py") if path.stem != "__init__")

    def script_hash(self, name: str) -> str:
        """The sha256 of a script."""
        return hashlib.sha256((self.folder / f"{name}.py").read_bytes()).hexdigest()

    def problems(self, record: Record) -> list[str]:
        """What is wrong with a record, a sentence each; empty where it can be quoted."""
        if missing := sorted(self.keys - set(record)):
            return [f"it lacks {', '.join(missing)}"]
        name = record[self.name]
        if name not in self.names():
            return [f"there is no {self.name} {name!r} any more: delete the record"]
        changed = record["script_sha256"] != self.script_hash(name)
        found = ["its script has changed since: run `make bench` again"] if changed else []
        if faults := self.faults(record):
            return [*found, *faults]
        for key, value in self.derived(record).items():
            if record[key] != value:
                found.append(f"{key} is {record[key]}, and its samples give {value}")
        return found

    def read_all(self, results: Path = RESULTS) -> dict[str, Record]:
        """The records of this kind by the name of their file, sorted."""
        return {name: record for name, record in read_all(results).items() if self.name in record}

    def write(self, record: Record, results: Path) -> Path:
        """Write a record, at once or not at all, to ``<script>-<device>.json``."""
        path = results / f"{record[self.name]}-{record['device']}.json"
        records.write(path, record)
        return path


def read_all(results: Path = RESULTS) -> dict[str, Record]:
    """All records of both kinds by the name of their file, sorted."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
