"""Auto-CoT on planted clusters with a scripted model: who is asked, who is chosen, and what is said of the others."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kb.cot import (
    AutoCotConfig,
    AutoCotError,
    Completion,
    DemonstrationFilters,
    LanguageModel,
    Sampling,
    auto_cot,
    extract_number,
    zero_shot_cot,
)

TRIGGER = "Let's think step by step."
GOOD = " He has 7 apples. The sum is 7."


class Planted:
    """An embedding on a line: the number in a question is its place."""

    name = "planted"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[float(re.findall(r"[\d.]+", text)[0])] for text in texts], dtype=np.float32)


class Scripted:
    """Answers by the question's number: ``bad`` maps it to what it writes instead of a good rationale."""

    name, context_length = "scripted", 1000

    def __init__(self, bad: dict[str, str] | None = None, answers: dict[str, str] | None = None) -> None:
        self.bad, self.answers = bad or {}, answers or {}
        self.calls: list[list[str]] = []

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def chat(self, message: str, system: str | None = None) -> str:
        return f"<user>{message}</user><assistant>"

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        self.calls.append(list(prompts))
        found = []
        for prompt in prompts:
            number = re.findall(r"[\d.]+", prompt)[0]
            text = self.answers.get(number, " 7.") if "Therefore" in prompt else self.bad.get(number, GOOD)
            found.append([Completion(text, len(text.split()), "stop")])
        return found

    @property
    def asked(self) -> list[str]:
        """Numbers of the questions whose rationale was asked for."""
        return [re.findall(r"[\d.]+", prompt)[0] for call in self.calls[::2] for prompt in call]


def number(text: str) -> str | None:
    found = re.findall(r"\d+", text)
    return found[-1] if found else None


# Three groups on a line, with centres 1, 11 and 21; within each, the distances from the centre differ.
QUESTIONS = [
    f"Question {place} ?" for place in ("1.0", "1.2", "0.7", "1.1", "11.0", "11.2", "10.7", "11.1", "21.0", "21.2")
]
QUESTIONS += ["Question 20.7 ?", "Question 21.1 ?"]


def make(model: Any, questions: Sequence[str] = QUESTIONS, **options: Any) -> Any:
    config = AutoCotConfig(**{"clusters": 3, "candidates_per_round": 1, **options})
    return auto_cot(model, questions, Planted(), extract=number, config=config)


def test_the_closest_to_each_centre_is_taken() -> None:
    model = Scripted()
    assert isinstance(model, LanguageModel)
    found = make(model)
    assert sorted(found.indices) == [0, 4, 8]
    first = found.demonstrations[found.indices.index(0)]
    assert (first.question, first.answer) == ("Question 1.0 ?", "7")
    assert first.rationale == f"{TRIGGER} He has 7 apples. The sum is 7."
    assert (found.rationales, found.calls) == (3, 2)
    assert found.irregular == ()
    assert [report.outcome for report in found.reports] == ["passed"] * 3
    assert [len(report.candidates) for report in found.reports] == [4, 4, 4]


def test_the_prompts_are_those_of_the_paper() -> None:
    model = Scripted()
    make(model)
    assert f"Q: Question 1.0 ?\nA: {TRIGGER}" in model.calls[0]
    assert f"Q: Question 1.0 ?\nA: {TRIGGER}{GOOD}\nTherefore, the answer (arabic numerals) is" in model.calls[1]


def test_a_chat_template_is_used_where_it_is_asked_for() -> None:
    model = Scripted()
    make(model, chat=True)
    assert f"<user>Question 1.0 ?\n{TRIGGER}</user><assistant>" in model.calls[0]


def test_the_walk_goes_outwards_until_one_passes() -> None:
    """Of the second group the first two fail: the order by distance is 11.0, 11.1, 11.2, 10.7."""
    model = Scripted(bad={"11.0": " unfinished 7", "11.1": ""})
    found = make(model)
    assert sorted(found.indices) == [0, 5, 8]
    assert model.asked.count("11.2") == 1
    assert "10.7" not in model.asked
    assert len(model.asked) == 5
    (report,) = [one for one in found.reports if one.chosen.index == 5]
    assert [(one.index, one.failed, one.examined) for one in report.candidates] == [
        (4, ("unfinished",), True),
        (7, ("no rationale",), True),
        (5, (), True),
        (6, (), False),
    ]
    assert (found.rationales, found.calls) == (5, 6)


