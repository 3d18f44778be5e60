"""Whether wrong examples mislead more when they are like the question: real weights, a planted mistake.

All rationales of one kind of problem stop one step early and give the result of the step before. Eight examples are
chosen from 300 problems, by likeness, from clusters or at random, and stand in order of likeness, the most like last. A
new question of that kind follows, and its right steps up to the last; measured is the probability that the model goes
on with " The answer is", which is to make the same mistake. The control has the same examples with right rationales.
"""

import math
import re
import statistics
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measurement import Measurement, Samples
from kb.cot import (
    Demonstration,
    EngineModel,
    MiniLM,
    Problem,
    few_shot_cot,
    generated_problems,
    select_k_means,
    select_nearest,
    select_random,
)
from kb.cot.problem_kinds import KINDS

DEVICES = ("cpu",)
POOL, EXAMPLES, ASKED = 300, 8, 3  # ASKED of each kind
WAYS = ("nearest", "k-means", "random")
STOP = " The answer is"


@dataclass(frozen=True)
class Steps:
    """A rationale up to its last step, and the number that stands there."""

    early: str
    answer: str


def one_step_early(problem: Problem) -> Steps:
    """A problem's steps without the last."""
    sentences = re.split(r"(?<=\.) ", problem.rationale)
    early = " ".join(sentences[:-1])
    return Steps(early, re.findall(r"\d+(?:\.\d+)?", early)[-1])


def demonstration(problem: Problem, wrong: bool) -> Demonstration:
    """The problem as an example, with its own steps, or without the last."""
    if wrong:
        steps = one_step_early(problem)
        return Demonstration(problem.question, steps.early, steps.answer)
    value = problem.answer
    shown = str(value) if value.denominator == 1 else f"{float(value):.2f}"
    return Demonstration(problem.question, problem.rationale, shown)


def chosen(way: str, question_D: NDArray[np.float64], pool_ND: NDArray[np.float64], seed: int) -> list[int]:
    """Indices of examples in order of likeness, the most like last."""
    if way == "nearest":
        found = select_nearest(question_D[None], pool_ND, EXAMPLES)[0]
    elif way == "k-means":
        found = select_k_means(pool_ND, EXAMPLES, seed=seed)
    else:
        found = select_random(len(pool_ND), EXAMPLES, seed=seed)
    return sorted(found.tolist(), key=lambda index: float(pool_ND[index] @ question_D))


def measure(device: torch.device) -> Measurement:
    """Assert nothing of the effect: it is what is asked."""
    pool, fresh = generated_problems(POOL), generated_problems(POOL, seed=1)
    encoder = MiniLM()
    pool_ND = encoder.embed([problem.question for problem in pool]).astype(float)
    model = EngineModel("smollm2-135m", max_model_len=2048)
    probability: dict[str, list[float]] = {}
    wrong_examples: dict[str, list[int]] = {way: [] for way in WAYS}
    for kind in (function.__name__.replace("_", " ") for function in KINDS):
        asked = [problem for problem in fresh if problem.kind == kind][:ASKED]
        rows_QD = encoder.embed([problem.question for problem in asked]).astype(float)
        for number, (problem, row_D) in enumerate(zip(asked, rows_QD, strict=True)):
            for way in WAYS:
                indices = chosen(way, row_D, pool_ND, number)
                wrong_examples[way].append(sum(pool[index].kind == kind for index in indices))
                for planted in (True, False):
                    shown = [demonstration(pool[i], planted and pool[i].kind == kind) for i in indices]
                    prompt = few_shot_cot(problem.question, shown).text + " " + one_step_early(problem).early
                    name = f"{way}, {'wrong' if planted else 'right'}"
                    probability.setdefault(name, []).append(math.exp(model.log_likelihood(prompt, STOP)))
    return Measurement(
        title="Probability of the planted mistake, to stop one step early, SmolLM2-135M-Instruct dequantised from Q4_1",
        method=f"{ASKED} new questions of each of {len(KINDS)} kinds, {EXAMPLES} examples of {POOL}; all rationales "
        "of the question's kind wrong, or right",
        samples={name: Samples("probability", [round(value, 5) for value in of]) for name, of in probability.items()},
        facts={
            "wrong examples": wrong_examples,
            "mean": {name: round(statistics.mean(of), 4) for name, of in probability.items()},
            "more likely than not": {name: sum(value > 0.5 for value in of) for name, of in probability.items()},
        },
    )
