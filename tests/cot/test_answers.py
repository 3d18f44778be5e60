"""Answers read out of outputs: a table of nasty ones, round trips through every style, linear time, bad input."""

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.cot import extract_choice, extract_number, extract_text, same_answer
from tests.cot.answer_table import OUTPUTS

CASES = [(group, text, answer) for group, rows in OUTPUTS.items() for text, answer in rows]


@pytest.mark.parametrize(
    ("group", "text", "answer"), CASES, ids=[f"{group}: {text[:30]!r}" for group, text, _ in CASES]
)
def test_the_answer_is_what_a_careful_reader_takes(group: str, text: str, answer: str | None) -> None:
    assert extract_number(text) == (None if answer is None else Fraction(answer))


def test_the_table_is_long() -> None:
    assert len({text for _, text, _ in CASES}) >= 130


@pytest.mark.parametrize(
    ("text", "value"), [("50%", "1/2"), ("百分之五十", "1/2"), ("The answer is 12.5 percent", "1/8"), ("50", "50")]
)
def test_percentages_as_values(text: str, value: str) -> None:
    assert extract_number(text, percent_as_value=True) == Fraction(value)


STYLES = [
    "{}",
    "#### {}",
    r"\boxed{{{}}}",
    "The answer is {}.",
    "**Answer:** ${}",
    "答案是{}。",
    "2 + 2, so {} pens",
    "€{}",
]


@given(st.integers(-(10**30), 10**30), st.sampled_from(STYLES), st.sampled_from(["d", ",d", "minus", "wide"]))
@settings(max_examples=150)
def test_integers_come_back_from_every_style(value: int, style: str, form: str) -> None:
    written = format(value, ",d" if form == ",d" else "d")
    if form == "minus":
        written = written.replace("-", "−")
    if form == "wide":
        written = written.translate({ord(char): ord(char) + 0xFEE0 for char in "0123456789-"})
    assert extract_number(style.format(written)) == value


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9),
    st.sampled_from(STYLES),
)
@settings(max_examples=100)
def test_decimals_come_back_from_every_style(value: Any, style: str) -> None:
    assert extract_number(style.format(f"{value:f}")) == Fraction(value)
    assert extract_number(style.format(f"{value:,f}")) == Fraction(value)


@given(
    st.integers(-999, 999), st.integers(1, 999), st.sampled_from(["{}/{}", r"\frac{{{}}}{{{}}}", r"\dfrac{{{}}}{{{}}}"])
)
@settings(max_examples=100)
def test_fractions_come_back_from_every_style(above: int, below: int, form: str) -> None:
    for style in STYLES[:4]:
        assert extract_number(style.format(form.format(above, below))) == Fraction(above, below)


@given(st.text(alphabet="0123456789.,-/=^%$ \n#*{}\\()答案是三十百分之answer x½²", max_size=60))
@settings(max_examples=200)
def test_no_text_is_too_strange(text: str) -> None:
    assert isinstance(extract_number(text), Fraction | None)
    assert extract_choice(text) in (None, *"ABCDE")
    assert extract_text(text) in (None, "yes", "no")


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1,1",
        "\\boxed{",
        "answer is ",
        "answer:\n",
        "1.1",
        "一又",
        "½",
        "(1",
        "^{1",
        "1/",
        "1 and a ",
        "1 dollar and ",
    ],
)
def test_a_megabyte_of_anything_takes_linear_time(piece: str) -> None:
    seconds = []
    for size in (2_000, 1_000_000):
        text = piece * (size // len(piece))
        start = time.perf_counter()
        extract_number(text)
        seconds.append(time.perf_counter() - start)
    # Quadratic time would be many minutes.
    assert seconds[1] < 20, seconds


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (C).", "C"),
        ("C", "C"),
        ("c", "C"),
        ("(b)", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        ("A is wrong. So B", "B"),
        ("Answer: A or B", None),
        ("The answer is neither A nor B", None),
        ("The answer is A, not B", "A"),
        ("Answer: A because B is wrong", "A"),
        ("故选：D。", "D"),
        ("所以选B", "B"),
        ("答案：Ｃ", "C"),
        ("I think (A), then (B), since D", "B"),
        ("**D**", "D"),
        ("**Answer: E**", "E"),
        ("A cat sat", None),
        ("F", None),
        ("ABC", None),
        ("", None),
        ("The answer is D: Dogs", "D"),
    ],
)
def test_choices(text: str, letter: str | None) -> None:
    assert extract_choice(text) == letter


def test_choices_are_those_that_there_are() -> None:
    assert extract_choice("The answer is F", "ABCDEF") == "F"
    assert extract_choice("The answer is C", "AB") is None
    for wrong in ("", "AA", "a", "A B"):
        with pytest.raises(ValueError, match="choices must be distinct capital letters"):
            extract_choice("A", wrong)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", "yes"),
        ("So the answer is no. Yes, really.", "no"),
        ("I know", None),
        ("Yes, but then no", "no"),
        (r"\boxed{\text{Yes}}", "yes"),
        ("ＹＥＳ", "yes"),
        ("", None),
    ],
)
def test_yes_or_no(text: str, answer: str | None) -> None:
    assert extract_text(text) == answer


def test_other_words() -> None:
    assert extract_text("答案：不是的", ["是", "不是"]) == "不是"
    assert extract_text("It is New  york city", ["York", "New York"]) == "New York"
    assert extract_text("The answer is heads", ("Heads", "Tails")) == "Heads"
    with pytest.raises(ValueError, match="options must hold at least one text"):
        extract_text("yes", [])
    with pytest.raises(TypeError, match="options must be a sequence of texts"):
        extract_text("yes", "yes")


def test_what_is_no_text_is_refused() -> None:
    for extract in (extract_number, extract_choice, extract_text):
        with pytest.raises(TypeError, match="text must be a text, got int"):
            extract(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (Fraction(1, 2), "0.50", True),
        (0.1, Fraction(1, 10), True),
        ("1,200", 1200, True),
        ("$5", 5, True),
        ("Yes.", "yes", True),
        ("New  York", "new york", True),
        ("yes", "no", False),
        (None, None, False),
        (None, 5, False),
        (5, "five", False),
        (Fraction(10) ** 400, 10**400, True),
        (np.float64(0.5), "1/2", True),
        (float("nan"), 1, False),
        (float("inf"), 10, False),
    ],
)
def test_the_same_answer(a: Any, b: Any, same: bool) -> None:
    assert same_answer(a, b) is same
    assert same_answer(b, a) is same


@pytest.mark.parametrize("wrong", [True, [5], b"5"])
def test_what_is_no_answer_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="an answer must be a number, a text or None"):
        same_answer(wrong, 5)