def test_larger_rounds_choose_the_same() -> None:
    for size in (2, 3, 50):
        model = Scripted(bad={"11.0": " unfinished 7", "1.0": ""})
        assert sorted(make(model, candidates_per_round=size).indices) == [3, 7, 8]
        assert len(model.calls) == (2 if size > 1 else 4)


BAD = {"11.0": " one\ntwo\nthree\nfour\nfive\nsix 7", "11.1": " unfinished 7", "11.2": " unfinished 7", "10.7": ""}


def test_a_cluster_without_a_pass_is_relaxed_to_what_fails_least() -> None:
    """11.0 fails two filters; 11.1 and 11.2 fail one, and 11.1 is closer; 10.7 has no rationale at all."""
    found = make(Scripted(bad=BAD))
    assert sorted(found.indices) == [0, 7, 8]
    (report,) = found.irregular
    assert report.outcome == "relaxed"
    assert report.chosen.failed == ("unfinished",)
    assert "question 4, distance 0.000: many steps, unfinished" in str(report)
    assert "question 6, distance 0.300: no rationale" in str(report)


def test_a_cluster_without_a_pass_is_skipped_and_reported() -> None:
    found = make(Scripted(bad=BAD), on_failure="skip")
    assert sorted(found.indices) == [0, 8]
    (report,) = found.irregular
    assert (report.outcome, report.chosen) == ("failed", None)
    assert [one.failed for one in report.candidates][-1] == ("no rationale",)
    assert len(found.reports) == 3


def test_a_cluster_without_a_pass_is_an_error_where_that_is_wanted() -> None:
    with pytest.raises(
        AutoCotError, match=r"in 1 of 3 clusters no question passes:\ncluster \d, 4 questions"
    ) as caught:
        make(Scripted(bad=BAD), on_failure="raise")
    assert len(caught.value.reports) == 3


def test_nothing_usable_is_said_aloud() -> None:
    bad = dict.fromkeys(BAD, "")
    with pytest.warns(UserWarning, match="no demonstration from 1 clusters"):
        found = make(Scripted(bad=bad))
    assert len(found.demonstrations) == 2
    assert [report.outcome for report in found.irregular] == ["failed"]
    answers = dict.fromkeys(BAD, " I do not know.")
    with pytest.warns(UserWarning, match="no demonstration"):
        make(Scripted(answers=answers))


def test_long_questions_are_not_asked_but_where_nothing_else_is_left() -> None:
    questions = list(QUESTIONS)
    questions[4] += " word" * 60
    model = Scripted()
    assert sorted(make(model, questions).indices) == [0, 7, 8]
    assert "11.0" not in model.asked
    for place in (5, 6, 7):
        questions[place] += " word" * 60
    model = Scripted()
    found = make(model, questions)
    assert sorted(found.indices) == [0, 4, 8]
    assert found.irregular[0].chosen.failed == ("long question",)
    assert sorted(make(Scripted(), questions, on_failure="skip").indices) == [0, 8]


def test_generation_is_bounded() -> None:
    questions = [f"Question {place} ?" for place in range(100)]
    model = Scripted(bad={str(place): "" for place in range(100)})
    with pytest.warns(UserWarning, match="no demonstration from 3 clusters"):
        found = make(model, questions, most_candidates=5, candidates_per_round=2)
    assert found.rationales == len(model.asked) == 15
    assert found.calls == len(model.calls) == 6
    assert sum(not one.examined for report in found.reports for one in report.candidates) == 85


def test_the_seed_decides() -> None:
    questions = [f"Question {place}.{place * 37 % 101} ?" for place in range(90)]
    first, second = (make(Scripted(), questions, clusters=7, seed=5) for _ in range(2))
    assert first.demonstrations == second.demonstrations
    assert first.indices == second.indices
    assert first.reports == second.reports
    seeds = {make(Scripted(), questions, clusters=7, seed=seed).indices for seed in range(4)}
    assert len(seeds) > 1


