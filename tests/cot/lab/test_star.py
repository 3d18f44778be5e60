"""The loop that learns from answers alone: what is kept, what the filter cannot see, and where training starts."""

import copy
from collections.abc import Sequence
from itertools import islice

import pytest
import torch

from kb.cot import Completion, Sampling
from kb.cot.lab.model import LabModel
from kb.cot.lab.star import StarConfig, rationalised, star, with_replacement, written, wrong_share
from kb.cot.lab.task import Example, held_out, stream
from kb.cot.lab.tasks import Parity
from kb.cot.lab.training import Recipe

RECIPE = Recipe(2e6, width=16, layers=1, heads=2, batch=4, max_positions=64)
QUESTIONS = [Parity().follow(bits) for bits in ("101", "100", "110", "011")]


class Texts(LabModel):
    """Writes what it is told, by prompt; for samples, one text after the other."""

    def __init__(self, texts: dict[str, list[str]]) -> None:
        self.texts, self.asked = texts, list[tuple[str, Sampling]]()

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        self.asked += [(one, sampling) for one in prompts]
        return [[Completion(text, 1, "stop") for text in self.texts[one][: sampling.n]] for one in prompts]


# 101: true steps; 100: right by wrong steps; 110: wrong; 011: right by wrong steps, then by true ones.
WRITTEN = {
    "101?": ["110#0", "000#0"],
    "100?": ["001#1", "001#1"],
    "110?": ["111#1", "100"],
    "011?": ["110#0", "010#0"],
}


def questions_of(examples: Sequence[Example]) -> list[str]:
    return [one.question for one in examples]


def test_what_each_filter_keeps_by_hand() -> None:
    kept, failed = written(Texts(WRITTEN), QUESTIONS, StarConfig(), seed=0)
    assert [(one.question, one.steps, one.answer) for one in kept] == [
        ("101", ("1", "1", "0"), "0"),
        ("100", ("0", "0", "1"), "1"),
        ("011", ("1", "1", "0"), "0"),
    ]
    assert failed == [QUESTIONS[2]]
    assert wrong_share(Parity(), kept) == 2 / 3
    kept, failed = written(Texts(WRITTEN), QUESTIONS, StarConfig(keep="true steps"), seed=0)
    assert questions_of(kept) == ["101"]
    assert questions_of(failed) == ["100", "110", "011"]
    assert written(Texts(WRITTEN), QUESTIONS, StarConfig(keep="nothing"), seed=0) == ([], QUESTIONS)
    kept, failed = written(Texts(WRITTEN), QUESTIONS, StarConfig(keep="everything"), seed=0)
    assert (questions_of(kept), failed) == (["101", "100", "110", "011"], [])
    assert kept[2].answer == "1"  # as the model said, right or wrong


def test_of_several_samples_the_first_that_passes_is_kept() -> None:
    model = Texts(WRITTEN)
    config = StarConfig(samples=2, temperature=0.7, keep="true steps")
    kept, _ = written(model, QUESTIONS, config, seed=5)
    assert [(one.question, one.steps) for one in kept] == [("101", ("1", "1", "0")), ("011", ("0", "1", "0"))]
    (sampling,) = {sampling for _, sampling in model.asked}
    assert (sampling.n, sampling.temperature, sampling.seed) == (2, 0.7, 5)


def test_a_hint_is_given_and_not_trained_on() -> None:
    failed = [Parity().follow(bits) for bits in ("110", "111", "001", "010")]
    model = Texts({
        "110#0?": ["100"], "110?100#": ["0"],  # there by true steps
        "111#1?": ["111"], "111?111#": ["1"],  # there by wrong steps
        "001#1?": ["001"], "001?001#": ["0"],  # does not get there
        "010#1?": ["01#1"],  # no rationale
    })  # fmt: skip
    kept = rationalised(model, failed, "right answer")
    assert [(one.question, one.steps, one.answer) for one in kept] == [
        ("110", ("1", "0", "0"), "0"),
        ("111", ("1", "1", "1"), "1"),
    ]
    assert wrong_share(Parity(), kept) == 0.5
    assert questions_of(rationalised(model, failed, "true steps")) == ["110"]
    assert rationalised(model, [], "right answer") == []


def test_rounds_train_from_the_base_repeat_and_change_nothing_of_it() -> None:
    base = RECIPE.model(0)
    before = copy.deepcopy(base.state_dict())
    known = list(islice(stream(Parity(), (2, 3), 1), 6))
    config = StarConfig(rounds=2, questions=8, rationalise=True, seed=3)
    model, rounds = star(base, Parity(), (2, 3), known, RECIPE, config, count=4)
    assert len(rounds) == 3
    assert (rounds[0].kept, rounds[0].hinted) == (0, 0)
    assert set(rounds[2].scores) == {2, 3}
    assert rounds[2].right == (rounds[2].scores[2].right + rounds[2].scores[3].right) / 2
    assert all(0 <= one.kept + one.hinted <= 1 for one in rounds)
    torch.testing.assert_close(base.state_dict(), before, rtol=0, atol=0)
    assert model is not base
    again, same = star(base, Parity(), (2, 3), known, RECIPE, config, count=4)
    assert same == rounds
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_drawing_with_replacement_repeats_and_reaches_all() -> None:
    examples = held_out(Parity(), 6, 9)
    first, again = (list(islice(with_replacement(examples, 4), 200)) for _ in range(2))
    assert first == again
    assert set(questions_of(first)) == set(questions_of(examples))
    with pytest.raises(ValueError, match="examples must hold at least one"):
        with_replacement([], 0)


def test_bad_arguments_are_refused() -> None:
    for name, wrong in {"rounds": 0, "questions": 1.5, "samples": 0, "temperature": -1, "seed": "x"}.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            StarConfig(**{name: wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="samples of 2 need a temperature above 0"):
        StarConfig(samples=2)
    with pytest.raises(ValueError, match="keep must be one of right answer, true steps, everything, nothing, got"):
        StarConfig(keep="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rationalise needs a filter"):
        StarConfig(keep="everything", rationalise=True)
    with pytest.raises(ValueError, match="known must hold at least one"):
        star(RECIPE.model(0), Parity(), (3,), [], RECIPE, StarConfig())
    with pytest.raises(ValueError, match="at least 1, got 0"):
        star(RECIPE.model(0), Parity(), (0,), QUESTIONS, RECIPE, StarConfig())
    assert written(Texts({}), [], StarConfig(), seed=0) == ([], [])
