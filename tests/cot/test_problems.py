"""GSM8K's items in two languages, and problems of our own whose answers are recomputed another way."""

import re
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from kb.cot import Problem, extract_number, generated_problems, gsm8k
from kb.cot.problem_kinds import KINDS
from kb.cot.problems import value_of


def python_value(expression: str) -> Fraction:
    """Python's own arithmetic on fractions."""
    exact = re.sub(r"[0-9]*\.?[0-9]+", lambda number: f"Fraction('{number[0]}')", expression)
    return Fraction(eval(exact, {"__builtins__": {}, "Fraction": Fraction}))  # digits and signs alone


@pytest.fixture(scope="module")
def ours() -> tuple[Problem, ...]:
    return generated_problems(1000, seed=0)


def test_the_items_are_the_same_in_both_languages() -> None:
    english, chinese = gsm8k(), gsm8k("zh")
    assert len(english) == len(chinese) == 100
    assert [one.id for one in english] == [one.id for one in chinese]
    assert [one.answer for one in english] == [one.answer for one in chinese]
    assert len({one.id for one in english}) == 100
    assert english[0].id == "gsm8k-test-473"
    assert english[0].answer == 10
    assert "鯊魚" in chinese[0].question
    assert not any(mark in one.rationale for one in (*english, *chinese) for mark in ("<<", ">>", "####"))
    assert all(one.question and one.rationale and one.kind is None for one in (*english, *chinese))
    with pytest.raises(ValueError, match="language 'fr' is not there; wanted en or zh"):
        gsm8k("fr")


def test_our_questions_differ_and_are_the_same_for_a_seed(ours: tuple[Problem, ...]) -> None:
    assert len({one.question for one in ours}) == len({one.id for one in ours}) == 1000
    assert generated_problems(50, seed=0) == ours[:50]
    assert generated_problems(50, seed=1) != ours[:50]
    assert generated_problems(0) == ()


def test_all_kinds_and_wordings_are_there(ours: tuple[Problem, ...]) -> None:
    counts = Counter(one.kind for one in ours)
    assert len(counts) == len(KINDS) == 10
    assert min(counts.values()) > 50
    for kind in counts:
        starts = {re.sub(r"[A-Z][a-z]+|[0-9.$]+", "", one.question)[-25:] for one in ours if one.kind == kind}
        assert len(starts) >= 2


def test_the_answer_is_what_the_expression_says(ours: tuple[Problem, ...]) -> None:
    for one in ours:
        assert one.expression is not None
        assert one.answer == python_value(one.expression), one
        assert one.answer > 0


def test_every_step_is_right_and_the_last_is_the_answer(ours: tuple[Problem, ...]) -> None:
    for one in ours:
        steps = re.findall(r"([0-9.$+*/() -]*[0-9.$]) = \$?([0-9.]*[0-9])", one.rationale)
        assert steps, one.rationale
        for left, right in steps:
            assert python_value(left.replace("$", "").strip(" .")) == Fraction(right), one.rationale
        assert extract_number(one.rationale) == one.answer
        numbers = set(re.findall(r"[0-9]+", one.question))
        assert set(re.findall(r"[0-9]+", one.expression or "")) - numbers <= {"100", "4"}, one


@pytest.mark.parametrize(
    "expression", ["1 + 2 * 3", "(1 + 2) * 3", "8 / 2 / 2", "1 - 2 - 3", "0.5 * (3 - (2 - 1))", "7"]
)
def test_expressions_are_worth_what_python_says(expression: str) -> None:
    assert value_of(expression) == python_value(expression)


@pytest.mark.parametrize("expression", ["", "1 +", "(1", "1)", "1 2", "1 / 0", "x", "__import__('os')", "2 ** 3"])
def test_what_is_no_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="is no arithmetic that has a value"):
        value_of(expression)


def test_deep_parentheses() -> None:
    assert value_of("(" * 50_000 + "5" + ")" * 50_000) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generated_problems(-1), "count must be an integer of at least 0, got -1"),
        (lambda: generated_problems(True), "count must be"),
        (lambda: generated_problems(1, seed=0.5), "seed must be an integer, got 0.5"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
