"""One step of ``make test``: a command whose output streams by, and what it counted.

pytest writes its counts as JUnit XML beside its output, so that a skip keeps its reason and nothing is read out of
text made for people.
"""

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

NOTHING_COLLECTED = 5  # pytest's exit status
SHOWING = Lock()


@dataclass(frozen=True)
class Skip:
    """A test that was not run, and why."""

    test: str
    reason: str


@dataclass
class Result:
    """What a step counted; a command that is no test counts as one."""

    name: str
    passed: int = 0
    failed: int = 0
    skips: list[Skip] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""
    failures: list[str] = field(default_factory=list)  # the names of tests that failed, in order

    @property
    def skipped(self) -> int:
        """Tests that were not run."""
        return len(self.skips)


def heading(name: str) -> None:
    """Announce a step, on stdout and before anything that it prints."""
    print(f"\n=== {name} ".ljust(100, "="), flush=True)


def command(name: str, arguments: Sequence[str], root: Path) -> Result:
    """Run a module of this Python, ``python -m <arguments>``; it passes with exit status 0."""
    heading(name)
    return _run(name, arguments, root)[0]


def beside(steps: Mapping[str, Sequence[str]], root: Path) -> Callable[[], list[Result]]:
    """Start what :func:`command` runs, one after another, beside the steps that follow.

    Args:
        steps: The arguments of each, by its name.
        root: Where to run them.

    Returns:
        A function that waits for all and shows their output.
    """
    pool = ThreadPoolExecutor(1)
    running = [pool.submit(_run, name, arguments, root, capture=True) for name, arguments in steps.items()]
    pool.shutdown(wait=False)

    def finish() -> list[Result]:
        results = []
        for one in running:
            result, output = one.result()
            _show(result.name, output)
            results.append(result)
        return results

    return finish


def _run(name: str, arguments: Sequence[str], root: Path, *, capture: bool = False) -> tuple[Result, str]:
    start = time.perf_counter()
    line = [sys.executable, "-m", *arguments]
    status, output = _process(line, root, capture=capture)
    note = f"exit status {status}" if status else ""
    seconds = time.perf_counter() - start
    return Result(name, int(status == 0), int(status != 0), [], seconds, note), output


def _process(
    line: Sequence[str], root: Path, *, capture: bool, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit status and, where it is captured, the output with the errors; else that streams by."""
    stdout, stderr = (subprocess.PIPE, subprocess.STDOUT) if capture else (None, None)
    done = subprocess.run(line, cwd=root, env=env, check=False, text=True, stdout=stdout, stderr=stderr)
    return done.returncode, done.stdout or ""


def _show(name: str, output: str) -> None:
    """What a step has put out, under its heading and whole, though another step may end at the same moment."""
    with SHOWING:
        heading(name)
        print(output, end="", flush=True)


def pytest(
    name: str,
    arguments: Sequence[str],
    root: Path,
    *,
    skips_fail: bool = False,
    env: Mapping[str, str] | None = None,
    capture: bool = False,
) -> Result:
    """Run pytest and count its tests.

    Args:
        name: Of the step.
        arguments: What to run, with pytest's options.
        root: Where to run it; the report goes to ``_build/records/junit``.
        skips_fail: Count a skipped test as failed.
        env: The environment to run it in; that of this process where None.
        capture: Show the output when it has ended, in one piece, instead of as it comes.
    """
    if not capture:
        heading(name)
    report = root / "_build" / "records" / "junit" / f"{name.replace(' ', '-').replace('/', '-')}.xml"
    report.unlink(missing_ok=True)
    start = time.perf_counter()
    line = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    status, output = _process(line, root, capture=capture, env=env)
    if capture:
        _show(name, output)
    result = counted(name, report)
    result.seconds = time.perf_counter() - start
    if status == NOTHING_COLLECTED:
        result.failed, result.note = max(result.failed, 1), "no test was found"
    elif status and not result.failed:
        result.failed, result.note = 1, f"pytest ended with exit status {status}"
    if skips_fail and result.skips:
        result.failed, result.note = result.failed + result.skipped, "skips count as failures here"
    return result


def counted(name: str, report: Path) -> Result:
    """What a JUnit report counts; a report that is missing or cut off counts as one failure."""
    result = Result(name)
    try:
        cases = ET.parse(report).getroot().iter("testcase")
    except (OSError, ET.ParseError):
        return Result(name, failed=1, note="pytest wrote no report")
    for case in cases:
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
            result.failures.append(case.get("name", ""))
        elif skip is not None:
            test = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            result.skips.append(Skip(test, skip.get("message", "no reason given")))
        else:
            result.passed += 1
    return result


def table(results: Sequence[Result], seconds: float) -> str:
    """All steps in one table, then every reason for which tests were skipped; ``seconds`` is what all took together."""
    width = max(len(result.name) for result in [*results, Result("all together")])
    total = Result("all together", seconds=seconds)
    total.passed, total.failed = sum(result.passed for result in results), sum(result.failed for result in results)
    total.skips = [skip for result in results for skip in result.skips]
    lines = [f"{'step':{width}}  passed  failed  skipped  seconds"]
    for result in (*results, total):
        counts = f"{result.passed:6}  {result.failed:6}  {result.skipped:7}  {result.seconds:7.1f}"
        lines.append(f"{result.name:{width}}  {counts}  {result.note}".rstrip())
    reasons: dict[str, list[str]] = {}
    for skip in total.skips:
        reasons.setdefault(skip.reason, []).append(skip.test)
    for reason, tests in reasons.items():
        lines.append(f"skipped, {len(tests)}: {reason}")
        lines += [f"    {test}" for test in tests]
    return "\n".join(lines)
