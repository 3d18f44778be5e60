"""What became of every cluster of questions, item by item: which was chosen, what the others failed.

Unusual: a cluster that gave no demonstration has a report like any other; a missing one would look like a smaller k.

Source: Zhang et al. 2022, Auto-CoT, arXiv 2210.03493, algorithm 2, whose code goes on without a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kb.cot.demonstration_filters import ESSENTIAL, Failure


@dataclass(frozen=True)
class Candidate:
    """One question of a cluster, and what became of it.

    Args:
        index: Which question.
        distance: To the cluster's centre.
        rationale: What the model wrote, None where it was not asked.
        answer: What was read as its answer, None where there was none.
        failed: The filters that it fails; of a question that was too long to be asked, that one alone.
        examined: Whether its turn came.
    """

    index: int
    distance: float
    rationale: str | None = None
    answer: str | None = None
    failed: tuple[Failure, ...] = ()
    examined: bool = False

    @property
    def passed(self) -> bool:
        """Whether it was asked and passed all filters."""
        return self.examined and not self.failed

    @property
    def usable(self) -> bool:
        """Whether it has a rationale and an answer, whatever else it fails."""
        return self.rationale is not None and not ESSENTIAL & set(self.failed)


@dataclass(frozen=True)
class ClusterReport:
    """What became of a cluster.

    Args:
        cluster: Its number.
        candidates: All its questions, from the centre outwards.
        chosen: The one whose demonstration is used, None for none.
    """

    cluster: int
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None

    @property
    def outcome(self) -> Literal["passed", "relaxed", "failed"]:
        """Whether one passed all filters, one was taken that does not, or there is none."""
        if self.chosen is None:
            return "failed"
        return "passed" if self.chosen.passed else "relaxed"

    def __str__(self) -> str:
        lines = [f"cluster {self.cluster}, {len(self.candidates)} questions: {self.outcome}"]
        for one in self.candidates:
            fate = (", ".join(one.failed) or "passed") if one.examined else "not examined"
            lines.append(f"  question {one.index}, distance {one.distance:.3f}: {fate}")
        return "\n".join(lines)


class AutoCotError(RuntimeError):
    """Nothing passed the filters in a cluster, and the policy was "raise"; ``reports`` holds all clusters."""

    def __init__(self, reports: Sequence[ClusterReport]) -> None:
        self.reports = tuple(reports)
        failed = [str(report) for report in reports if report.outcome == "failed"]
        super().__init__(f"in {len(failed)} of {len(reports)} clusters no question passes:\n" + "\n".join(failed))
