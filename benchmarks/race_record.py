"""What is particular to the record of a race: paired samples, and the median of their ratios."""

import math
import statistics

from benchmarks.record import BENCHMARKS, Kind, Record

FEWEST_ROUNDS = 5


def derived(record: Record) -> Record:
    """What follows from the samples: the median of the paired ratios, and milliseconds per unit of both."""
    ours, theirs, units = record["ours_seconds"], record["theirs_seconds"], record["units"]
    return {
        "median_ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 6),
        "ours_ms_per_unit": round(1e3 * statistics.median(ours) / units, 6),
        "theirs_ms_per_unit": round(1e3 * statistics.median(theirs) / units, 6),
    }


def faults(record: Record) -> list[str]:
    """What is wrong with the samples of both."""
    samples = [*record["ours_seconds"], *record["theirs_seconds"]]
    if len(record["ours_seconds"]) != len(record["theirs_seconds"]) or len(samples) < 2 * FEWEST_ROUNDS:
        return [f"it has not at least {FEWEST_ROUNDS} samples of both"]
    if not all(isinstance(sample, float) and math.isfinite(sample) and sample > 0 for sample in samples):
        return ["a sample is not a time in seconds"]
    return []


def per_second(record: Record, side: str) -> float:
    """Units per second of one side, "ours" or "theirs": tokens per second where the unit is a token."""
    return 1e3 / float(record[f"{side}_ms_per_unit"])


def shown(record: Record) -> str:
    """The median ratio with two decimals, or with two digits where it is too small for these."""
    ratio = float(record["median_ratio"])
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


RACE = Kind(
    name="race",
    folder=BENCHMARKS / "races",
    own_keys=frozenset({"title", "ours", "theirs", "unit", "units", "agreement"})
    | {"ours_seconds", "theirs_seconds", "median_ratio", "ours_ms_per_unit", "theirs_ms_per_unit"},
    derived=derived,
    faults=faults,
)
