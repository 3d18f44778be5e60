"""From examples to tokens: every position and every mask by hand, and back from what a model writes."""

import pytest
import torch

from kb.cot.lab.formats import (
    COUNTED,
    FORMATS,
    Counted,
    Format,
    Reading,
    batch,
    prompt,
    read,
    sequence,
)
from kb.cot.lab.marks import LAB, Marks
from kb.cot.lab.task import Example
from kb.cot.lab.tasks import Addition, Parity
from kb.cot.lab.vocabulary import END, PAD, decode, encode

EXAMPLE = Parity().follow("101")  # steps 1 1 0, answer 0

# Under each text, one character a token, $ for the end: which tokens each loss counts.
BY_HAND: dict[Format, tuple[str, dict[Counted, str]]] = {
    "direct": ("101#0$", {
        "all":        ".xxxxx",
        "completion": "....xx",
        "answer":     "....xx",
    }),
    "scratchpad": ("101?110#0$", {
        "all":        ".xxxxxxxxx",
        "completion": "....xxxxxx",
        "answer":     "........xx",
    }),
    "filler": ("101?...#0$", {
        "all":        ".xxxxxxxxx",
        "completion": "........xx",
        "answer":     "........xx",
    }),
    "post-hoc": ("101#0?110$", {
        "all":        ".xxxxxxxxx",
        "completion": "....xxxxxx",
        "answer":     "....xx....",
    }),
}  # fmt: skip


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("counted", COUNTED)
def test_tokens_and_what_is_counted_by_hand(how: Format, counted: Counted) -> None:
    text, masks = BY_HAND[how]
    ids, mask = sequence(EXAMPLE, how, counted)
    assert ids == [*encode(text[:-1]), END]
    assert "".join("x" if one else "." for one in mask) == masks[counted]


@pytest.mark.parametrize("how", FORMATS)
def test_what_a_model_is_given_and_what_it_writes_make_the_sequence(how: Format) -> None:
    ids, mask = sequence(EXAMPLE, how, "completion")
    asked = prompt(EXAMPLE, how)
    assert decode(ids).startswith(asked)
    assert mask == [False] * len(asked) + [True] * (len(ids) - len(asked))
    found = read(decode(ids)[len(asked) :], how, EXAMPLE.marks)
    assert found == Reading(EXAMPLE.steps if how in ("scratchpad", "post-hoc") else (), "0")


def test_a_filler_has_as_many_tokens_as_the_steps() -> None:
    example = Addition().follow("57+68")
    filler, steps = (sequence(example, how, "all")[0] for how in ("filler", "scratchpad"))
    assert len(filler) == len(steps)
    assert filler.count(encode(".")[0]) == len("7+8+0=15 5+6+1=12")


def test_a_batch_is_padded_at_the_end_and_counts_no_padding() -> None:
    made = batch([sequence(EXAMPLE, how, "all") for how in ("direct", "scratchpad")])
    assert made.tokens_BT.shape == made.counted_BT.shape == (2, 10)
    assert len(made) == 2
    assert made.tokens_BT[0].tolist() == [*encode("101#0"), END, *[PAD] * 4]
    assert made.counted_BT[0].tolist() == [False, *[True] * 5, *[False] * 4]
    assert made.tokens_BT.dtype == torch.int64
    assert made.counted_BT.dtype == torch.bool
    assert batch([sequence(EXAMPLE, "direct", "all")], 9).tokens_BT.shape == (1, 9)


@pytest.mark.parametrize(
    ("text", "how", "found"),
    [
        ("1 1 0#0", "scratchpad", Reading(("1", "1", "0"), "0")),
        ("1 1 0", "scratchpad", Reading(("1", "1", "0"), None)),
        ("#0", "scratchpad", Reading((), "0")),
        ("", "scratchpad", Reading((), None)),
        ("1#0#1", "scratchpad", Reading(("1",), "0#1")),
        ("1  1#", "scratchpad", Reading(("1", "", "1"), "")),
        ("0?1 1", "post-hoc", Reading(("1", "1"), "0")),
        ("0", "post-hoc", Reading((), "0")),
        ("0", "direct", Reading((), "0")),
        ("", "filler", Reading((), "")),
    ],
)
def test_what_a_model_wrote_is_read_as_it_is(text: str, how: Format, found: Reading) -> None:
    assert read(text, how) == found


def test_other_marks_for_a_larger_model() -> None:
    marks = Marks("\nLet's think step by step.\n", "\n", "\nThe answer is ", " ...")
    example = Example("How many?", ("One.", "Two."), "2", 2, marks)
    assert prompt(example, "scratchpad") == "How many?\nLet's think step by step.\n"
    assert prompt(example, "filler").count(" ...") == len("One.\nTwo.")
    assert read("One.\nTwo.\nThe answer is 2", "scratchpad", marks) == Reading(("One.", "Two."), "2")
    assert (marks.join(example.steps), marks.split("One.\nTwo.")) == ("One.\nTwo.", example.steps)
    assert Marks(step="").split("1 0") == ("1", " ", "0")
    assert Marks().split("") == ()


def test_what_is_no_format_is_refused() -> None:
    for call in (prompt, read, lambda one, how: sequence(one, how, "all")):
        with pytest.raises(ValueError, match="format must be one of direct, scratchpad, filler, post-hoc, got 'cot'"):
            call(EXAMPLE, "cot")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counted must be one of all, completion, answer, got 'steps'"):
        sequence(EXAMPLE, "direct", "steps")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="text has 'X' at 0"):
        sequence(Example("X", (), "1", 1), "direct", "all")
    with pytest.raises(ValueError, match="sequences must hold at least one"):
        batch([])
    with pytest.raises(ValueError, match="width 3 is too little for a sequence of 6"):
        batch([sequence(EXAMPLE, "direct", "all")], 3)
    for wrong in (0, 9.0, True):
        with pytest.raises(ValueError, match="width must be an integer of at least 1"):
            batch([sequence(EXAMPLE, "direct", "all")], wrong)  # type: ignore[arg-type]
    for how in FORMATS:
        with pytest.raises(TypeError, match="text must be a str, got NoneType"):
            read(None, how)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="answer must be a str that is not empty"):
        Marks(answer="")
    with pytest.raises(ValueError, match="must be three marks"):
        Marks(answer="?")
    assert Marks() == LAB
