"""The marks by which a text of question, steps and answer is put together, and taken apart again."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Marks:
    """What stands between the parts of a text; those of the lab unless given, for a larger model others.

    Args:
        rationale: Before the steps.
        step: Between two steps; "" where every character is a step.
        answer: Before the answer.
        filler: In place of a step's token.

    Raises:
        ValueError: one is not a string, or is empty where it may not be, or two of the first three are the same.
    """

    rationale: str = "?"
    step: str = " "
    answer: str = "#"
    filler: str = "."

    def __post_init__(self) -> None:
        for name in ("rationale", "step", "answer", "filler"):
            value = getattr(self, name)
            if not isinstance(value, str) or not (value or name == "step"):
                raise ValueError(f"{name} must be a str that is not empty, got {value!r}")
        if len({self.rationale, self.step, self.answer}) < 3:
            raise ValueError(f"rationale, step and answer must be three marks, got {self}")

    def join(self, steps: Sequence[str]) -> str:
        """Steps as text."""
        return self.step.join(steps)

    def split(self, text: str) -> tuple[str, ...]:
        """Text as steps; none of an empty one."""
        if not text:
            return ()
        return tuple(text.split(self.step)) if self.step else tuple(text)


LAB = Marks()
