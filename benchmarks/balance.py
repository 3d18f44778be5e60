"""Runs of a small language model with experts, told apart only by what balances it.

Unusual: an arm's runs share their starts and their batches with every other arm's runs of the same seeds, so that
losses can be compared in pairs; and every run has one thread, so that it gives the same numbers beside other runs.

Sources: Wang et al. 2024, arXiv 2408.15664 (global and batch MaxVio, on text that was not trained on).
Shapes: N batches, L layers, E experts, T tokens of a window, B windows, W windows held out.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks import one_thread
from kb import datasets
from kb.lm import DecoderLM, ModelConfig
from kb.moe import RouterConfig, max_violation
from kb.moe.language_model import Balancing, load_over, moe_language_model, recorded, train_moe
from kb.training import TrainConfig, encode_bytes, evaluate, hold_out, initialize, linear, random_windows


@dataclass(frozen=True)
class Setting:
    """What all arms have in common.

    Attributes:
        width: D of the model.
        layers: L, each with experts.
        inner: F of an expert.
        experts: E.
        top_k: Experts of a token.
        window: T.
        batch: B, in training and when loads are counted.
        steps: Of training.
        learning_rate: The highest; from there it falls along a line to 0, as no bias balances a router whose weights
            still jump from step to step.
        last: Steps at the end of training whose loads are summed up for its own MaxVio.
    """

    width: int = 64
    layers: int = 2
    inner: int = 64
    experts: int = 8
    top_k: int = 2
    window: int = 64
    batch: int = 64
    steps: int = 2000
    learning_rate: float = 3e-3
    last: int = 50


@dataclass(frozen=True)
class Arm:
    """One way to balance.

    Attributes:
        balancing: Losses and the bias's step.
        router: What the router has beside the setting's experts and sigmoid scores.
        shared_inner: F of a shared network; None for none.
        seeds: How many runs.
    """

    balancing: Balancing = field(default_factory=Balancing)
    router: Mapping[str, Any] = field(default_factory=dict)
    shared_inner: int | None = None
    seeds: int = 1


@dataclass(frozen=True)
class Result:
    """What a run of an arm came to.

    Attributes:
        loss: In nats a byte, on the windows held out.
        train_loss: Of the last steps' batches, without what balances.
        global_L: MaxVio of all held-out loads together, a layer.
        batch_L: Mean MaxVio of a held-out batch, a layer.
        last_L: MaxVio of the last steps' loads together, a layer.
        idle_L: Experts of a layer with under a tenth of their even share.
        dropped: Share of the held-out pairs for which there was no room; where experts choose, of all pairs that could
            be.
        alone: Share of held-out tokens, in a layer, that no expert served.
    """

    loss: float
    train_loss: float
    global_L: list[float]
    batch_L: list[float]
    last_L: list[float]
    idle_L: list[int]
    dropped: float
    alone: float


def texts(setting: Setting) -> tuple[Tensor, Tensor]:
    """Bytes of tiny-shakespeare to train with, and windows [W, T + 1] that are held out, from all over the text."""
    return hold_out(encode_bytes(datasets.read("tiny-shakespeare", "input.txt")), setting.window)


def model(setting: Setting, arm: Arm, seed: int) -> DecoderLM:
    """The model of an arm at its start."""
    inner = setting.inner * setting.top_k
    shape = ModelConfig(
        256, setting.width, inner, setting.layers, 4, 4, setting.width // 4, setting.window, tie_embeddings=False
    )
    options: dict[str, Any] = {"scoring": "sigmoid", "check_logits": False} | dict(arm.router)
    router = RouterConfig(setting.experts, setting.top_k, **options)
    made = moe_language_model(shape, router, shared_inner=arm.shared_inner)
    initialize(made, seed=seed)
    return made


def run(setting: Setting, arm: Arm, seed: int) -> Result:
    """Train a model and judge it on what was held out."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)  # of the noise on logits, which is drawn from torch's own generator
    train_M, held_WT = texts(setting)
    made = model(setting, arm, seed)
    config = TrainConfig(setting.steps, setting.learning_rate, warmup=setting.steps // 10, schedule=linear)
    steps = train_moe(made, random_windows(train_M, setting.window, setting.batch, seed=seed), arm.balancing, config)
    ended = steps[-setting.last :]
    load_NLE = load_over(made, held_WT.split(setting.batch))
    load_LE = load_NLE.sum(0)
    dropped, alone = _unserved(made, held_WT, setting.batch)
    return Result(
        loss=evaluate(made, held_WT.split(setting.batch)),
        train_loss=float(torch.stack([step.metrics["next_token"] for step in ended]).mean()),
        global_L=_rounded(max_violation(load_LE)),
        batch_L=_rounded(max_violation(load_NLE).mean(0)),
        last_L=_rounded(max_violation(torch.stack([step.metrics["load_LE"] for step in ended]).sum(0))),
        idle_L=(load_LE < 0.1 * load_LE.mean(-1, keepdim=True)).sum(-1).tolist(),
        dropped=dropped,
        alone=alone,
    )


@torch.no_grad()
def _unserved(made: DecoderLM, held_WT: Tensor, batch: int) -> tuple[float, float]:
    """Shares, over all layers, of pairs that found no room and of tokens that no expert served."""
    made.eval()
    pairs = dropped = tokens = alone = 0
    for tokens_BT in held_WT.split(batch):
        with recorded(made) as routings:
            made(tokens_BT[:, :-1])
        for routing in routings:
            served_TK = routing.kept_TK
            if served_TK is None:
                served_TK = torch.ones_like(routing.experts_TK, dtype=torch.bool)
            pairs += served_TK.numel()
            dropped += int((~served_TK).sum())
            tokens += len(served_TK)
            alone += int((~served_TK.any(-1)).sum())
    return dropped / pairs, alone / tokens


def run_all(setting: Setting, arms: Mapping[str, Arm], workers: int) -> dict[str, list[Result]]:
    """Every arm with every seed of it, so many at a time, each in a process with one thread."""
    wanted = [(name, seed) for name, arm in arms.items() for seed in range(arm.seeds)]
    results = one_thread.each(_run, [(setting, arms[name], seed) for name, seed in wanted], workers)
    found: dict[str, list[Result]] = {name: [] for name in arms}
    for (name, _), result in zip(wanted, results, strict=True):
        found[name].append(result)
    return found


def _run(job: tuple[Setting, Arm, int]) -> Result:
    return run(*job)


def facts(result: Result) -> dict[str, Any]:
    """A result in values that JSON has."""
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(result).items()}


def _rounded(values_L: Tensor) -> list[float]:
    return [round(value, 4) for value in values_L.tolist()]