@pytest.mark.parametrize(
    ("questions", "options", "error", "message"),
    [
        (["Question 1 ?"] * 9, {}, ValueError, "at least 3 different ones, got 1"),
        ([], {}, ValueError, "at least 3 different ones, got 0"),
        ([*QUESTIONS, ""], {}, ValueError, r"questions\[12\] must not be empty"),
        ([*QUESTIONS, " "], {}, ValueError, r"questions\[12\] must not be blank, got ' '"),
        ("Question", {}, TypeError, "questions must be a sequence of strings"),
        (QUESTIONS, {"clusters": 0}, ValueError, "clusters must be an integer of at least 1"),
        (QUESTIONS, {"on_failure": "drop"}, ValueError, "on_failure must be 'relax', 'skip' or 'raise', got 'drop'"),
        (QUESTIONS, {"filters": None}, TypeError, "filters must be DemonstrationFilters, got NoneType"),
        (QUESTIONS, {"most_candidates": 0}, ValueError, "most_candidates must be an integer"),
        (QUESTIONS, {"seed": -1}, ValueError, "seed must be an integer of at least 0"),
        (QUESTIONS, {"temperature": -1.0}, ValueError, "temperature must be 0"),
        (QUESTIONS, {"stop": "Q:"}, TypeError, "stop must be a sequence of strings"),
        (QUESTIONS, {"trigger": None}, TypeError, "trigger must be a string, got NoneType"),
        (QUESTIONS, {"answer_trigger": 7}, TypeError, "answer_trigger must be a string, got int"),
        (QUESTIONS, {"chat": "no"}, TypeError, "chat must be True or False, got 'no'"),
    ],
)
def test_what_cannot_be_is_refused(questions: Any, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make(Scripted(), questions, **options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": None}, r"model must have a method generate\(\), got NoneType"),
        ({"embedding": [[0.0]]}, r"embedding must have a method embed\(\), got list"),
        ({"extract": None}, "extract must be a function of a text, got NoneType"),
        ({"config": {"clusters": 3}}, "config must be an AutoCotConfig, got dict"),
    ],
)
def test_tools_of_another_kind_are_refused_before_any_work(wrong: dict[str, Any], message: str) -> None:
    model = Scripted()
    given = {"model": model, "embedding": Planted(), "extract": number, "config": AutoCotConfig(clusters=3), **wrong}
    with pytest.raises(TypeError, match=message):
        auto_cot(given["model"], QUESTIONS, given["embedding"], extract=given["extract"], config=given["config"])
    assert not model.calls


def test_the_prompt_made_of_them_is_the_papers_and_has_the_trigger_once_in_each() -> None:
    """Also where a chat model repeats what it was told."""
    for written in (GOOD, f"{TRIGGER}\n{GOOD}"):
        (shown,) = make(Scripted(bad={"1.0": written}), ["Question 1.0 ?"], clusters=1).demonstrations
        assert zero_shot_cot("4 + 4?", [shown]).text == (
            f"Q: Question 1.0 ?\nA: {TRIGGER} He has 7 apples. The sum is 7. The answer is 7.\n\n"
            f"Q: 4 + 4?\nA: {TRIGGER}"
        )


def test_filters_are_the_callers() -> None:
    found = make(Scripted(bad={"11.0": " a\nb\nc\nd\ne\nf 7."}), filters=DemonstrationFilters(most_steps=6))
    assert sorted(found.indices) == [0, 4, 8]


def test_an_embedding_that_forgets_a_question_is_found_out() -> None:
    class Short(Planted):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return super().embed(texts)[1:]

    with pytest.raises(ValueError, match="embedding must give 12 rows, one a question, got 11"):
        auto_cot(Scripted(), QUESTIONS, Short(), extract=number, config=AutoCotConfig(clusters=3))


def test_of_a_reply_that_goes_on_the_first_number_is_the_answer() -> None:
    """As in zero-shot chain of thought: the second stage's cue is read together with its reply."""
    config = AutoCotConfig(clusters=3, candidates_per_round=1)
    model = Scripted(answers={"1.0": " 7. There were 50 apples."})
    found = auto_cot(model, QUESTIONS, Planted(), extract=extract_number, config=config)
    assert found.demonstrations[found.indices.index(0)].answer == "7"
