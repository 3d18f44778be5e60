"""How an example becomes tokens: which text in which order, and which of its tokens a loss counts.

With the question "1011", the steps 1, 1, 0, 1 and the answer "1" the four formats are

    direct       1011#1         the answer at once
    scratchpad   1011?1101#1    steps, then the answer (Nye et al. 2021)
    filler       1011?....#1    as many dots as the steps have tokens (Pfau et al. 2024)
    post-hoc     1011#1?1101    the answer, then steps that explain it (Camburu et al. 2018)

each with an end token. "?" opens steps and "#" an answer, so that whoever writes a prompt chooses the format. Unusual:
the dots are part of the prompt, as only their number could help; and a post-hoc prompt up to its "?" is a question with
a hint, which is how rationales are made for known answers (see :mod:`kb.cot.lab.star`).

What a loss counts: ``"all"`` every token but the first; ``"completion"`` every token that the model writes when asked
in this format, that is, all but the question, the mark after it, and dots; ``"answer"`` the answer's tokens and the one
that ends it.

Sources: Nye et al. 2021, arXiv 2112.00114; Pfau et al. 2024, arXiv 2404.15758, section 3; Camburu et al. 2018, e-SNLI,
arXiv 1812.01193, section 4 (predict, then explain).
Shapes: B sequences, T tokens of the longest.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from kb.arguments import require_count
from kb.cot.lab.marks import LAB, Marks
from kb.cot.lab.task import Example
from kb.cot.lab.vocabulary import END, PAD, encode

Format = Literal["direct", "scratchpad", "filler", "post-hoc"]
Counted = Literal["all", "completion", "answer"]
FORMATS: tuple[Format, ...] = get_args(Format)
COUNTED: tuple[Counted, ...] = get_args(Counted)

_PROMPT, _RATIONALE, _ANSWER = range(3)


@dataclass(frozen=True)
class Reading:
    """What a model wrote after a prompt: its steps, and its answer; None where it came to none."""

    steps: tuple[str, ...]
    answer: str | None


@dataclass(frozen=True)
class Batch:
    """Sequences, padded at their ends to the longest.

    Attributes:
        tokens_BT: int64 ids.
        counted_BT: bool, whether a token is one that the loss counts when it is predicted; never the first of a row.
    """

    tokens_BT: Tensor
    counted_BT: Tensor

    def __len__(self) -> int:
        return len(self.tokens_BT)


def require_format(value: object) -> None:
    """Refuse what is no format.

    Raises:
        ValueError: so.
    """
    if value not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {value!r}")


def prompt(example: Example, how: Format) -> str:
    """What a model is given; it goes on with an answer, or with steps, as the format says.

    Of the example's steps, a filler prompt has the number of characters and no other prompt has anything.

    Raises:
        ValueError: there is no such format.
    """
    require_format(how)
    marks = example.marks
    if how == "scratchpad":
        return example.question + marks.rationale
    dots = ""
    if how == "filler":
        dots = marks.rationale + marks.filler * len(marks.join(example.steps))
    return example.question + dots + marks.answer


def read(text: str, how: Format, marks: Marks = LAB) -> Reading:
    """What a model wrote after a prompt of a format, taken apart.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: there is no such format.
    """
    require_format(how)
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    if how == "scratchpad":
        before, found, answer = text.partition(marks.answer)
        return Reading(marks.split(before), answer if found else None)
    answer, _, after = text.partition(marks.rationale)
    return Reading(marks.split(after), answer)


def sequence(example: Example, how: Format, counted: Counted) -> tuple[list[int], list[bool]]:
    """Ids of an example in a format, the end token last, and for each whether the loss counts it.

    Raises:
        ValueError: there is no such format or loss, or the example has characters outside the vocabulary.
    """
    require_format(how)
    if counted not in COUNTED:
        raise ValueError(f"counted must be one of {', '.join(COUNTED)}, got {counted!r}")
    marks = example.marks
    asked, steps = encode(prompt(example, how)), encode(marks.join(example.steps))
    answer, to_answer, to_steps = encode(example.answer), encode(marks.answer), encode(marks.rationale)
    parts: list[tuple[list[int], int]] = [(asked, _PROMPT)]
    if how == "scratchpad":
        parts += [(steps + to_answer, _RATIONALE), ([*answer, END], _ANSWER)]
    elif how == "post-hoc":
        parts += [(answer + to_steps, _ANSWER), ([*steps, END], _RATIONALE)]
    else:
        parts += [([*answer, END], _ANSWER)]
    wanted = {"all": (_PROMPT, _RATIONALE, _ANSWER), "completion": (_RATIONALE, _ANSWER), "answer": (_ANSWER,)}[counted]
    ids = [token for part, _ in parts for token in part]
    mask = [kind in wanted for part, kind in parts for _ in part]
    mask[0] = False  # nothing predicts it
    return ids, mask


def batch(sequences: Sequence[tuple[list[int], list[bool]]], width: int | None = None) -> Batch:
    """Pad sequences to the longest, or to a width.

    Raises:
        ValueError: there are none, the width is no positive integer, or one is longer than it.
    """
    if not sequences:
        raise ValueError("sequences must hold at least one, got none")
    if width is not None:
        require_count("width", width)
    longest = max(len(ids) for ids, _ in sequences)
    width = longest if width is None else width
    if longest > width:
        raise ValueError(f"width {width} is too little for a sequence of {longest} tokens")
    tokens_BT = torch.tensor([ids + [PAD] * (width - len(ids)) for ids, _ in sequences])
    counted_BT = torch.tensor([mask + [False] * (width - len(mask)) for _, mask in sequences])
    return Batch(tokens_BT, counted_BT)
