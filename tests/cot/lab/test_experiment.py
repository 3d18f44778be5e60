"""Asking a model, length by length: scores by hand, and one run from corpus to scores."""

from collections.abc import Callable, Sequence

import pytest

from kb.cot import Completion, Sampling
from kb.cot.lab.experiment import Score, by_length, mixture, room, run, score
from kb.cot.lab.formats import Format, prompt, sequence
from kb.cot.lab.task import held_out
from kb.cot.lab.tasks import Addition, Parity
from kb.cot.lab.training import Corpus, Recipe


class Answering:
    """A language model that is a function of the prompt; a token a character."""

    name, context_length = "function", 1000

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer

    def count_tokens(self, text: str) -> int:
        return len(text)

    def chat(self, message: str, system: str | None = None) -> str:
        return message

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        texts = [self.answer(one) for one in prompts]
        return [[Completion(text[: sampling.max_tokens], len(text) + 1, "stop")] for text in texts]


def solved(asked: str) -> str:
    """A perfect model of parity, in every format."""
    question = asked.split("#")[0].split("?")[0]
    example = Parity().follow(question)
    if asked.endswith("?"):
        return f"{''.join(example.steps)}#{example.answer}"
    return example.answer + ("?" + "".join(example.steps) if asked == question + "#" else "")


EXAMPLES = [Parity().follow(bits) for bits in ("101", "100", "111", "000")]


@pytest.mark.parametrize("how", ["scratchpad", "post-hoc", "filler"])
def test_a_perfect_model_is_right_in_every_format(how: Format) -> None:
    found = score(Answering(solved), EXAMPLES, how)
    assert (found.count, found.right) == (4, 1.0)
    assert found.true_steps == (None if how == "filler" else 1.0)


def test_scores_by_hand() -> None:
    # 101: right by wrong steps; 100: wrong after true ones; 111: right and true; 000: true steps and no answer.
    texts = {"101?": "000#0", "100?": "111#0", "111?": "101#1", "000?": "000"}
    assert score(Answering(texts.__getitem__), EXAMPLES, "scratchpad") == Score(4, 0.5, 0.75, (3 * 6 + 4) / 4)
    direct = {"101#": "0", "100#": "1 ", "111#": "11", "000#": ""}
    assert score(Answering(direct.__getitem__), EXAMPLES, "direct") == Score(4, 0.25, None, (2 + 3 + 3 + 1) / 4)


@pytest.mark.parametrize("how", ["direct", "scratchpad", "filler", "post-hoc"])
def test_there_is_room_for_the_true_completion(how: Format) -> None:
    example = Addition().follow("57+68")
    written = len(sequence(example, how, "all")[0]) - len(prompt(example, how))
    assert written <= room([example], how) <= written + 9


def test_lengths_are_asked_one_by_one_on_what_is_held_out() -> None:
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        return "0" if len(text) == 5 else "1"

    found = by_length(Answering(answer), Parity(), (4, 6), "direct", count=8, seed=3)
    tests = {length: held_out(Parity(), length, 8, 3) for length in (4, 6)}
    assert asked == [one.question + "#" for of in tests.values() for one in of]
    shares = {length: sum(one.answer == "0" for one in of) / len(of) for length, of in tests.items()}
    assert {length: one.right for length, one in found.items()} == {4: shares[4], 6: 1 - shares[6]}


def test_a_run_trains_and_asks_in_other_formats_too() -> None:
    recipe = Recipe(1.5e6, width=16, layers=1, heads=2, batch=4, max_positions=64)
    corpus = Corpus(Parity(), (2, 3), mixture(0.5))
    _, found = run(corpus, recipe, ("direct", "scratchpad"), (3, 5), seed=0, count=4)
    _, again = run(corpus, recipe, ("direct", "scratchpad"), (3, 5), seed=0, count=4)
    assert found == again
    assert found.steps == len(recipe.affordable(corpus.batches(4, 0)))
    assert found.examples == 4 * found.steps
    assert {how: set(of) for how, of in found.scores.items()} == {"direct": {3, 5}, "scratchpad": {3, 5}}


def test_bad_arguments_are_refused() -> None:
    recipe, corpus = Recipe(1e6, width=8, layers=1, heads=2, batch=2), Corpus(Parity(), (3,), "direct")
    assert mixture(0.25) == {"scratchpad": 0.25, "direct": 0.75}
    for wrong in (-0.1, 1.1, float("nan"), True, "half"):
        with pytest.raises(ValueError, match="share must be a number from 0 to 1"):
            mixture(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="examples must hold at least one"):
        score(Answering(solved), [], "direct")
    with pytest.raises(ValueError, match="format must be one of"):
        score(Answering(solved), EXAMPLES, "cot")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="format must be one of"):
        run(corpus, recipe, ("cot",), (3,), seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lengths must name"):
        run(corpus, recipe, ("direct",), (), seed=0)
    with pytest.raises(ValueError, match="count must be"):
        run(corpus, recipe, ("direct",), (3,), seed=0, count=0)
