"""Small decoders with and without experts, trained on Shakespeare's plays as bytes, many runs beside each other.

Unusual: every run has a process to itself and one thread, so that its numbers do not depend on how many run at a time.

Shapes: N rows or bytes of a text, W windows of T + 1 bytes, L layers, E experts, D width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from benchmarks.real_tables import interval
from kb import datasets, training
from kb.lm import DecoderLM, ModelConfig
from kb.moe import ModuleExperts, MoELayer, Router, RouterConfig
from kb.moe import language_model as moe_lm
from kb.nn import SwiGLU

WIDTH, LAYERS, INNER, TOP_K, LENGTH, BATCH = 64, 2, 64, 2, 64, 16
STRETCH, BALANCE, RATE, START = 4096, 0.01, 6e-3, 0.08
BANKS = ("fused", "linear", "mixed")
STEPS = 300
DIFFERENCES = "differences of the held-out loss, bits per byte"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: Of the contender that it is a run of.
        seed: Of weights and windows.
        experts: E; 1 for a dense model.
        inner: Inner width of a dense feed-forward network; that of an expert is this divided by ``TOP_K``.
        bank: What the experts are, one of ``BANKS``.
        steps: Of ``BATCH`` windows of ``LENGTH`` bytes.
        every: Of the stretches of ``STRETCH`` bytes to train on, every how many-th is used.
    """

    name: str
    seed: int
    experts: int = 1
    inner: int = INNER
    bank: str = "fused"
    steps: int = STEPS
    every: int = 1


@dataclass(frozen=True)
class Outcome:
    """What a run came to; losses in bits per byte.

    Attributes:
        train: Loss on the text that was trained on, as much of it as is held out, or all where it is less.
        held_out: Loss on all of the text that was not.
        parameters: How many.
        load: Share of the pairs of each layer's experts on the held-out text, [L][E]; empty for a dense model.
    """

    train: float
    held_out: float
    parameters: int
    load: list[list[float]] = field(default_factory=list)


class ConvolutionOverFeatures(nn.Module):
    """Seven neighbouring features of one token at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(1, 1, 7, padding=3)

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        out: Tensor = self.filter(x_ND[:, None])[:, 0]
        return out


class Nothing(nn.Module):
    """Zeros: the token goes on as it came."""

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        return torch.zeros_like(x_ND)


def mixed_experts() -> list[nn.Module]:
    """Eight experts of five kinds."""
    made: list[nn.Module] = [SwiGLU(WIDTH, INNER // TOP_K) for _ in range(2)]
    made += [nn.Linear(WIDTH, WIDTH) for _ in range(2)]
    return [*made, ConvolutionOverFeatures(), ConvolutionOverFeatures(), nn.Identity(), Nothing()]


def texts(every: int) -> tuple[Tensor, Tensor]:
    """What is trained on, bytes [N], and the windows [W, T + 1] held out."""
    whole_N = training.encode_bytes(datasets.read("tiny-shakespeare", "input.txt"))
    train_N, held_out_WT = training.hold_out(whole_N, LENGTH)
    return torch.cat(train_N.split(STRETCH)[::every]), held_out_WT


def model(run: Run) -> DecoderLM:
    """The model of a run, at its start."""
    config = ModelConfig(256, WIDTH, run.inner, LAYERS, 4, 4, WIDTH // 4, LENGTH, tie_embeddings=True)
    router = RouterConfig(max(run.experts, TOP_K), TOP_K, scale=float(TOP_K), check_logits=False)

    def other_experts(config: ModelConfig, layer: int) -> nn.Module:
        kinds = mixed_experts() if run.bank == "mixed" else [nn.Linear(WIDTH, WIDTH) for _ in range(run.experts)]
        return moe_lm.MoEFeedForward(MoELayer(Router(WIDTH, router), ModuleExperts(kinds)))

    if run.experts == 1:
        made = DecoderLM(config)
    elif run.bank == "fused":
        made = moe_lm.moe_language_model(config, router)
    else:
        made = DecoderLM(config, other_experts)
    training.initialize(made, seed=run.seed, std=START)
    return made


def train(run: Run) -> Outcome:
    """Train and judge one model."""
    train_N, held_out_WT = texts(run.every)
    made = model(run)
    config = training.TrainConfig(run.steps, learning_rate=RATE, warmup=run.steps // 10)
    windows = training.random_windows(train_N, LENGTH, BATCH, seed=run.seed)
    if run.experts == 1:
        training.train(made, windows, training.next_token_loss, config)
    else:
        moe_lm.train_moe(made, windows, moe_lm.Balancing(switch=BALANCE), config)
    seen_WT = torch.cat(list(training.all_windows(train_N, LENGTH, 128)))[: len(held_out_WT)]
    on_seen, on_held_out = (training.evaluate(made, of_WT.split(128)) / math.log(2) for of_WT in (seen_WT, held_out_WT))
    load: list[list[float]] = []
    if run.experts > 1:
        load_LE = moe_lm.load_over(made, held_out_WT.split(128)).sum(0)
        load = [[round(float(share), 4) for share in row] for row in load_LE / load_LE.sum(-1, keepdim=True)]
    return Outcome(on_seen, on_held_out, sum(parameter.numel() for parameter in made.parameters()), load)


def outcomes(runs: Sequence[Run]) -> dict[str, list[Outcome]]:
    """Train all, two at a time, each on one thread; outcomes by contender, in the order of the runs."""
    found = one_thread.each(train, runs)
    by_name: dict[str, list[Outcome]] = {}
    for run, outcome in zip(runs, found, strict=True):
        by_name.setdefault(run.name, []).append(outcome)
    return by_name


def measurement(
    title: str, found: Mapping[str, Sequence[Outcome]], pairs: Sequence[tuple[str, str]], facts: Mapping[str, object]
) -> Measurement:
    """The record of runs: losses of all, and the interval of paired differences of the held-out loss.

    Args:
        title: What was measured.
        found: Outcomes by contender, each in the order of the seeds.
        pairs: Contenders to compare, first minus second.
        facts: What else to keep.
    """
    differences = {}
    for first, second in pairs:
        lies = interval([a.held_out - b.held_out for a, b in zip(found[first], found[second], strict=True)])
        differences[f"{first} - {second}"] = {"mean": lies.mean, "95 % interval": [lies.low, lies.high]}
    seeds = len(next(iter(found.values())))
    return Measurement(
        title=title,
        method=f"{seeds} seeds of weights and windows, the same for all; two processes of one thread each",
        samples={
            f"{name}, {what}": Samples("bits per byte", [getattr(one, key) for one in of])
            for name, of in found.items()
            for what, key in (("training text", "train"), ("held out", "held_out"))
        },
        facts={
            DIFFERENCES: differences,
            "parameters": {name: of[0].parameters for name, of in found.items()},
            "width": WIDTH,
            "layers": LAYERS,
            "bytes of a step": LENGTH * BATCH,
            "bytes to train on": len(texts(1)[0]),
            "bytes held out": len(texts(1)[1]) * LENGTH,
            **facts,
        },
    )
