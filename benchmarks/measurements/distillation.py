"""A student trained on little text with and without a teacher, at several temperatures, over seeds.

The teacher is a small decoder trained on most of tiny-shakespeare; students see a few kilobytes of it. A student's
seed sets its matrices and its batches, the same at every temperature, so that gains are paired. Unusual: at every
temperature the teacher alone is the goal, no labels, so that T is the only difference between runs.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchmarks.measurement import Measurement, Samples
from kb import datasets, training
from kb.compression import mixed_loss
from kb.lm import AblationConfig, AblationLM

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
LABELS = "text alone"


@dataclass(frozen=True)
class Setting:
    """What all runs share.

    Attributes:
        teacher: Width, blocks and heads of the teacher.
        student: Those of the students.
        teacher_steps: Of its training.
        steps: Of each student's.
        windows: Of 64 bytes that a student sees.
        seeds: Of students, from 0.
        judged: Held-out windows on which a model is judged.
    """

    teacher: tuple[int, int, int] = (96, 3, 4)
    student: tuple[int, int, int] = (48, 1, 4)
    teacher_steps: int = 1000
    steps: int = 200
    windows: int = 96
    seeds: int = 8
    judged: int = 256


def model_of(sizes: tuple[int, int, int], seed: int) -> AblationLM:
    """A fresh decoder over bytes."""
    width, layers, heads = sizes
    model = AblationLM(AblationConfig(vocab_size=256, width=width, layers=layers, heads=heads))
    training.initialize(model, seed=seed)
    return model


def taught_by(setting: Setting, text: Tensor) -> AblationLM:
    """The teacher, trained on the text."""
    teacher = model_of(setting.teacher, seed=0)
    plan = training.TrainConfig(setting.teacher_steps, learning_rate=3e-3, warmup=setting.teacher_steps // 10)
    training.train(teacher, training.random_windows(text, 64, 16, seed=0), training.next_token_loss, plan)
    return teacher


def student_loss(
    setting: Setting, seed: int, few: Tensor, goals: Tensor, held_out: Tensor, temperature: float | None
) -> float:
    """Held-out loss of one student in nats a byte; without a temperature it learns from labels."""
    model = model_of(setting.student, seed)
    order = torch.Generator().manual_seed(seed)
    picks = [torch.randint(len(few), (16,), generator=order) for _ in range(setting.steps)]

    def loss(model: Any, chosen: Tensor) -> Tensor:
        logits = model(few[chosen, :-1])
        soft = 0.0 if temperature is None else 1.0
        return mixed_loss(logits, goals[chosen], few[chosen, 1:], temperature=temperature or 1.0, soft_weight=soft)

    plan = training.TrainConfig(setting.steps, learning_rate=5e-3, warmup=setting.steps // 10)
    training.train(model, picks, loss, plan)
    return training.evaluate(model, held_out.split(64))


def interval(differences: list[float]) -> dict[str, object]:
    """Mean and 95 % interval of paired differences by Student's t."""
    mean, count = float(np.mean(differences)), len(differences)
    half = float(stats.t.ppf(0.975, count - 1) * np.std(differences, ddof=1) / math.sqrt(count))
    return {"mean": round(mean, 4), "95 % interval": [round(mean - half, 4), round(mean + half, 4)]}


def measured(setting: Setting) -> tuple[float, dict[str, list[float]]]:
    """The teacher's held-out loss, and those of all students by what they learnt from."""
    text, held_out = training.hold_out(
        training.encode_bytes(datasets.read("tiny-shakespeare", "input.txt")), 64, windows=8
    )
    held_out = held_out[:: len(held_out) // setting.judged][: setting.judged]
    teacher = taught_by(setting, text)
    few = text[: 64 * setting.windows + 1].unfold(0, 65, 64)
    with torch.no_grad():
        goals = teacher(few[:, :-1])
    losses: dict[str, list[float]] = {}
    for name, temperature in {LABELS: None, **{f"teacher, T {T:g}": T for T in TEMPERATURES}}.items():
        losses[name] = [student_loss(setting, seed, few, goals, held_out, temperature) for seed in range(setting.seeds)]
        print(f"{name}: {np.mean(losses[name]):.3f}", file=sys.stderr, flush=True)
    return training.evaluate(teacher, held_out.split(64)), losses


def measure(device: torch.device, setting: Setting | None = None) -> Measurement:
    """Assert that a student with a teacher at T = 1 has the lower loss, its interval over seeds above 0."""
    setting = setting or Setting()
    teacher, losses = measured(setting)
    gains = {name: interval(np.subtract(losses[LABELS], of).tolist()) for name, of in losses.items() if name != LABELS}
    low = gains["teacher, T 1"]["95 % interval"]
    assert isinstance(low, list)
    assert low[0] > 0, f"the teacher does not help: {gains}"
    return Measurement(
        title=f"Small students on {64 * setting.windows:,} bytes of tiny-shakespeare, with a teacher and without",
        method=f"held-out loss in nats a byte after {setting.steps} steps of 16 windows; {setting.seeds} seeds, "
        "paired by start and batches; the loss is T² KL(teacher, student) alone, or cross-entropy alone",
        samples={name: Samples("nats", [round(value, 4) for value in of]) for name, of in losses.items()},
        facts={"teacher": round(teacher, 4), "seeds": setting.seeds, "gains over labels": gains},
    )
