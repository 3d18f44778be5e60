"""How probable the right answer is to a model after reasoning that it did not write: GSM8K's own, and controls.

A model too small to reason may still read. The answer's ln p follows the question alone; the question and its worked
solution; the same without its last line, which in most items is the one that says the answer; the same words shuffled,
so that the same numbers are there in no order; and another item's solution. Only the differences item by item say
anything, since items differ far more than that.
"""

import random

import torch

from benchmarks.cot_models import asked_model
from benchmarks.measurement import Measurement, Samples
from benchmarks.task_lab import between, low
from kb.cot import Problem, gsm8k

ALONE, WHOLE, SHORTENED = "question alone", "its solution", "its solution without the last line"
SHUFFLED, OTHER = "its solution, words shuffled", "another item's solution"


def rationales(problems: tuple[Problem, ...]) -> dict[str, list[str]]:
    """What stands between each question and its answer, by condition."""
    rng = random.Random(0)
    whole = [" ".join(problem.rationale.split()) for problem in problems]
    shortened = [" ".join(" ".join(problem.rationale.strip().splitlines()[:-1]).split()) for problem in problems]
    shuffled = [" ".join(rng.sample(text.split(), len(text.split()))) for text in whole]
    return {
        ALONE: [""] * len(problems),
        WHOLE: whole,
        SHORTENED: shortened,
        SHUFFLED: shuffled,
        OTHER: whole[1:] + whole[:1],
    }


def prompt(question: str, rationale: str) -> str:
    """All up to the answer."""
    return f"Q: {question}\nA:{' ' + rationale if rationale else ''} The answer is"


def written(problem: Problem) -> str:
    """The answer as a model would write it: no fraction is left in what are amounts of money."""
    whole = problem.answer.denominator == 1
    return str(problem.answer) if whole else f"{float(problem.answer):.2f}"


def measure(device: torch.device) -> Measurement:
    """Assert that a solution of its own helps an item's answer more than another item's does."""
    model, problems = asked_model(device), gsm8k()
    conditions = rationales(problems)
    values = {
        name: [
            model.log_likelihood(prompt(problem.question, text), f" {written(problem)}.")
            for problem, text in zip(problems, texts, strict=True)
        ]
        for name, texts in conditions.items()
    }
    pairs = [(name, ALONE) for name in conditions if name != ALONE]
    pairs += [(WHOLE, OTHER), (WHOLE, SHUFFLED), (SHORTENED, OTHER)]
    apart = {f"{one} - {other}": between(values[one], values[other]) for one, other in pairs}
    assert low(apart[f"{WHOLE} - {OTHER}"]) > 0, f"an item's own solution is of no more use: {apart}"
    return Measurement(
        title=f"ln p of the right answer, {model.name}, {len(problems)} items of GSM8K's test set",
        method="plain text, one forward pass a prompt; the answer and its full stop, ln p summed over their tokens",
        samples={name: Samples("nats", [round(value, 4) for value in of]) for name, of in values.items()},
        facts={
            "model": model.name,
            "differences": apart,
            "items whose shortened solution names the answer": sum(
                written(problem) in text.replace(",", "")
                for problem, text in zip(problems, conditions[SHORTENED], strict=True)
            ),
        },
    )
