"""A vision transformer and a convolutional network of equal size on few and on many handwritten digits, over seeds.

Source: Dosovitskiy et al. 2021, section 4.3; the networks and the data are those of ``kb.vision.digit_lab``.
"""

import sys
from dataclasses import dataclass
from itertools import product

import torch

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb.vision import digit_lab

DEVICES = ("cpu",)


@dataclass(frozen=True)
class Setting:
    """What all runs share.

    Attributes:
        sizes: Examples of training.
        steps: Of each training, 32 examples each.
        seeds: Of weights, examples and batches, from 0.
    """

    sizes: tuple[int, ...] = (50, 200, 1397)
    steps: int = 600
    seeds: int = 4


def outcome(job: tuple[str, int, int, int]) -> tuple[float, float]:
    """Accuracy on what was trained on, and on what was not."""
    found = digit_lab.train_and_test(*job)
    print(*job, found, file=sys.stderr, flush=True)
    return found


def measure(device: torch.device, setting: Setting | None = None) -> Measurement:
    """Train all, two at a time; the bound is that all beat chance."""
    setting = setting or Setting()
    jobs = list(product(digit_lab.KINDS, setting.sizes, range(setting.seeds), [setting.steps]))
    found = dict(zip(jobs, one_thread.each(outcome, jobs), strict=True))
    assert all(tested > 0.1 for _, tested in found.values()), found
    samples = {}
    for kind, size in product(digit_lab.KINDS, setting.sizes):
        for place, where in enumerate(("trained on", "held out")):
            values = [round(found[kind, size, seed, setting.steps][place], 4) for seed in range(setting.seeds)]
            samples[f"{kind}, {size} examples: {where}"] = Samples("share", values)
    return Measurement(
        title="A ViT and a CNN of below 20,000 parameters on handwritten digits of 8 x 8",
        method=f"{setting.seeds} seeds of weights, examples and batches; {setting.steps} steps of 32, AdamW, warm-up, "
        f"cosine, rate {digit_lab.RATE}; no augmentation; accuracy on the examples and on 400 others",
        samples=samples,
        facts={
            "parameters": {
                kind: sum(p.numel() for p in digit_lab.classifier(kind, 0).parameters()) for kind in digit_lab.KINDS
            },
            "steps": setting.steps,
        },
    )
