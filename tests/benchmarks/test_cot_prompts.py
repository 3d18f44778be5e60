"""What the measurements on GSM8K ask, and how they read what comes back."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from benchmarks import cot_models
from benchmarks.measurements import cot_gsm8k, cot_likelihood
from kb.cot import Problem, TransformersModel
from tests.cot.tiny_llama import save_llama

PROBLEMS = (
    Problem("3 and 4?", "Take 3 and 4.\n3 + 4 = 7 in all.", Fraction(7), "a"),
    Problem("Half of 7?", "Halve 7.\n7 / 2 = 3.5", Fraction(7, 2), "b"),
    Problem("9 less 1?", "Take 1 away.\n9 - 1 = 8", Fraction(8), "c"),
)


def test_controls_are_made_of_solutions() -> None:
    made = cot_likelihood.rationales(PROBLEMS)
    whole = made[cot_likelihood.WHOLE]
    assert whole[0] == "Take 3 and 4. 3 + 4 = 7 in all."
    assert made[cot_likelihood.ALONE] == ["", "", ""]
    assert made[cot_likelihood.SHORTENED] == ["Take 3 and 4.", "Halve 7.", "Take 1 away."]
    assert made[cot_likelihood.OTHER] == [whole[1], whole[2], whole[0]]
    shuffled = made[cot_likelihood.SHUFFLED]
    assert [sorted(text.split()) for text in shuffled] == [sorted(text.split()) for text in whole]
    assert shuffled[0] != whole[0]
    assert made == cot_likelihood.rationales(PROBLEMS)


def test_a_prompt_ends_where_the_answer_follows() -> None:
    assert cot_likelihood.prompt("3 and 4?", "") == "Q: 3 and 4?\nA: The answer is"
    assert cot_likelihood.prompt("3 and 4?", "So 7.") == "Q: 3 and 4?\nA: So 7. The answer is"
    assert [cot_likelihood.written(problem) for problem in PROBLEMS] == ["7", "3.50", "8"]


@pytest.mark.parametrize(
    ("texts", "announced", "last"),
    [
        (["The answer is 7.", "The answer is $3.50.", "The answer is 8."], 2, 3),
        (["7", "3.5", "8 of 9"], 0, 2),
        (["The answer is 7. No, 8", "", "so 1,000"], 1, 0),
    ],
)
def test_other_readings_are_those_of_the_patterns(texts: list[str], announced: int, last: int) -> None:
    assert cot_gsm8k._graded(texts, PROBLEMS) == {"announced": announced, "last": last}


def test_another_model_is_asked_where_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cot_models.VARIABLE, str(save_llama(tmp_path / "llama")))
    model = cot_models.asked_model(torch.device("cpu"))
    assert isinstance(model, TransformersModel)
    assert model.name == "llama"
