"""One worked example of a prompt: a question, the reasoning that leads to its answer, the answer.

Unusual: it holds no layout. How question and reasoning are written into a prompt is the prompt's business, so that the
same demonstrations serve every template. Source: Wei et al. 2022, arXiv 2201.11903, section 2.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Demonstration:
    """A worked example.

    Args:
        question: Without a label such as "Q:".
        rationale: The reasoning, without the question.
        answer: The final answer alone.

    Raises:
        TypeError: one of them is not a string.
        ValueError: one of them is empty, or blank.
    """

    question: str
    rationale: str
    answer: str

    def __post_init__(self) -> None:
        for name in ("question", "rationale", "answer"):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise TypeError(f"{name} must be a string, got {type(text).__name__}")
            if not text.strip():
                raise ValueError(f"{name} must not be empty, got {text!r}")
