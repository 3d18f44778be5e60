"""With and without a scratchpad, at equal arithmetic: right answers by task, format and length of the problem.

A sequence with steps is longer, so that a model that learns from them sees fewer problems for the same budget; filler
makes sequences as long and tells nothing. Some lengths are longer than any that was trained on.
"""

import torch

from benchmarks import task_lab
from benchmarks.measurement import Measurement
from kb.cot.lab import Addition, Corpus, Format, Lookup, Parity, Task, WordProblems

DEVICES = ("cpu",)
FORMATS: tuple[Format, ...] = ("direct", "scratchpad", "filler")
# Of each task: lengths to train on, and longer ones to be asked as well.
TASKS: dict[Task, tuple[tuple[int, ...], tuple[int, ...]]] = {
    Addition(): ((1, 2, 3), (4, 5)),
    Parity(): (tuple(range(2, 9)), (10, 12)),
    Lookup(): (tuple(range(1, 7)), (8, 10)),
    WordProblems(): ((1, 2, 3), (4, 5)),
}
CLEAR = ("addition", 3)  # where the effect is asserted


def measure(device: torch.device) -> Measurement:
    """Assert that on additions of three digits a scratchpad beats both others, at equal arithmetic."""
    jobs = [
        task_lab.Training(named(task, how), seed, Corpus(task, short, how), (how,), short + longer)
        for seed in range(task_lab.SEEDS)
        for task, (short, longer) in TASKS.items()
        for how in FORMATS
    ]
    found = task_lab.outcomes(task_lab.trained, jobs)
    values = {
        f"{named(task, how)}, length {length}": task_lab.right(found[named(task, how)], how, length)
        for task, (short, longer) in TASKS.items()
        for how in FORMATS
        for length in short + longer
    }
    differences = {
        f"{task.name}, scratchpad - {other}, length {length}": task_lab.between(
            values[f"{named(task, 'scratchpad')}, length {length}"], values[f"{named(task, other)}, length {length}"]
        )
        for task, (short, longer) in TASKS.items()
        for other in ("direct", "filler")
        for length in short + longer
    }
    for other in ("direct", "filler"):
        told = differences[f"{CLEAR[0]}, scratchpad - {other}, length {CLEAR[1]}"]
        assert task_lab.low(told) > 0.5, f"a scratchpad is not far ahead of {other} on {CLEAR}: {told}"
    return Measurement(
        title="Small decoders on four tasks: right answers with and without a scratchpad, at equal arithmetic",
        method=f"{task_lab.SEEDS} seeds of weights and examples; equal operations of training, padding and scratchpad "
        "counted; exact match on held-out questions, greedy; two processes of one thread each",
        samples=task_lab.shares(values.items()),
        facts={
            **task_lab.setting(),
            "lengths trained on": {task.name: list(short) for task, (short, _) in TASKS.items()},
            "lengths beyond": {task.name: list(longer) for task, (_, longer) in TASKS.items()},
            "chance": {task.name: round(task.chance, 4) for task in TASKS},
            "examples seen": {name: runs[0].examples for name, runs in found.items()},
            "tokens of an answer": {
                named(task, how): {str(n): found[named(task, how)][0].scores[how][n].tokens for n in short}
                for task, (short, _) in TASKS.items()
                for how in FORMATS
            },
            "intervals": {name: task_lab.ends(of) for name, of in values.items()},
            "differences": differences,
        },
    )


def named(task: Task, how: Format) -> str:
    """Of a contender."""
    return f"{task.name}, {how}"
