"""What a race script hands over: two contenders that were shown to give the same answer."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Contest:
    """A race that is ready to be run.

    Args:
        title: What is raced, on which model and precision.
        ours: What of kb runs.
        theirs: What of the library runs.
        unit: What one run makes several of, such as "token".
        units: How many of these one run makes.
        agreement: How the answers were found equal, in words.
        run_ours: One run of ours.
        run_theirs: One run of theirs.
    """

    title: str
    ours: str
    theirs: str
    unit: str
    units: int
    agreement: str
    run_ours: Callable[[], object]
    run_theirs: Callable[[], object]
