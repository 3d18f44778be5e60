"""Sampling and voting on scripted models: rounds, seeds, early stopping, weights, bad input."""

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from kb.cot import (
    Completion,
    LanguageModel,
    Sampling,
    by_probability,
    extract_text,
    self_consistency,
    self_consistency_each,
    when_confident,
    when_decided,
    zero_shot_answers,
)
from tests.cot.models import Scripted

SAMPLING = Sampling(temperature=0.7, n=10, seed=5)


def of(answers: Sequence[str]) -> Scripted:
    """A model that gives these answers in turn, whatever the rounds."""
    turn = iter(answers)
    return Scripted(lambda prompt, seed, place: f"Well. The answer is {next(turn)}.")


def noisy(prompt: str, seed: int, place: int) -> str:
    """7 in about two of three samples, drawn from prompt, seed and place."""
    drawn = hashlib.sha256(f"{prompt} {seed} {place}".encode()).digest()[0]
    return f"#### {7 if drawn < 170 else drawn % 3}"


def test_the_scripted_model_is_a_language_model() -> None:
    assert isinstance(of("1"), LanguageModel)


def test_all_samples_come_in_one_call_and_vote() -> None:
    model = of(["7", "8", "none", "7", "7", "8", "8", "8", "7", "9"])
    found = self_consistency(model, "Q", SAMPLING)
    assert (found.answer, found.vote.count, found.vote.total, found.vote.unanswered, found.rounds) == (7, 4, 10, 1, 1)
    assert found.answers == (7, 8, None, 7, 7, 8, 8, 8, 7, 9)
    assert [len(prompts) for prompts, _ in model.calls] == [1]
    assert model.calls[0][1] == SAMPLING
    assert found.num_tokens == 50


def test_the_same_seed_gives_the_same_and_rounds_differ() -> None:
    first, again = (self_consistency(Scripted(noisy), "Q", SAMPLING, batch=3) for _ in range(2))
    assert first == again
    model = Scripted(noisy)
    self_consistency(model, "Q", SAMPLING, batch=3)
    assert [asked.n for _, asked in model.calls] == [3, 3, 3, 1]
    seeds = [asked.seed for _, asked in model.calls]
    assert seeds[0] == 5
    assert len(set(seeds)) == 4
    assert not set(seeds[1:]) & set(range(100))  # no other call's first seed


def test_a_decided_vote_ends_the_sampling_and_changes_nothing() -> None:
    for number in range(20):
        prompt = f"Q{number}"
        rounds = {batch: self_consistency(Scripted(noisy), prompt, SAMPLING, batch=batch) for batch in (1, 4)}
        for batch, whole in rounds.items():
            early = self_consistency(Scripted(noisy), prompt, SAMPLING, batch=batch, stop_rule=when_decided())
            assert early.answer == whole.answer
            assert early.completions == whole.completions[: len(early.completions)]
    agreed = self_consistency(of(["3"] * 10), "Q", SAMPLING, stop_rule=when_decided())
    assert (len(agreed.completions), agreed.rounds) == (5, 5)


def test_a_confident_vote_ends_earlier() -> None:
    agreed = self_consistency(of(["3"] * 10), "Q", SAMPLING, stop_rule=when_confident(0.95))
    assert len(agreed.completions) == 4


def test_decided_prompts_drop_out_of_the_rounds() -> None:
    def say(prompt: str, seed: int, place: int) -> str:
        return "#### 1" if prompt == "easy" else noisy(prompt, seed, place)

    model = Scripted(say)
    easy, hard = self_consistency_each(model, ["easy", "hard"], SAMPLING, batch=2, stop_rule=when_decided())
    assert len(easy.completions) == 6
    assert len(hard.completions) >= 6
    assert model.calls[0][0] == ["easy", "hard"]
    assert all(prompts == ["hard"] for prompts, _ in model.calls[3:])
    alone = self_consistency(Scripted(say), "hard", SAMPLING, batch=2, stop_rule=when_decided())
    assert alone == hard


def test_weights_are_the_tokens_mean_probability() -> None:
    class Unsure(Scripted):
        def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
            sure, unsure = Completion("#### 1", 4, "stop", -0.4), Completion("#### 2", 4, "stop", -8.0)
            return [[sure, unsure, unsure]]

    found = self_consistency(Unsure(noisy), "Q", Sampling(n=3, temperature=1.0), vote=by_probability)
    assert (found.answer, found.vote.count) == (1, 1)
    assert self_consistency(Unsure(noisy), "Q", Sampling(n=3, temperature=1.0)).answer == 2


