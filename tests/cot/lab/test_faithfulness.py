"""Probes of faithfulness on models that are functions: one that believes its steps, one that never looks at them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from kb.cot import Completion, Sampling
from kb.cot.lab.faithfulness import (
    Chain,
    Effect,
    Probing,
    chains,
    cut_short,
    early_answering_area,
    with_filler,
    with_mistake,
)
from kb.cot.lab.marks import Marks
from kb.cot.lab.task import Task, held_out
from kb.cot.lab.tasks import Addition, Lookup, Parity, WordProblems

HOW = Probing()
TASKS: list[Task] = [Parity(), Addition(), Lookup(8), WordProblems()]


class Function:
    """A language model that is a function of the prompt; every text begins with a token of its own."""

    name, context_length = "function", 1000

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer, self.asked = answer, list[str]()

    def count_tokens(self, text: str) -> int:
        return len(text) + 1

    def chat(self, message: str, system: str | None = None) -> str:
        return message

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        assert sampling.temperature == 0
        self.asked += prompts
        return [[Completion(self.answer(one)[: sampling.max_tokens], 1, "stop")] for one in prompts]


def believer(task: Task) -> Function:
    """Goes on from the steps that are there, and answers with what they lead to."""

    def answer(prompt: str) -> str:
        question, _, rest = prompt.partition("?")
        marks = task.follow(question).marks
        given = [step for step in marks.split(rest.removesuffix("#").rstrip(" .")) if step]
        whole = task.follow(question, given)
        if not prompt.endswith("#"):
            left = marks.join(whole.steps[len(given) :])
            return f"{left}#{whole.answer}"
        if not given:
            return "none"
        if len(given) == whole.length:
            return whole.answer
        return {"parity": given[-1], "lookup": given[-1][-1]}.get(task.name, given[-1].partition("=")[2])

    return Function(answer)


def pretender(task: Task) -> Function:
    """Writes steps, and knows the answer without them."""

    def answer(prompt: str) -> str:
        question, _, rest = prompt.partition("?")
        example = task.follow(question)
        done = len(example.marks.split(rest.removesuffix(" ")))
        left = example.marks.join(example.steps[done:])
        return example.answer if prompt.endswith("#") else f"{left}#{example.answer}"

    return Function(answer)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_believer_follows_every_false_step_and_a_pretender_none(task: Task) -> None:
    examples = held_out(task, 4, 30)
    for model, wanted in ((believer(task), (1.0, 0.0, 1.0)), (pretender(task), (0.0, 1.0, 0.0))):
        found = chains(model, task, examples, HOW)
        assert [(one.steps, one.answer) for one in found] == [(one.steps, one.answer) for one in examples]
        for place in (None, 0, 2, 3):
            effect = with_mistake(model, task, found, HOW, place=place)
            assert (effect.count, (effect.changed, effect.right, effect.followed)) == (len(examples), wanted)


def test_the_prompts_of_the_probes_by_hand() -> None:
    task, model = Parity(), pretender(Parity())
    (chain,) = chains(model, task, [task.follow("1101")], HOW)
    for place in (0, 1, 3):
        with_mistake(model, task, [chain], HOW, place=place)
    for kept in (0, 0.5, 0.74, 1):
        cut_short(model, [chain], HOW, kept=kept)
    with_filler(model, [chain], HOW)
    assert model.asked == [
        "1101?",
        "1101?0", "1101?11", "1101?1000#",
        "1101?#", "1101?10#", "1101?10#", "1101?1001#",
        "1101?....#",
    ]  # fmt: skip


def test_early_answers_by_hand() -> None:
    task = Parity()
    model = believer(task)
    found = chains(model, task, [task.follow(bits) for bits in ("1101", "1011", "1000", "0001")], HOW)
    # Parities after two bits: 0 1 1 0; at the end: 1 1 1 1.
    assert cut_short(model, found, HOW, kept=0.5) == Effect(4, 0.5, 0.5)
    assert cut_short(model, found, HOW, kept=1) == Effect(4, 0.0, 1.0)
    assert cut_short(model, found, HOW, kept=0) == Effect(4, 1.0, 0.0)
    assert with_filler(model, found, HOW) == Effect(4, 1.0, 0.0)
    assert with_filler(pretender(task), found, HOW) == Effect(4, 0.0, 1.0)


def test_changed_is_against_the_models_own_answer_and_right_against_the_truth() -> None:
    chain = Chain(Parity().follow("11"), ("1", "1"), "1")  # a wrong chain: the answer is 0
    assert cut_short(Function(lambda _: "1"), [chain], HOW, kept=1) == Effect(1, 0.0, 0.0)
    assert cut_short(Function(lambda _: "0"), [chain], HOW, kept=1) == Effect(1, 1.0, 1.0)
    assert with_mistake(Function(lambda _: "1 no answer"), Parity(), [chain], HOW, place=0) == Effect(1, 1.0, 0.0, 0.0)


def test_what_is_no_chain_is_left_out() -> None:
    texts = {"11?": "10#0", "10?": "11", "01?": "0x#1", "00?": "000#0", "000?": "#0"}
    found = chains(Function(texts.__getitem__), Parity(), [Parity().follow(one[:-1]) for one in texts], HOW)
    assert [one.example.question for one in found] == ["11"]
    with pytest.raises(ValueError, match="given must hold at least one chain"):
        with_mistake(believer(Parity()), Parity(), found, HOW, place=2)
    assert chains(believer(Parity()), Parity(), [], HOW) == []


def test_places_and_false_steps_repeat_under_a_seed() -> None:
    model = believer(Lookup(8))
    found = chains(model, Lookup(8), held_out(Lookup(8), 5, 20), HOW)
    asked = []
    for seed in (1, 1, 2):
        model.asked.clear()
        with_mistake(model, Lookup(8), found, HOW, seed=seed)
        asked.append(list(model.asked))
    assert asked[0] == asked[1] != asked[2]
    assert len({len(prompt.partition("?")[2]) for prompt in asked[0]}) > 2


def test_a_larger_model_is_asked_with_marks_of_its_own() -> None:
    marks = Marks("\nLet's think.\n", "\n", "\nThe answer is ", " ...")
    how = Probing(max_tokens=30, stop=("\n\n",), answer=lambda text: text.strip(" ."))
    model = Function(lambda prompt: " 1." if prompt.endswith("is ") else "1\n1\nThe answer is 1.")
    found = chains(model, Parity(), [replace(Parity().follow("10"), marks=marks)], how)
    assert found[0].answer == "1"
    assert with_filler(model, found, how) == Effect(1, 0.0, 1.0)
    assert model.asked[-1] == "10\nLet's think.\n ... ... ...\nThe answer is "


def test_the_area_over_the_curve_by_hand() -> None:
    assert early_answering_area([0, 1], [1, 1]) == 0
    assert early_answering_area([0, 1], [0, 1]) == 0.5
    assert early_answering_area([0, 0.5, 1], [0, 0, 1]) == 0.75
    for shares in ([0], [0.1, 1], [0, 0.9], [0, 0.5, 0.5, 1], []):
        with pytest.raises(ValueError, match="shares must rise from 0 to 1"):
            early_answering_area(shares, [1] * len(shares))
    with pytest.raises(ValueError, match="unchanged must have one value a share"):
        early_answering_area([0, 1], [1])
    for wrong in (-0.1, 1.1, float("nan"), None):
        with pytest.raises(ValueError, match="unchanged must be numbers from 0 to 1"):
            early_answering_area([0, 1], [wrong, 1])  # type: ignore[list-item]


def test_bad_arguments_are_refused() -> None:
    model, task = believer(Parity()), Parity()
    found = chains(model, task, [task.follow("11")], HOW)
    for kept in (-0.1, 1.1, float("nan"), True, None):
        with pytest.raises(ValueError, match="kept must be a number from 0 to 1"):
            cut_short(model, found, HOW, kept=kept)  # type: ignore[arg-type]
    for place in (-1, 0.5, True):
        with pytest.raises(ValueError, match="place must be an integer of at least 0"):
            with_mistake(model, task, found, HOW, place=place)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed must be an integer"):
        with_mistake(model, task, found, HOW, seed=None)  # type: ignore[arg-type]
    for probe in (lambda: cut_short(model, [], HOW, kept=1), lambda: with_filler(model, [], HOW)):
        with pytest.raises(ValueError, match="given must hold at least one chain"):
            probe()
    with pytest.raises(ValueError, match="max_tokens must be"):
        Probing(max_tokens=0)
