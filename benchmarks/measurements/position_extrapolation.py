"""Decoders that differ in nothing but their positions, trained on short windows and asked for their loss on long ones.

One small LLaMA-like decoder, five ways to know a position (none at all among them), the plays of Shakespeare as bytes.
The trained rotary models are then asked again with other angles, with a window of attention as long as those of
training, and after some steps of training on long windows; a model that was trained on these alone says what the
length could be worth. Unusual: the loss is kept by position, and windows do not overlap, so that position 0 has no
context in any contender; what is compared is the same bytes at the same place of the window.

Source: Press, Smith and Lewis 2022, Train Short, Test Long, sections 2 and 4.
Shapes: W windows of T bytes and the one after, S seeds.
"""

import copy
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import interval
from kb import datasets, training
from kb.lm import (
    AblationConfig,
    AblationLM,
    DecoderLM,
    ModelConfig,
    loss_by_position,
    with_positions,
)
from kb.nn import RopeParameters

DEVICES = ("cuda",)
SHORT, LONG, SCALE = 256, 2048, 8
POSITIONS = ("sinusoidal", "learned", "rope", "alibi", "none")
RANGES = ((0, 256), (256, 512), (512, 1024), (1024, 2048))
BIN = 64  # positions that one point of a curve averages
SCALED = {
    "linear": RopeParameters(type="linear", factor=SCALE),
    "NTK": RopeParameters(
        type="dynamic", max_positions=SHORT
    ),  # at length s times the trained one: base times s^(d/(d-2))
    "YaRN": RopeParameters(type="yarn", factor=SCALE, max_positions=SHORT),
}
BITS = "bits per byte"


@dataclass(frozen=True)
class Sizes:
    """Of models and trainings; ``batch`` is in windows of ``SHORT`` bytes, or as many bytes in long ones."""

    width: int = 256
    layers: int = 4
    heads: int = 8
    batch: int = 32
    steps: int = 300
    tuning: int = 100
    seeds: int = 3
    rate: float = 2e-3
    tuning_rate: float = 5e-4


def decoder(position: str, sizes: Sizes, seed: int) -> nn.Module:
    """A model at its start; of one seed all have the same numbers where they have the same tensors."""
    inner = AblationConfig(256, sizes.width, sizes.layers, sizes.heads).ffn_width
    model: nn.Module
    if position in ("rope", "none"):
        head, rotates = sizes.width // sizes.heads, (position == "rope",) * sizes.layers
        heads = (sizes.heads, sizes.heads, head, SHORT)
        model = DecoderLM(ModelConfig(256, sizes.width, inner, sizes.layers, *heads, uses_rope=rotates))
    else:
        config = AblationConfig(256, sizes.width, sizes.layers, sizes.heads, max_positions=SHORT, position=position)
        # As in 2017: beside an embedding as small as it starts here, the sines would be all that the model sees.
        model = AblationLM(replace(config, scale_embeddings=position == "sinusoidal"))
    training.initialize(model, seed=seed)
    return model


