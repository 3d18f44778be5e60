"""What is particular to the record of a measurement: samples by name, ratios of them, and facts without samples."""

import hashlib
import json
import statistics

from benchmarks.record import BENCHMARKS, Kind, Record
from kb.arguments import is_number


def derived(record: Record) -> Record:
    """What follows from the raw values: medians, medians of paired ratios, and the sha256 of the facts."""
    values = {name: series["values"] for name, series in record["samples"].items()}
    facts = json.dumps(record["facts"], sort_keys=True, allow_nan=False)
    return {
        "medians": {name: round(statistics.median(series), 6) for name, series in values.items()},
        "median_ratios": {
            name: round(statistics.median(a / b for a, b in zip(values[above], values[below], strict=True)), 6)
            for name, (above, below) in record["ratios"].items()
        },
        "facts_sha256": hashlib.sha256(facts.encode()).hexdigest(),
    }


def faults(record: Record) -> list[str]:
    """What is wrong with the samples, the ratios and the facts."""
    samples = record["samples"]
    if not samples and not record["facts"]:
        return ["it has neither samples nor facts"]
    found = []
    for name, series in samples.items():
        if not series["values"] or not all(is_number(value) for value in series["values"]):
            found.append(f"{name} has no samples, or one that is not a finite number")
    for name, pair in record["ratios"].items():
        if len(pair) != 2 or not set(pair) <= set(samples):
            found.append(f"{name} is a ratio of {' and '.join(pair)}, which are not two of its samples")
        elif len({len(samples[part]["values"]) for part in pair}) > 1:
            found.append(f"{name} is a ratio of samples that are not pairs")
        elif not all(samples[pair[1]]["values"]):
            found.append(f"{name} divides by zero")
    return found


MEASUREMENT = Kind(
    name="measurement",
    folder=BENCHMARKS / "measurements",
    own_keys=frozenset({"title", "method", "samples", "ratios", "facts", "medians", "median_ratios", "facts_sha256"}),
    derived=derived,
    faults=faults,
)
