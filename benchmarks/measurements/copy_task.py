"""How far back three small models remember: the copying task at several delays, with equal parameters, steps and data.

A causal attention layer, a GRU and a stack of dilated convolutions that sees the first symbol, and one that is a layer
too short for it. Everyone gets about as many parameters and the same batches; the learning rate is the best of a few
that were tried with one seed on a CPU, the same for all delays. Then the trained models are asked at another delay.

Unusual: the runs are small and wait for launches, so several processes share the GPU.
"""

import itertools
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb.lm import (
    AttentionModel,
    ConvolutionModel,
    CopyBatch,
    CopyTask,
    RecurrentModel,
    copy_loss,
    exponential_dilations,
    nearest_width,
)
from kb.training import TrainConfig, train

DEVICES = ("cuda",)
DELAYS, SYMBOLS, ALPHABET = (5, 20, 80), 4, 8
PARAMETERS, WIDTHS = 15_000, range(16, 97, 2)
STEPS, BATCH, WARMUP, SEEDS, WORKERS = 1000, 32, 50, 5, 6
RATES = {"attention": 5e-3, "GRU": 1e-2, "convolutions": 5e-3, "convolutions, too short": 5e-3}
ASKED, SHORTER = 1024, 3  # sequences asked for the accuracy; how much shorter the other delay is


@dataclass(frozen=True)
class Job:
    """One training."""

    kind: str
    delay: int
    seed: int
    steps: int
    device: str


@dataclass(frozen=True)
class Outcome:
    """Share of right symbols after training, at its delay and at another; and the steps until nearly all were right."""

    accuracy: float
    elsewhere: float
    solved: int | None
    parameters: int
    width: int


def maker(kind: str, task: CopyTask, seed: int = 0) -> Callable[[int], nn.Module]:
    """A model of a width."""
    vocab, reach = task.vocab_size, task.symbols + task.delay + 1
    dilations = exponential_dilations(reach, 2)
    if kind == "attention":
        most = task.length
        return lambda width: AttentionModel(vocab, width, layers=1, heads=2, max_length=most, seed=seed)
    if kind == "GRU":
        return lambda width: RecurrentModel(vocab, width, fused=True, seed=seed)
    seen = dilations if kind == "convolutions" else dilations[:-1]
    return partial(_convolutions, vocab, seen, seed)


def _convolutions(vocab: int, dilations: tuple[int, ...], seed: int, width: int) -> nn.Module:
    return ConvolutionModel(vocab, width, kernel=2, dilations=dilations, seed=seed)


def outcome(job: Job) -> Outcome:
    """Train one model and ask it."""
    task, device = CopyTask(job.delay, SYMBOLS, ALPHABET), torch.device(job.device)
    make = maker(job.kind, task, job.seed)
    width = nearest_width(maker(job.kind, task), PARAMETERS, WIDTHS)
    model = make(width).to(device)
    batches = (on(batch, device) for batch in task.batches(BATCH, seed=job.seed))
    config = TrainConfig(job.steps, learning_rate=RATES[job.kind], warmup=min(WARMUP, job.steps - 1), weight_decay=0.0)
    steps = train(model, batches, copy_loss, config)
    right = [float(step.metrics["accuracy"]) for step in steps]
    solved = next((n for n in range(9, len(right)) if min(right[n - 9 : n + 1]) > 0.99), None)
    print(f"{job.kind}, delay {job.delay}, seed {job.seed}: {right[-1]:.2f}", file=sys.stderr, flush=True)
    return Outcome(
        asked(model, task, job.seed, device),
        asked(model, CopyTask(job.delay - SHORTER, SYMBOLS, ALPHABET), job.seed, device),
        solved,
        sum(one.numel() for one in model.parameters()),
        width,
    )


@torch.no_grad()
def asked(model: nn.Module, task: CopyTask, seed: int, device: torch.device) -> float:
    """Share of right symbols on sequences that no training drew."""
    batch = task.batch(ASKED, torch.Generator().manual_seed(1_000_000 + seed))
    return float(copy_loss(model, on(batch, device))[1]["accuracy"])


def on(batch: CopyBatch, device: torch.device) -> CopyBatch:
    """The same batch on a device."""
    return CopyBatch(batch.tokens.to(device), batch.targets.to(device))


def measure(device: torch.device, *, steps: int = STEPS, delays: tuple[int, ...] = DELAYS) -> Measurement:
    """Assert that a stack which sees the first symbol copies, and that a stack too short for it guesses."""
    jobs = [
        Job(kind, delay, seed, steps, str(device))
        for delay, kind, seed in itertools.product(sorted(delays, reverse=True), RATES, range(SEEDS))
    ]
    found: dict[str, list[Outcome]] = {}
    for job, made in zip(jobs, one_thread.each(outcome, jobs, WORKERS), strict=True):
        found.setdefault(f"{job.kind}, delay {job.delay}", []).append(made)
    for name, runs in found.items() if steps == STEPS else ():
        middle = statistics.median(run.accuracy for run in runs)
        if name.startswith("convolutions, delay"):
            assert middle > 0.99, f"{name}: {middle:.3f} right, wanted 0.99"
        if name.startswith("convolutions, too short"):
            assert middle < 0.25, f"{name}: {middle:.3f} right, wanted about {1 / ALPHABET:.3f}"
    return Measurement(
        title=f"Copying {SYMBOLS} of {ALPHABET} symbols after a delay: three kinds of model with equal parameters",
        method=f"{SEEDS} seeds of weights and data, {steps} steps of {BATCH} sequences, AdamW; share of right symbols "
        f"on {ASKED} other sequences; {WORKERS} processes on one device",
        samples={name: Samples("share", [round(run.accuracy, 4) for run in runs]) for name, runs in found.items()}
        | {
            f"{name}, asked {SHORTER} earlier": Samples("share", [round(run.elsewhere, 4) for run in runs])
            for name, runs in found.items()
        },
        facts={
            "delays": list(delays),
            "symbols": SYMBOLS,
            "alphabet": ALPHABET,
            "steps": steps,
            "batch": BATCH,
            "learning rates": RATES,
            "parameters": {name: runs[0].parameters for name, runs in found.items()},
            "widths": {name: runs[0].width for name, runs in found.items()},
            "steps until solved": {name: [run.solved for run in runs] for name, runs in found.items()},
        },
    )
