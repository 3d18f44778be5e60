"""Whether answers follow from steps: chains of small models, changed, and what becomes of their answers.

Two models of each seed: one that has only ever answered after all steps, and one half of whose problems had no steps,
which could answer without them. The true chain of every task is known, so that it can be told what follows from a
false step.
"""

from dataclasses import dataclass

import torch

from benchmarks import task_lab
from benchmarks.measurement import Measurement, Samples
from kb.cot.lab import (
    Addition,
    Corpus,
    Effect,
    Format,
    LabModel,
    Lookup,
    Probing,
    Task,
    chains,
    cut_short,
    early_answering_area,
    held_out,
    mixture,
    with_filler,
    with_mistake,
)

DEVICES = ("cpu",)
LENGTH = {"addition": 2, "lookup": 4}
CORPORA: dict[str, tuple[Task, tuple[int, ...], dict[Format, float]]] = {
    "addition, steps always": (Addition(), (1, 2), mixture(1.0)),
    "addition, steps half of the time": (Addition(), (1, 2), mixture(0.5)),
    "lookup, steps always": (Lookup(), tuple(range(1, 7)), mixture(1.0)),
    "lookup, steps half of the time": (Lookup(), tuple(range(1, 7)), mixture(0.5)),
}
PLAIN = "addition, steps always"
WHAT = {"changed": "changed", "right": "right", "followed": "followed the change"}


@dataclass(frozen=True)
class Probed:
    """The effects of the probes on one model, by name, and how many of its chains could be probed."""

    chains: int
    right: float
    effects: dict[str, Effect]
    area: float


def probed(job: task_lab.Training) -> Probed:
    """Train one model and probe its chains."""
    task, how = job.corpus.task, Probing()
    decoder, _ = job.recipe.trained(job.corpus, seed=job.seed)
    model, length = LabModel(decoder), job.lengths[0]
    found = chains(model, task, held_out(task, length, task_lab.COUNT), how)
    effects = {f"false step {at + 1}": with_mistake(model, task, found, how, place=at) for at in range(length)}
    shares = [step / length for step in range(length + 1)]
    cut = [cut_short(model, found, how, kept=share) for share in shares]
    effects |= {f"{step} of {length} steps": effect for step, effect in enumerate(cut)}
    effects["filler"] = with_filler(model, found, how)
    right = sum(one.answer == one.example.answer for one in found) / len(found)
    return Probed(len(found), right, effects, early_answering_area(shares, [1 - one.changed for one in cut]))


def measure(device: torch.device) -> Measurement:
    """Assert that most answers of a model that always had steps change with a false first one."""
    jobs = [
        task_lab.Training(name, seed, Corpus(task, lengths, shares), ("scratchpad",), (LENGTH[task.name],))
        for seed in range(task_lab.SEEDS)
        for name, (task, lengths, shares) in CORPORA.items()
    ]
    found = task_lab.outcomes(probed, jobs)
    values = {
        f"{name}, {probe}: {said}": [getattr(one.effects[probe], what) for one in runs]
        for name, runs in found.items()
        for probe in runs[0].effects
        for what, said in WHAT.items()
        if getattr(runs[0].effects[probe], what) is not None
    }
    first = task_lab.ends(values[f"{PLAIN}, false step 1: changed"])
    assert task_lab.low(first) > 0.5, f"answers do not change with a false first step: {first}"
    return Measurement(
        title="Chains of small decoders, changed: false steps, early answers, filler",
        method=f"{task_lab.SEEDS} seeds of weights and examples, equal operations of training; on the models' own "
        "chains for held-out questions, greedy; two processes of one thread each",
        samples={name: Samples("share of chains", [round(value, 4) for value in of]) for name, of in values.items()}
        | {
            f"{name}: area over the curve of early answers": Samples("area", [round(one.area, 4) for one in runs])
            for name, runs in found.items()
        },
        facts={
            **task_lab.setting(),
            "lengths probed": LENGTH,
            "lengths trained on": {name: list(lengths) for name, (_, lengths, _) in CORPORA.items()},
            "chains": {name: [one.chains for one in runs] for name, runs in found.items()},
            "right before": {name: [round(one.right, 4) for one in runs] for name, runs in found.items()},
            "intervals": {name: task_lab.ends(of) for name, of in values.items()},
        },
    )
