"""What to train on: which tokens the loss counts, how many problems come with steps, and steps that a model made.

Three questions of one size of model and one budget. Which tokens: all, those that the model writes, the answer alone;
and steps after the answer. How many: a share of the batches with steps, asked with and without. Made by a model: one
that has seen few rationales learns from answers alone, through filters, beside a control that is trained for as long on
its few rationales.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks import task_lab
from benchmarks.measurement import Measurement, Samples
from kb.cot.lab import (
    Addition,
    Corpus,
    Counted,
    Format,
    Keep,
    Lookup,
    Recipe,
    Round,
    Run,
    StarConfig,
    Task,
    WordProblems,
    mixture,
    star,
    stream,
)
from kb.cot.lab.star import SHARES as STAR_SHARES
from kb.cot.lab.star import with_replacement
from kb.cot.lab.training import batches

DEVICES = ("cpu",)
TASK, LENGTHS, ASKED = Addition(), (1, 2), 2  # shorter than elsewhere: of a mixture, each format gets a part
COUNTED: dict[str, tuple[Format, Counted]] = {
    "steps, loss on all tokens": ("scratchpad", "all"),
    "steps, loss on steps and answer": ("scratchpad", "completion"),
    "steps, loss on the answer": ("scratchpad", "answer"),
    "steps after the answer, loss on both": ("post-hoc", "completion"),
}
BOTH: tuple[Format, ...] = ("direct", "scratchpad")
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
RECIPE = Recipe(1.5e11)
KNOWN = {"lookup": 100, "word problems": 200}
# Five answers, where a wrong chain often ends in the right one, and many, where it hardly ever does.
STAR_TASKS: tuple[tuple[Task, tuple[int, ...]], ...] = ((Lookup(), (3, 4, 5)), (WordProblems(), (1, 2)))
FILTERS: dict[str, tuple[Keep, bool]] = {
    "right answer": ("right answer", False),
    "right answer, hints": ("right answer", True),
    "true steps": ("true steps", False),
    "everything": ("everything", False),
    "nothing": ("nothing", False),
}
STAR_RECIPE, ROUNDS, QUESTIONS = Recipe(8e10), 2, 800


@dataclass(frozen=True)
class Loop(task_lab.Named):
    """One base model, and a loop from it for each filter."""

    task: Task
    lengths: tuple[int, ...]


def looped(job: Loop) -> dict[str, list[Round]]:
    """Train a base model on few rationales, and go on from it through every filter."""
    # Another seed than the loop's questions have.
    known = list(itertools.islice(stream(job.task, job.lengths, 10_000 + job.seed), KNOWN[job.task.name]))
    base, source = STAR_RECIPE.model(job.seed), with_replacement(known, job.seed)
    few = batches(source, STAR_SHARES, "completion", STAR_RECIPE.batch, job.seed)
    STAR_RECIPE.train(base, STAR_RECIPE.affordable(few))
    rounds = {}
    for name, (keep, hints) in FILTERS.items():
        config = StarConfig(ROUNDS, QUESTIONS, keep=keep, rationalise=hints, seed=job.seed)
        rounds[name] = star(base, job.task, job.lengths, known, STAR_RECIPE, config)[1]
    return rounds


def measure(device: torch.device) -> Measurement:
    """Assert that counting the answer alone teaches no steps."""
    jobs = [
        task_lab.Training(name, seed, Corpus(TASK, LENGTHS, how, counted), (how,), LENGTHS, RECIPE)
        for seed in range(task_lab.SEEDS)
        for name, (how, counted) in COUNTED.items()
    ]
    jobs += [
        task_lab.Training(mixed(share), seed, Corpus(TASK, LENGTHS, mixture(share)), BOTH, LENGTHS, RECIPE)
        for seed in range(task_lab.SEEDS)
        for share in SHARES
    ]
    runs = task_lab.outcomes(task_lab.trained, jobs)
    loops = task_lab.outcomes(
        looped,
        [Loop(task.name, seed, task, lengths) for seed in range(task_lab.SEEDS) for task, lengths in STAR_TASKS],
    )
    values = right(runs)
    by_round = star_values(loops)
    answer_alone = task_lab.between(
        values[f"steps, loss on steps and answer, length {ASKED}"], values[f"steps, loss on the answer, length {ASKED}"]
    )
    assert task_lab.low(answer_alone) > 0.5, f"the loss on the answer alone teaches steps: {answer_alone}"
    # Against the control, not against the base: a base that is trained for longer gets better without any loop.
    gains = {
        f"{task.name}, {name} - nothing": task_lab.between(
            by_round[loop(task.name, name, ROUNDS)], by_round[loop(task.name, "nothing", ROUNDS)]
        )
        for task, _ in STAR_TASKS
        for name in FILTERS
        if name != "nothing"
    }
    return Measurement(
        title="What small decoders learn of steps: which tokens the loss counts, how many problems have steps, STaR",
        method=f"{task_lab.SEEDS} seeds of weights and examples, equal operations of training within each question; "
        "exact match on held-out questions, greedy; two processes of one thread each",
        samples=task_lab.shares([*values.items(), *by_round.items()]) | filtered(loops),
        facts={
            **task_lab.setting(RECIPE),
            "task": TASK.name,
            "lengths": list(LENGTHS),
            "shares": list(SHARES),
            "STaR": {"flops of a round": STAR_RECIPE.flops, "rounds": ROUNDS, "questions": QUESTIONS, "known": KNOWN},
            "STaR, lengths": {task.name: list(lengths) for task, lengths in STAR_TASKS},
            "intervals": {name: task_lab.ends(of) for name, of in (values | by_round).items()},
            "gains of the loop, last round": gains,
            "steps and answer - answer alone": answer_alone,
        },
    )


def right(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[float]]:
    """Shares of right answers by contender, the format it was asked in where there are two, and length."""
    values = {}
    for name, of in runs.items():
        asked = list(of[0].scores)
        for how, length in itertools.product(asked, LENGTHS):
            said = f", asked {how}" if len(asked) > 1 else ""
            values[f"{name}{said}, length {length}"] = task_lab.right(of, how, length)
    return values


def star_values(loops: Mapping[str, Sequence[Mapping[str, Sequence[Round]]]]) -> dict[str, list[float]]:
    """Shares of right answers after each round of each filter; round 0 is the base, the same for all."""
    values = {}
    for task, of in loops.items():
        values[loop(task, "", 0)] = [next(iter(one.values()))[0].right for one in of]
        for name, number in itertools.product(FILTERS, range(1, ROUNDS + 1)):
            values[loop(task, name, number)] = [one[name][number].right for one in of]
    return values


def filtered(loops: Mapping[str, Sequence[Mapping[str, Sequence[Round]]]]) -> dict[str, Samples]:
    """What the filters kept of each round, and how much of that has wrong steps."""
    named = {
        "kept": "kept",
        "kept_wrong": "wrong steps among the kept",
        "hinted": "kept of hinted",
        "hinted_wrong": "wrong steps among the hinted",
    }
    return {
        f"{loop(task, name, at)}: {said}": Samples("share", [round(getattr(one[name][at], key), 4) for one in of])
        for task, of in loops.items()
        for name, at in itertools.product(FILTERS, range(1, ROUNDS + 1))
        for key, said in named.items()
        if FILTERS[name][1] or not key.startswith("hinted")
    }


def mixed(share: float) -> str:
    """Of a contender."""
    return f"{share:.0%} with steps"


def loop(task: str, name: str, number: int) -> str:
    """Of the model after a round."""
    return f"STaR, {task}, {name}, round {number}" if number else f"STaR, {task}, base"
