"""The filters of Auto-CoT, one by one and together."""

import re
from typing import Any

import pytest

from kb.cot import DemonstrationFilters, extract_number
from kb.cot.demonstration_filters import count_words

GOOD = "Tom has 3 apples.\nHe buys 4 more.\nSo he has 3 + 4 = 7 apples."


def last_number(text: str) -> str | None:
    found = re.findall(r"\d+", text.replace(",", ""))
    return found[-1] if found else None


def failures(question: str = "How many?", rationale: str = GOOD, answer: object | None = "7") -> tuple[str, ...]:
    return DemonstrationFilters().failures(question, rationale, answer, last_number)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, ()),
        ({"question": "word " * 60}, ()),
        ({"question": "word " * 61}, ("long question",)),
        ({"rationale": "One.\n\nTwo.\n\nThree.\n\nFour.\n\nIt is 7."}, ()),
        ({"rationale": "1.\n2.\n3.\n4.\n5.\nIt is 7."}, ("many steps",)),
        ({"rationale": "So he has 7 apples"}, ("unfinished",)),
        ({"rationale": "他有7个苹果。"}, ()),
        ({"answer": None}, ("no answer",)),
        ({"answer": "  "}, ("no answer",)),
        ({"rationale": ""}, ("no rationale",)),
        ({"rationale": " \n ", "answer": None}, ("no rationale", "no answer")),
        (
            {"rationale": "He has 7. Then a long sentence of more than ten words comes with nothing but words in it."},
            ("answer not near the end",),
        ),
        ({"rationale": "He has 7 apples. That is it, and it is all."}, ()),  # among the last ten words
        ({"rationale": "In the end the sum of all that he has is 7 and it is of no use to him or anyone."}, ()),
        ({"answer": "8"}, ("answer not near the end",)),
        ({"rationale": "It costs $1,200.", "answer": "1200"}, ()),
        ({"rationale": "So the answer is Yes.", "answer": "yes"}, ()),
        ({"rationale": "It is 17.", "answer": "7"}, ("answer not near the end",)),  # not within another number
        (
            {"question": "a " * 99, "rationale": "a\nb\nc\nd\ne\nf", "answer": None},
            ("long question", "many steps", "unfinished", "no answer"),
        ),
    ],
)
def test_each_filter(arguments: dict[str, Any], wanted: tuple[str, ...]) -> None:
    assert failures(**arguments) == wanted


def test_seven_tenths_are_not_seven() -> None:
    told = DemonstrationFilters().failures("How many?", "It is .7 of all.", 7, extract_number)
    assert told == ("answer not near the end",)
    assert DemonstrationFilters().failures("How many?", "It is .7 of ten, or 7.", 7, extract_number) == ()


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("a  b\nc", 3), ("小明有3个苹果", 7), ("3 + 4 = 7.", 5), ("word,word", 1)]
)
def test_words(text: str, words: int) -> None:
    assert count_words(text) == words


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match="most_steps must be an integer of at least 1, got 0"):
        DemonstrationFilters(most_steps=0)
    assert DemonstrationFilters(most_steps=6).failures("q", "1\n2\n3\n4\n5\nIt is 7.", 7, last_number) == ()
