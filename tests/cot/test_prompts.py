"""Prompts to the letter, Wei's examples, chat templates, and budgets that drop nothing silently."""

from typing import Any

import pytest

from kb.cot import (
    CHINESE,
    Demonstration,
    Wording,
    direct,
    extract_number,
    few_shot_cot,
    fit,
    wei_demonstrations,
    zero_shot_cot,
)
from tests.cot.models import Scripted

TWO = (Demonstration("1 + 1?", "One and one make two.", "2"), Demonstration("2 + 3?", "Two and three.", "5"))


def silent(**options: Any) -> Scripted:
    return Scripted(lambda prompt, seed, place: "", **options)


def test_prompts_to_the_letter() -> None:
    assert direct("4 + 4?").text == "Q: 4 + 4?\nA: The answer (arabic numerals) is"
    assert direct("4 + 4?", TWO[:1]).text == "Q: 1 + 1?\nA: The answer is 2.\n\nQ: 4 + 4?\nA:"
    assert zero_shot_cot(" 4 + 4? ").text == "Q: 4 + 4?\nA: Let's think step by step."
    assert few_shot_cot("4 + 4?", TWO).text == (
        "Q: 1 + 1?\nA: One and one make two. The answer is 2.\n\n"
        "Q: 2 + 3?\nA: Two and three. The answer is 5.\n\nQ: 4 + 4?\nA:"
    )
    assert zero_shot_cot("4 + 4?", TWO[:1]).text == (
        "Q: 1 + 1?\nA: Let's think step by step. One and one make two. The answer is 2.\n\n"
        "Q: 4 + 4?\nA: Let's think step by step."
    )
    chinese = Demonstration("一加一？", "一加一得二。", "2")
    assert zero_shot_cot("四加四？", [chinese], wording=CHINESE).text == (
        "问：一加一？\n答：让我们一步一步地思考。一加一得二。答案是2。\n\n问：四加四？\n答：让我们一步一步地思考。"
    )


def test_through_a_chat_template() -> None:
    prompt = zero_shot_cot("4 + 4?")
    assert prompt.through(silent(template=True), "Be brief.") == (
        "Be brief.<user>Q: 4 + 4?<assistant>Let's think step by step."
    )
    assert prompt.through(silent()) == prompt.text


def test_the_examples_of_wei() -> None:
    found = wei_demonstrations()
    assert [one.answer for one in found] == ["6", "5", "39", "8", "9", "29", "33", "8"]
    assert found[0].question.startswith("There are 15 trees in the grove.")
    assert found[0].rationale.endswith("So there must have been 21 - 15 = 6.")
    for one in found:
        assert extract_number(f"{one.rationale} The answer is {one.answer}.") == int(one.answer)
        assert "The answer is" not in one.rationale
    assert few_shot_cot("Why?", found).text.count("Q: ") == 9


def test_what_fits_is_kept_whole() -> None:
    fitted = fit(silent(context_length=100), few_shot_cot, "4 + 4?", TWO, max_tokens=10)
    assert (fitted.kept, fitted.text) == (2, few_shot_cot("4 + 4?", TWO).text)
    assert fitted.num_tokens == len(fitted.text.split())


def test_what_does_not_fit_is_said_or_left_out() -> None:
    tokens = len(few_shot_cot("4 + 4?", TWO).text.split())
    model = silent(context_length=tokens + 9)
    message = (
        rf"the prompt is {tokens} tokens, and at most {tokens - 1} fit beside max_tokens 10 in the {tokens + 9} of "
        r"scripted: without the last 1 of 2 demonstrations \(from '2 \+ 3\?' on\) it would fit"
    )
    with pytest.raises(ValueError, match=message):
        fit(model, few_shot_cot, "4 + 4?", TWO, max_tokens=10)
    fitted = fit(model, few_shot_cot, "4 + 4?", TWO, max_tokens=10, leave_out=True)
    assert (fitted.kept, fitted.text) == (1, few_shot_cot("4 + 4?", TWO[:1]).text)
    for kept in (1, 2):
        exact = len(few_shot_cot("4 + 4?", TWO[:kept]).text.split()) + 10
        room = silent(context_length=exact)
        assert fit(room, few_shot_cot, "4 + 4?", TWO, max_tokens=10, leave_out=True).kept == kept


@pytest.mark.parametrize(("build", "fewest"), [(few_shot_cot, 1), (direct, 0), (zero_shot_cot, 0)])
def test_what_never_fits_raises_even_so(build: Any, fewest: int) -> None:
    with pytest.raises(ValueError, match=f"at most 0 fit .* even with {fewest} of 2 demonstrations"):
        fit(silent(context_length=5), build, "4 + 4?", TWO, max_tokens=10, leave_out=True)


def test_the_template_counts() -> None:
    plain = fit(silent(), direct, "4 + 4?", max_tokens=1)
    wrapped = fit(silent(template=True), direct, "4 + 4?", max_tokens=1, chat=True, system="Be very brief: ")
    assert wrapped.text.startswith("Be very brief: <user>")
    assert wrapped.num_tokens != plain.num_tokens


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: direct(" "), ValueError, "question must not be empty"),
        (lambda: direct(3), TypeError, "question must be a text, got int"),
        (lambda: few_shot_cot("Q", []), ValueError, "demonstrations must hold at least one"),
        (lambda: few_shot_cot("Q", [Demonstration("a", "", "1")]), ValueError, "rationale must not be empty"),
        (lambda: direct("Q", [Demonstration("a", "b", " ")]), ValueError, "answer must not be empty"),
        (lambda: few_shot_cot("Q", "abc"), TypeError, "demonstrations must hold Demonstration, got str"),
        (lambda: Wording(stated="So it is."), ValueError, "stated must hold one {} for the answer"),
        (lambda: Wording(stated="{} or {}"), ValueError, "stated must hold one {} for the answer"),
        (lambda: fit(silent(), direct, "Q", max_tokens=0), ValueError, "max_tokens must be"),
    ],
)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
