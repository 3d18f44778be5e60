"""Votes of ten samples against one greedy answer: SmolLM2-135M on word problems of our own making.

Of the ten kinds of kb.cot one problem each, most of which take two steps; and problems of one step, which are made
here, as the model can do some of those. What is kept of each sample is its answer, its tokens, ln p and the features
that a verifier reads, so that votes of any size can be counted from the record.
"""

from dataclasses import dataclass
from fractions import Fraction

import torch

from benchmarks.measurement import Measurement, Samples
from kb.cot import (
    Completion,
    EngineModel,
    Problem,
    Sampling,
    extract_number,
    few_shot_cot,
    generated_problems,
    majority,
    solution_features,
    wei_demonstrations,
)
from kb.cot.problem_kinds import THINGS, Draw

DEVICES = ("cpu",)
N, TEMPERATURE, NEW_TOKENS, SEED, EACH = 10, 0.7, 80, 7, 6
ONE_STEP = {
    "sum": "{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have now?",
    "difference": "{name} has {a} {thing} and gives away {b}. How many {thing} does {name} have left?",
    "product": "{name} has {a} boxes with {b} {thing} each. How many {thing} does {name} have?",
    "quotient": "{name} puts {a} {thing} into {b} boxes, the same number into each. How many are in each box?",
}


def one_step(seed: int) -> list[Problem]:
    """``EACH`` problems of each of four kinds, with a rationale of one equation."""
    found = []
    for number in range(EACH * len(ONE_STEP)):
        draw = Draw(f"one step {seed} {number}")
        kind = list(ONE_STEP)[number % len(ONE_STEP)]
        (name,), thing = draw.names(1), draw.one_of(THINGS)
        b, c = draw.number(2, 9), draw.number(3, 9)
        a, sign, value = {
            "sum": (4 * c, "+", 4 * c + b),
            "difference": (4 * c, "-", 4 * c - b),
            "product": (c, "*", c * b),
            "quotient": (b * c, "/", c),
        }[kind]
        question = ONE_STEP[kind].format(name=name, thing=thing, a=a, b=b)
        rationale = f"{a} {sign} {b} = {value}."
        found.append(
            Problem(question, rationale, Fraction(value), f"one-step-{seed}-{number}", kind, f"{a} {sign} {b}")
        )
    return found


def generated(seed: int) -> list[Problem]:
    """The first problem of each of the kinds of ``kb.cot``."""
    first: dict[str | None, Problem] = {}
    for one in generated_problems(100, seed=seed):
        first.setdefault(one.kind, one)
    return list(first.values())


def kept(problem: Problem, sample: Completion) -> str:
    """What the record holds of a sample, in one line: answer, tokens, ln p, how it ended, and its features."""
    answer, log = extract_number(sample.text), sample.log_probability
    assert log is not None
    features = " ".join(f"{value:.3f}" for value in solution_features(problem.question, sample))
    return f"{answer} {sample.num_tokens} {log:.3f} {sample.finish_reason} {features}"


@dataclass(frozen=True)
class Asked:
    """What became of some problems."""

    problems: list[Problem]
    greedy: list[Completion]
    sampled: list[list[Completion]]

    def right(self) -> dict[str, list[float]]:
        """By way of answering, each problem's share of right answers."""
        truths = [one.answer for one in self.problems]
        read = [[extract_number(one.text) for one in each] for each in self.sampled]
        first = [extract_number(one.text) for one in self.greedy]
        return {
            "greedy": [float(answer == truth) for answer, truth in zip(first, truths, strict=True)],
            "single sample": [each.count(truth) / N for each, truth in zip(read, truths, strict=True)],
            "vote": [float(majority(each).answer == truth) for each, truth in zip(read, truths, strict=True)],
            "any": [float(truth in each) for each, truth in zip(read, truths, strict=True)],
        }


def ask(model: EngineModel, problems: list[Problem]) -> Asked:
    """A greedy answer to each and ten samples."""
    shown, stop = wei_demonstrations(), ("\nQ:", "\n\n")
    prompts = [few_shot_cot(one.question, shown).text for one in problems]
    greedy = [one[0] for one in model.generate(prompts, Sampling(max_tokens=NEW_TOKENS, stop=stop))]
    sampling = Sampling(max_tokens=NEW_TOKENS, temperature=TEMPERATURE, n=N, stop=stop)
    return Asked(problems, greedy, model.generate(prompts, sampling))


def measure(device: torch.device) -> Measurement:
    """Assert that the record can tell something: some samples are right, and some are not."""
    model = EngineModel("smollm2-135m", dtype="float32", device=device.type, max_model_len=1200)
    found = {"one step": ask(model, one_step(SEED)), "generated": ask(model, generated(SEED))}
    right = {name: asked.right() for name, asked in found.items()}
    easy = found["one step"]
    share = sum(right["one step"]["single sample"]) / len(easy.problems)
    assert 0.05 < share < 0.95, f"{share} of the samples are right"
    return Measurement(
        title=f"{N} samples of each of {len(easy.problems)} problems of one step, {model.name}, float32",
        method=f"eight examples, temperature {TEMPERATURE}, at most {NEW_TOKENS} new tokens, no chat template",
        samples={
            f"{name}, {way}": Samples("share right", values)
            for name, ways in right.items()
            for way, values in ways.items()
        },
        facts={
            "seed": SEED,
            "questions": [one.question for one in easy.problems],
            "truths": [str(one.answer) for one in easy.problems],
            "kinds": [one.kind for one in easy.problems],
            "greedy": [kept(*pair) for pair in zip(easy.problems, easy.greedy, strict=True)],
            "sampled": [
                [kept(problem, one) for one in each] for problem, each in zip(easy.problems, easy.sampled, strict=True)
            ],
            "a chain": easy.sampled[0][0].text,
            "kinds of the generated": [one.kind for one in found["generated"].problems],
        },
    )