def test_what_ran_out_of_tokens_may_be_left_unread() -> None:
    def say(prompt: str, seed: int, place: int) -> str:
        return "3 and 4 and 5 and 6 and 7" if place else "The answer is 12"

    short = Sampling(max_tokens=5, temperature=1.0, n=3)
    assert self_consistency(Scripted(say), "Q", short).answers == (12, 5, 5)
    assert self_consistency(Scripted(say), "Q", short, read_unfinished=False).answers == (12, None, None)


def test_any_extraction_will_do() -> None:
    model = Scripted(lambda prompt, seed, place: "Yes." if place else "No.")
    assert self_consistency(model, "Q", Sampling(n=3, temperature=1.0), extract=extract_text).answer == "yes"
    assert self_consistency(of(["4"]), "Q", Sampling(n=1)).answer == 4
    assert self_consistency_each(of([]), [], SAMPLING) == []


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda model: self_consistency(model, ["Q"], SAMPLING), TypeError, "prompt must be a text"),
        (lambda model: self_consistency_each(model, "Q", SAMPLING), TypeError, "prompts must be a sequence"),
        (lambda model: self_consistency(model, "Q", Sampling(n=0)), ValueError, "n must be an integer of at least 1"),
        (lambda model: self_consistency(model, "Q", {"n": 3}), TypeError, "sampling must be a Sampling, got dict"),
        (lambda model: self_consistency_each(model, ["Q", 3], SAMPLING), TypeError, r"prompts\[1\] must be a string"),
        (lambda model: self_consistency(model, "Q", SAMPLING, extract=None), TypeError, "extract must be a function"),
        (lambda model: self_consistency(model, "Q", SAMPLING, vote="majority"), TypeError, "vote must be a function"),
        (lambda model: self_consistency(model, "Q", SAMPLING, stop_rule=0.95), TypeError, "stop_rule must be a func"),
        (
            lambda model: self_consistency(model, "Q", SAMPLING, stop_rule=when_decided),
            TypeError,
            r"stop_rule must take 2 arguments, got when_decided\(\)",
        ),
        (
            lambda model: self_consistency(model, "Q", SAMPLING, stop_rule=when_confident),
            TypeError,
            r"stop_rule must take 2 arguments, got when_confident\(threshold",
        ),
        (lambda model: self_consistency(model, "Q", Sampling(n=2)), ValueError, "greedy ones are all the same"),
        (lambda model: self_consistency(model, "Q", SAMPLING, batch=0), ValueError, "batch must be"),
        (
            lambda model: self_consistency(model, "Q", SAMPLING, vote=by_probability, stop_rule=when_decided()),
            ValueError,
            "stop_rule must be None unless vote is by_majority",
        ),
    ],
)
def test_bad_input_costs_no_call(call: Any, kind: type[Exception], message: str) -> None:
    model = Scripted(noisy)
    with pytest.raises(kind, match=message):
        call(model)
    assert model.calls == []


def test_both_stages_of_zero_shot() -> None:
    def say(prompt: str, seed: int, place: int) -> str:
        return " 42. There were 50." if prompt.endswith("is") else f" First {place}."

    model = Scripted(say)
    found = zero_shot_answers(model, ["How many?", "Why?"], Sampling(n=2, temperature=1.0, max_tokens=20))
    assert [[one.answer for one in samples] for samples in found] == [[42, 42], [42, 42]]
    assert found[0][1].reasoning.text == " First 1."
    cue = "\nTherefore, the answer (arabic numerals) is"
    assert model.calls[0][0] == [f"Q: {one}\nA: Let's think step by step." for one in ("How many?", "Why?")]
    assert model.calls[1][0][1] == "Q: How many?\nA: Let's think step by step. First 1." + cue
    assert (model.calls[1][1].n, model.calls[1][1].temperature, model.calls[1][1].max_tokens) == (1, 0.0, 32)
    assert zero_shot_answers(model, [], Sampling()) == []
    with pytest.raises(ValueError, match=r"questions\[0\] may need 1048 tokens for both stages, and scripted has 1000"):
        zero_shot_answers(model, ["How many?"], Sampling(max_tokens=1001))
    with pytest.raises(TypeError, match="questions must be a sequence"):
        zero_shot_answers(model, "How many?", Sampling())
