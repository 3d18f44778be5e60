"""What a race script hands over: two contenders that were shown to give the same answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _nothing() -> None:
    """What has to be closed after most races."""


@dataclass(frozen=True)
class Contest:
    """A race that is ready to be run.

    Args:
        title: What is raced, on which model and precision.
        ours: What of kb runs.
        theirs: What it runs against: the library, or kb itself in another setting.
        unit: What one run makes several of, such as "token".
        units: How many of these one run makes.
        agreement: How the answers were found equal, in words.
        run_ours: One run of ours.
        run_theirs: One run of theirs.
        details: What else the record should hold, in values that JSON has: settings, versions in another environment.
        rounds: How many pairs of runs, where nobody asks for another number.
        close: Called when the race is over, or has failed.
    """

    title: str
    ours: str
    theirs: str
    unit: str
    units: int
    agreement: str
    run_ours: Callable[[], object]
    run_theirs: Callable[[], object]
    details: Mapping[str, object] = field(default_factory=dict)
    rounds: int = 11
    close: Callable[[], object] = _nothing