class Lab:
    """The text on a device, and what is done with it.

    Attributes:
        values: Bits per byte by contender, range of positions and seed.
        curves: Of the mean over windows, by contender and seed, one number for each ``BIN`` positions.
    """

    def __init__(self, device: torch.device, sizes: Sizes) -> None:
        text = training.encode_bytes(datasets.read("tiny-shakespeare", "input.txt"))
        train_N, held_WT = training.hold_out(text, LONG, windows=1)
        self.device, self.sizes = device, sizes
        self.train_N, self.held_WT = train_N.to(device), held_WT.to(device)
        self.values: dict[str, dict[str, list[float]]] = {}
        self.curves: dict[str, list[list[float]]] = {}

    def fit(self, model: nn.Module, length: int, steps: int, rate: float, seed: int) -> nn.Module:
        """Train in place on windows of a length, equally many bytes a step whatever the length."""
        batch = max(1, self.sizes.batch * SHORT // length)
        batches: Iterator[Tensor] = training.random_windows(self.train_N, length, batch, seed=seed)
        config = training.TrainConfig(steps, learning_rate=rate, warmup=max(1, steps // 10))
        training.train(model, batches, training.next_token_loss, config)
        return model

    def ask(self, name: str, model: nn.Module, *, longest: int = LONG) -> None:
        """Keep the losses of a contender on the held-out windows, up to a length."""
        bits_T = loss_by_position(model, self.held_WT[:, : longest + 1], batch=16) / math.log(2)
        ranges = {f"{a} to {b - 1}": float(bits_T[a:b].mean()) for a, b in RANGES if b <= longest}
        for told, value in ranges.items():
            self.values.setdefault(name, {}).setdefault(told, []).append(round(value, 4))
        self.curves.setdefault(name, []).append([round(float(v), 4) for v in bits_T.view(-1, BIN).mean(1)])
        print(name, ranges, file=sys.stderr, flush=True)

    def run(self, seed: int) -> None:
        """All contenders of one seed."""
        sizes = self.sizes
        fitted: dict[str, Any] = {}
        for position in POSITIONS:
            model = decoder(position, sizes, seed).to(self.device)
            fitted[position] = self.fit(model, SHORT, sizes.steps, sizes.rate, seed)
            self.ask(position, model, longest=SHORT if position == "learned" else LONG)
        rope = fitted["rope"]
        self.ask(f"rope, window of {SHORT}", with_positions(rope, window=SHORT))
        for name, scaled in SCALED.items():
            self.ask(f"rope, {name}", with_positions(rope, rope=scaled))
        for name in ("as it is", *SCALED):
            other = with_positions(copy.deepcopy(rope), rope=SCALED.get(name))
            self.fit(other, LONG, sizes.tuning, sizes.tuning_rate, 1000 + seed)
            self.ask(f"rope, {name}, tuned", other)
        long = decoder("rope", sizes, seed).to(self.device)
        self.ask(f"rope, trained at {LONG}", self.fit(long, LONG, sizes.steps, sizes.rate, seed))


def differences(values: dict[str, dict[str, list[float]]], other: str) -> dict[str, dict[str, object]]:
    """Mean and 95 % t-interval over seeds of each contender minus another, by range of positions."""
    found: dict[str, dict[str, object]] = {}
    for name, by_range in values.items():
        for told, own in by_range.items():
            if name != other:
                lies = interval([a - b for a, b in zip(own, values[other][told], strict=True)])
                ends = [round(lies.low, 4), round(lies.high, 4)]
                found.setdefault(name, {})[told] = {"mean": round(lies.mean, 4), "95 % interval": ends}
    return found


def parameters(position: str, sizes: Sizes) -> int:
    """How many numbers a contender has learned."""
    return sum(parameter.numel() for parameter in decoder(position, sizes, 0).parameters())


def measure(device: torch.device, sizes: Sizes | None = None) -> Measurement:
    """Assert that far positions cost a plain rotary model, and that the window, whose distances it knows, saves it."""
    sizes = sizes or Sizes()
    lab = Lab(device, sizes)
    for seed in range(sizes.seeds):
        lab.run(seed)
    first, last = (f"{a} to {b - 1}" for a, b in (RANGES[0], RANGES[-1]))
    rope, windowed = lab.values["rope"], lab.values[f"rope, window of {SHORT}"]
    far, near, view = (sum(one) / len(one) for one in (rope[last], rope[first], windowed[last]))
    assert far > near, f"a rotary model is no worse far beyond its training: {far} against {near}"
    assert view < far, f"a window does not help it: {view} against {far}"
    means = {name: torch.tensor(curves).mean(0).tolist() for name, curves in lab.curves.items()}
    return Measurement(
        title=f"Loss by position up to {LONG} of decoders trained at {SHORT} bytes, by kind of position",
        method=f"{sizes.seeds} seeds of weights and windows; float32; tiny-shakespeare as bytes, one block of {LONG} "
        f"in ten held out; {sizes.steps} steps of {sizes.batch * SHORT} bytes, tuning {sizes.tuning} more at {LONG}",
        samples={
            f"{name}, {told}": Samples(BITS, values)
            for name, by_range in lab.values.items()
            for told, values in by_range.items()
        },
        facts={
            "sizes": dict(sizes.__dict__),
            "lengths": [SHORT, LONG],
            "ranges": [list(one) for one in RANGES],
            "windows held out": len(lab.held_WT),
            "parameters": {name: parameters(name, sizes) for name in POSITIONS},
            "positions in a bin": BIN,
            "curves, mean over seeds": {name: [round(v, 4) for v in curve] for name, curve in means.items()},
            "minus the rotary model as it is": differences(lab.values, "rope"),
            f"minus the rotary model with a window of {SHORT}": differences(lab.values, f"rope, window of {SHORT}"),
        },
    )
