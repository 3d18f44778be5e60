"""A pipeline of steps over documents that counts what each step drops and why.

A step takes one document and gives back its new text, or the reason why it goes; a step over the whole corpus, such as
deduplication, takes all texts and gives one answer for each. Unusual: an exception in a step is no reason to drop a
document; it is raised, with the step's name and the document's number.

Source: the practice of Rae et al. 2021, Gopher, and Penedo et al. 2023, RefinedWeb: documents left after every
stage. Shapes: N documents.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Drop:
    """A document goes, for this reason."""

    reason: str


OneStep = Callable[[str], str | Drop]
CorpusStep = Callable[[list[str]], Sequence[str | Drop]]


@dataclass(frozen=True)
class Step:
    """One stage: exactly one of ``each`` and ``whole`` is given.

    Raises:
        ValueError: both or neither are.
    """

    name: str
    each: OneStep | None = None
    whole: CorpusStep | None = None

    def __post_init__(self) -> None:
        if (self.each is None) == (self.whole is None):
            raise ValueError(f"step {self.name!r} must have exactly one of each and whole")


@dataclass(frozen=True)
class StepReport:
    """What a step did.

    Args:
        name: The step's.
        documents: Those that went in, and those that came out.
        characters: Likewise.
        reasons: Of the dropped ones.
        changed: Documents that came out with another text.
    """

    name: str
    documents: tuple[int, int]
    characters: tuple[int, int]
    reasons: dict[str, int]
    changed: int


@dataclass(frozen=True)
class PipelineResult:
    """What remains, the place of each in the input, and what every step did."""

    texts: tuple[str, ...]
    sources: tuple[int, ...]
    reports: tuple[StepReport, ...]

    def table(self) -> str:
        """One line a step: documents and characters after it, and the most frequent reasons."""
        lines = [f"{'step':24}{'documents':>11}{'characters':>13}  dropped because"]
        first = self.reports[0] if self.reports else None
        if first is not None:
            lines.append(f"{'(input)':24}{first.documents[0]:>11,}{first.characters[0]:>13,}")
        for one in self.reports:
            reasons = ", ".join(f"{why} {count}" for why, count in Counter(one.reasons).most_common(3))
            lines.append(f"{one.name:24}{one.documents[1]:>11,}{one.characters[1]:>13,}  {reasons}".rstrip())
        return "\n".join(lines)


def run_pipeline(texts: Sequence[str], steps: Sequence[Step]) -> PipelineResult:
    """Run the steps one after the other.

    Raises:
        TypeError: a text is no string, or a step gave something else than a text or a Drop.
        ValueError: a step over the corpus gave another number of answers than it got texts.
        RuntimeError: a step raised; the message names it and, of a step on one document, the document.
    """
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{place}] must be a string, got {type(text).__name__}")
    alive = list(enumerate(texts))
    reports = []
    for step in steps:
        before = [text for _, text in alive]
        answers = _answers(step, before)
        kept = [(source, new) for (source, _), new in zip(alive, answers, strict=True) if isinstance(new, str)]
        reports.append(
            StepReport(
                step.name,
                (len(before), len(kept)),
                (sum(map(len, before)), sum(len(text) for _, text in kept)),
                dict(Counter(one.reason for one in answers if isinstance(one, Drop))),
                sum(isinstance(new, str) and new != old for old, new in zip(before, answers, strict=True)),
            )
        )
        alive = kept
    return PipelineResult(tuple(text for _, text in alive), tuple(source for source, _ in alive), tuple(reports))


def _answers(step: Step, texts: list[str]) -> list[str | Drop]:
    found: list[str | Drop] = []
    if step.whole is not None:
        try:
            found = list(step.whole(list(texts)))
        except Exception as error:
            raise RuntimeError(f"step {step.name!r} failed: {error}") from error
        if len(found) != len(texts):
            raise ValueError(f"step {step.name!r} must answer for {len(texts)} texts, got {len(found)}")
    elif step.each is not None:
        for place, text in enumerate(texts):
            try:
                found.append(step.each(text))
            except Exception as error:
                raise RuntimeError(f"step {step.name!r} failed on document {place}: {error}") from error
    for place, one in enumerate(found):
        if not isinstance(one, str | Drop):
            raise TypeError(f"step {step.name!r} must give a text or a Drop, got {one!r} for document {place}")
    return found
