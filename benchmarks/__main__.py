"""``make bench``: run the races, taking turns, and the measurements on this machine's device, and record them.

A script whose assertions fail, or whose library cannot be had, is named and leaves no record; the others still run.
"""

import argparse
import dataclasses
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from benchmarks.contest import Contest
from benchmarks.environments import NotInstalledError
from benchmarks.foreign.worker import WorkerError
from benchmarks.measurement import Measurement
from benchmarks.measurement_record import MEASUREMENT
from benchmarks.race_record import FEWEST_ROUNDS, RACE, shown
from benchmarks.record import RESULTS, Kind, Record
from book import notebooks, records
from kb import runtime, timing

EVERY_DEVICE = ("cpu", "cuda")
MOST_TOLD = 8  # medians and ratios of a measurement, in the line that says it was recorded


class ElsewhereError(Exception):
    """A script does not run on this machine's device."""


def commit() -> str:
    """The commit that is checked out, with "+" where files differ from it; "unknown" outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(notebooks.ROOT), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def script(kind: Kind, name: str) -> ModuleType:
    """The module of a race or a measurement."""
    return importlib.import_module(f"benchmarks.{kind.folder.name}.{name}")


def devices(kind: Kind, name: str) -> tuple[str, ...]:
    """The types of device that a script runs on: its ``DEVICES``, or all where it says nothing."""
    found: tuple[str, ...] = getattr(script(kind, name), "DEVICES", EVERY_DEVICE)
    return found


def race(name: str, device: torch.device, rounds: int | None) -> Record:
    """Run one race; returns what of its record only this run can tell."""
    contest: Contest = script(RACE, name).contest(device)
    try:
        result = timing.race(contest.run_ours, contest.run_theirs, rounds=rounds or contest.rounds, where=device)
    finally:
        contest.close()
    told = ("title", "ours", "theirs", "unit", "units", "agreement")
    return {key: getattr(contest, key) for key in told} | {
        "details": dict(contest.details),
        "ours_seconds": [round(sample, 9) for sample in result.a_seconds],
        "theirs_seconds": [round(sample, 9) for sample in result.b_seconds],
    }


def measure(name: str, device: torch.device) -> Record:
    """Run one measurement; returns what of its record only this run can tell."""
    measured: Measurement = script(MEASUREMENT, name).measure(device)
    made = dataclasses.asdict(measured)
    made["ratios"] = {ratio: list(pair) for ratio, pair in measured.ratios.items()}
    for series in made["samples"].values():
        series["values"] = [round(value, 9) for value in series["values"]]
    return made


def recorded(kind: Kind, name: str, rounds: int | None, revision: str) -> Record:
    """Run a script and return its record.

    Raises:
        AssertionError: what it claims does not hold, or what it measured is no record.
        ElsewhereError: it does not run on this device.
    """
    device = runtime.device()
    if device.type not in devices(kind, name):
        raise ElsewhereError(f"it runs on {' and '.join(devices(kind, name))}, and this is {device.type}")
    made = race(name, device, rounds) if kind is RACE else measure(name, device)
    made |= {
        kind.name: name,
        "command": f"make bench RACE={name}",
        "commit": revision,
        "script_sha256": kind.script_hash(name),
        "hardware": runtime.hardware(),
        "device": device.type,
        "versions": runtime.versions(),
        "date": records.today(),
    }
    faults = kind.faults(made)
    assert not faults, "; ".join(faults)
    return made | kind.derived(made)


def summary(kind: Kind, made: Record) -> str:
    """One line of what was found."""
    if kind is RACE:
        each = f"{made['ours_ms_per_unit']:.3g} ms and {made['theirs_ms_per_unit']:.3g} ms per {made['unit']}"
        return f"ours / theirs = {shown(made)} ({each})"
    found = [f"{key} {value:.4g} {made['samples'][key]['unit']}" for key, value in made["medians"].items()]
    found += [f"{key} {value:.3f}" for key, value in made["median_ratios"].items()]
    if len(found) > MOST_TOLD:
        found[MOST_TOLD:] = [f"and {len(found) - MOST_TOLD} more"]
    return ", ".join(found) or f"facts: {', '.join(made['facts'])}"


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    """Run the scripts that are named, or all; returns 1 where one could not be run, 2 where there is no such script."""
    known = {name: kind for kind in (RACE, MEASUREMENT) for name in kind.names()}
    parser = argparse.ArgumentParser(prog="make bench", description="Run races and measurements and record them.")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(known)}; all that run here where none is named")
    parser.add_argument("--rounds", type=int, help=f"pairs of runs of a race, at least {FEWEST_ROUNDS}")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.name if name not in known]:
        print(f"there is no {unknown[0]!r}; races and measurements are: {', '.join(known)}", file=sys.stderr)
        return 2
    if options.rounds is not None and options.rounds < FEWEST_ROUNDS:
        print(f"--rounds: wanted at least {FEWEST_ROUNDS}, got {options.rounds}", file=sys.stderr)
        return 2
    wanted = options.name or list(known)
    failures, revision = 0, commit()  # before a record is written, which is a change
    for place, name in enumerate(wanted, start=1):
        kind = known[name]
        print(f"{place} of {len(wanted)}: {kind.name} {name} ...", flush=True)
        try:
            made = recorded(kind, name, options.rounds, revision)
        except ElsewhereError as error:
            failures += bool(options.name)
            print(f"{name}: left out: {error}", flush=True)
            continue
        except (AssertionError, ImportError, NotInstalledError, WorkerError) as error:
            failures += 1
            print(f"{name}: not recorded: {error}", file=sys.stderr, flush=True)
            continue
        path = kind.write(made, results)
        print(f"{name}: {summary(kind, made)}: {path.name}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
