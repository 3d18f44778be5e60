"""Smaller questions read, asked one after another with what was found before, all problems in step."""

from collections.abc import Sequence
from typing import Any

import pytest

from kb.cot import Completion, LeastToMostConfig, Sampling, least_to_most
from kb.cot.least_to_most import final_question, smaller_questions


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1. How many a?\n2) How many b?\n", ["How many a?", "How many b?"]),
        ("Sure:\n- How many a?\n* How many b?", ["How many a?", "How many b?"]),
        ("1、有多少个？", ["有多少个？"]),
        ('1. "How many a?"', ["How many a?"]),
        ('To solve it, first solve: "How many a?", "How many b?".', ["How many a?", "How many b?"]),
        ("1. Same?\n2. Same?", ["Same?"]),
        ("No list here.", []),
        ("", []),
        ("1.\n2. \n3. Three?", ["Three?"]),
        ("**Plan**\n**1.** How many a?\n**2. How many b?**\n---", ["How many a?", "How many b?"]),
        ("1. How many litres?\n1.5 litres are left.\n-2 is no item", ["How many litres?"]),
        ("•How many?\n1.Why?\n2)3 of what?", ["How many?", "Why?", "3 of what?"]),
    ],
)
def test_lists_are_read(text: str, wanted: list[str]) -> None:
    assert smaller_questions(text) == wanted


@pytest.mark.parametrize(
    ("problem", "wanted"),
    [
        ("Ann has 3. Bob has 4. How many together?", "How many together?"),
        ("How many are 3 and 4?", "How many are 3 and 4?"),
        ("Why? Say how many there are.", "Why? Say how many there are."),
        ("小明有3个。一共有多少个？", "一共有多少个？"),
        ("?", "?"),
        ("Ann fills jars. How many 2.5 liter jars hold 10 liters? ", "How many 2.5 liter jars hold 10 liters?"),
    ],
)
def test_the_problems_own_question(problem: str, wanted: str) -> None:
    assert final_question(problem) == wanted


class Scripted:
    name, context_length = "scripted", 1000

    def __init__(self, plans: dict[str, str]) -> None:
        self.plans, self.calls = plans, []  # type: tuple[dict[str, str], list[list[str]]]

    def count_tokens(self, text: str) -> int:
        return len(text)

    def chat(self, message: str, system: str | None = None) -> str:
        return message

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        self.calls.append(list(prompts))
        if prompts and prompts[0].endswith("PLAN"):
            texts = [next(plan for key, plan in self.plans.items() if key in prompt) for prompt in prompts]
        else:
            texts = [f" It is {prompt.count('Q:')}.\n" for prompt in prompts]
        return [[Completion(text, 3, "stop")] for text in texts]


CONFIG = LeastToMostConfig(decompose="{question} PLAN", solve="Given: {question}\n")


def test_earlier_answers_stand_in_later_prompts() -> None:
    model = Scripted({"Ann": "1. How many a?\n2. How many b?", "Bob": "none"})
    first, second = least_to_most(
        model, ["Ann has {3}. How many?", "Bob?"], extract=lambda text: text.split()[-1], config=CONFIG
    )
    assert [step.question for step in first.steps] == ["How many a?", "How many b?", "How many?"]
    assert [step.text for step in first.steps] == ["It is 1.", "It is 2.", "It is 3."]
    assert (first.answer, second.answer) == ("3.", "1.")
    assert [step.question for step in second.steps] == ["Bob?"]
    assert [len(call) for call in model.calls] == [2, 2, 1, 1]
    assert model.calls[-1] == [
        "Given: Ann has {3}. How many?\nQ: How many a?\nA: It is 1.\nQ: How many b?\nA: It is 2.\nQ: How many?\nA:"
    ]


def test_steps_are_bounded_and_the_question_itself_is_always_asked() -> None:
    model = Scripted({"Ann": "\n".join(f"{i}. Step {i}?" for i in range(1, 30))})
    config = LeastToMostConfig(decompose="{question} PLAN", most_steps=2)
    (found,) = least_to_most(model, ["Ann?"], extract=lambda _: None, config=config)
    assert [step.question for step in found.steps] == ["Step 1?", "Step 2?", "Ann?"]
    assert found.answer is None


def test_a_plan_that_lists_the_problems_own_question_does_not_have_it_asked_twice() -> None:
    model = Scripted({"Ann": "1. How many  are left?\n2. How many a?\n3. how many are left?"})
    (found,) = least_to_most(model, ["Ann has 3. How many are left?"], extract=lambda text: text, config=CONFIG)
    assert [step.question for step in found.steps] == ["How many a?", "How many are left?"]


def test_the_prompts_of_the_package_hold_the_problem() -> None:
    model = Scripted({})
    model.generate = lambda prompts, _: [[Completion(" 7", 1, "stop")] for _ in prompts]  # type: ignore[method-assign]
    (found,) = least_to_most(model, ["Ann has 3. How many?"], extract=str.strip)
    assert found.answer == "7"
    assert least_to_most(model, [], extract=str) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"solve": "nothing"}, ValueError, r"solve must have \{question\}"),
        ({"decompose": 3}, TypeError, "decompose must be a string"),
        ({"most_steps": -1}, ValueError, "most_steps must be an integer of at least 0"),
        ({"solution": Sampling(n=2, temperature=1.0)}, ValueError, "solution must ask for one sample, got n = 2"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        LeastToMostConfig(**options)
