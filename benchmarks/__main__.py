"""``make bench``: run the races on this machine's device, taking turns, and record them.

A race whose answers differ, or whose library is not installed, is named and leaves no record; the others still run.
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.contest import Contest
from book import notebooks, records
from kb import runtime, timing

ROUNDS = 11


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


def run(race: str, rounds: int, revision: str) -> dict[str, Any]:
    """Run one race and return its record."""
    device = runtime.device()
    contest: Contest = importlib.import_module(f"benchmarks.races.{race}").contest(device)
    result = timing.race(contest.run_ours, contest.run_theirs, rounds=rounds, where=device)
    made = {
        **{key: getattr(contest, key) for key in ("title", "ours", "theirs", "unit", "units", "agreement")},
        "race": race,
        "command": f"make bench RACE={race}",
        "commit": revision,
        "script_sha256": record.script_hash(race),
        "hardware": runtime.hardware(),
        "device": device.type,
        "versions": runtime.versions(),
        "date": records.today(),
        "ours_seconds": [round(sample, 9) for sample in result.a_seconds],
        "theirs_seconds": [round(sample, 9) for sample in result.b_seconds],
    }
    return made | record.derived(made)


def main(arguments: Sequence[str] | None = None, results: Path = record.RESULTS) -> int:
    """Run the races that are named, or all; returns 1 where one could not be run, 2 where there is no such race."""
    known = record.names()
    parser = argparse.ArgumentParser(prog="make bench", description="Run the races and record them.")
    parser.add_argument("race", nargs="*", help=f"of {', '.join(known)}; all where none is named")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {record.FEWEST_ROUNDS}")
    options = parser.parse_args(arguments)
    wanted = options.race or known
    if unknown := [race for race in wanted if race not in known]:
        print(f"race: there is no {unknown[0]!r}; the races are: {', '.join(known)}", file=sys.stderr)
        return 2
    if options.rounds < record.FEWEST_ROUNDS:
        print(f"--rounds: wanted at least {record.FEWEST_ROUNDS}, got {options.rounds}", file=sys.stderr)
        return 2
    failures, revision = 0, commit()  # before a record is written, which is a change
    for place, race in enumerate(wanted, start=1):
        print(f"{place} of {len(wanted)}: {race} ...", flush=True)
        try:
            made = run(race, options.rounds, revision)
        except (AssertionError, ImportError) as error:
            failures += 1
            print(f"{race}: not recorded: {error}", file=sys.stderr)
            continue
        path = record.write(made, results)
        each = f"{made['ours_ms_per_unit']:.3g} ms and {made['theirs_ms_per_unit']:.3g} ms per {made['unit']}"
        print(f"{race}: ours / theirs = {made['median_ratio']:.2f} ({each}): {path.name}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
