"""Ways to fine-tune one small model to Python source: what each learns, and what it forgets of Shakespeare.

Unusual: the learning rate of every method is chosen on a seed of its own, which is not among those that are reported;
and full fine-tuning and LoRA of two ranks are run at every rate with every seed, as the ratio of their best rates is
asked for. One base, trained once on tiny-shakespeare; the seeds are those of the adapters' start and of the windows.
"""

import copy
import math
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb import datasets, finetuning, training
from kb.finetuning import ALL_LINEAR, LoraConfig
from kb.lm import DecoderLM, ModelConfig

DEVICES = ("cpu",)
LENGTH, BATCH = 64, 16
FULL, LOW, HIGH = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (3e-3, 1e-2, 3e-2, 1e-1)
T_975 = {2: 4.303, 3: 3.182, 4: 2.776}  # Student's quantile by degrees of freedom


@dataclass(frozen=True)
class Setting:
    """Steps of the base and of each fine-tuning, the reported seeds (from 1), processes, held-out windows judged on."""

    base_steps: int = 400
    steps: int = 100
    seeds: int = 4
    workers: int = 2
    judged: int = 256


@dataclass(frozen=True)
class Run:
    """One fine-tuning; seed 0 is for the choice of a rate alone."""

    method: str
    rate: float
    seed: int
    setting: Setting


@dataclass(frozen=True)
class Outcome:
    """Losses on held-out text in bits a byte, infinite where the run broke off, and seconds a step."""

    learned: float
    kept: float
    seconds: float
    trained: int


@lru_cache(maxsize=2)
def texts(name: str) -> tuple[Tensor, Tensor]:
    """Bytes to train with and held-out windows: "shakespeare", or "code", the Python files of lm-eval's core."""
    if name == "shakespeare":
        text = datasets.read("tiny-shakespeare", "input.txt")
    else:
        parts = ("lm_eval/api/", "lm_eval/models/", "lm_eval/loggers/")
        with zipfile.ZipFile(datasets.fetch("lm-eval")) as wheel:
            files = [path for path in sorted(wheel.namelist()) if path.startswith(parts) and path.endswith(".py")]
            text = b"\n".join(wheel.read(path) for path in files)
    return training.hold_out(training.encode_bytes(text), LENGTH)


@lru_cache(maxsize=1)
def base(steps: int) -> DecoderLM:
    """A decoder with biases, trained on Shakespeare; in each process once."""
    config = ModelConfig(256, 128, 256, 3, 4, 4, 32, 256, qkv_bias=True, output_bias=True, ffn_bias=True)
    model = DecoderLM(config)
    training.initialize(model, seed=0)
    recipe = training.TrainConfig(steps, learning_rate=4e-3, warmup=steps // 10)
    batches = training.random_windows(texts("shakespeare")[0], LENGTH, BATCH, seed=0)
    training.train(model, batches, training.next_token_loss, recipe)
    return model


def lora(**changes: object) -> Callable[[DecoderLM, int], nn.Module]:
    """What puts a LoRA into a model."""

    def put(model: DecoderLM, seed: int) -> nn.Module:
        finetuning.inject(model, LoraConfig(**({"rank": 4, "alpha": 8.0} | changes)), seed=seed)  # type: ignore[arg-type]
        return model

    return put


def changed(change: Callable[..., object], **options: object) -> Callable[[DecoderLM, int], nn.Module]:
    """What changes a model in place and knows no seed."""

    def put(model: DecoderLM, seed: int) -> nn.Module:
        change(model, **options)
        return model

    return put


def prefix(model: DecoderLM, seed: int) -> nn.Module:
    """A prefix of 16 positions, begun as the keys and values of the beginning of a method."""
    start = training.encode_bytes("\n    def run(x):")
    return finetuning.PrefixLM(model, finetuning.PrefixTuning.from_tokens(model, start))


METHODS: Mapping[str, tuple[Callable[[DecoderLM, int], nn.Module], tuple[float, ...]]] = {
    "full": (changed(lambda model: model.requires_grad_(True)), FULL),
    "LoRA, rank 1": (lora(rank=1, alpha=2.0), LOW),
    "LoRA, rank 4": (lora(), LOW),
    "LoRA, rank 16": (lora(rank=16, alpha=32.0), LOW),
    "LoRA, rank 4, q and v": (lora(targets=("q_proj", "v_proj")), LOW),
    "LoRA, rank 17, q and v": (lora(rank=17, alpha=34.0, targets=("q_proj", "v_proj")), LOW),
    "DoRA, rank 4": (lora(dora=True), LOW),
    "bottleneck, width 16": (changed(finetuning.inject_bottleneck, size=16), LOW),
    "prefix, 16": (prefix, HIGH),
    "(IA)3": (changed(finetuning.inject_ia3), HIGH),
    "BitFit": (changed(finetuning.train_biases), HIGH),
}
SWEPT = ("full", "LoRA, rank 4", "LoRA, rank 16")


def tune(run: Run) -> Outcome:
    """Fine-tune a copy of the base, judge it on both texts, and say so on the error stream."""
    put, _ = METHODS[run.method]
    model = put(copy.deepcopy(base(run.setting.base_steps)), run.seed)
    trained = sum(one.numel() for one in finetuning.trainable(model).values())
    code_N, code_WT = texts("code")
    recipe = training.TrainConfig(run.setting.steps, learning_rate=run.rate, warmup=5, weight_decay=0.0)
    batches = training.random_windows(code_N, LENGTH, BATCH, seed=100 + run.seed)
    start = time.perf_counter()
    try:
        training.train(model, batches, training.next_token_loss, recipe)
    except ValueError:  # a loss or gradient that is not finite
        return Outcome(math.inf, math.inf, math.inf, trained)
    seconds = (time.perf_counter() - start) / run.setting.steps
    outcome = Outcome(
        bits(model, code_WT[: run.setting.judged]),
        bits(model, texts("shakespeare")[1][: run.setting.judged]),
        seconds,
        trained,
    )
    print(f"{run.method:24} {run.rate:g} seed {run.seed}: {outcome.learned:.3f}, {outcome.kept:.3f}", file=sys.stderr)
    return outcome


def bits(model: nn.Module, windows_WT: Tensor) -> float:
    """Loss on windows, in bits a byte."""
    return training.evaluate(model, windows_WT.split(64)) / math.log(2)


def interval(values: list[float]) -> list[float]:
    """95 % interval of the mean, by Student's distribution."""
    half = T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return [round(statistics.mean(values) - half, 4), round(statistics.mean(values) + half, 4)]


def best_rates(setting: Setting) -> dict[str, float]:
    """The rate of each method that does best on the text to be learned, with seed 0."""
    jobs = [Run(method, rate, 0, setting) for method, (_, rates) in METHODS.items() for rate in rates]
    found = dict(zip(jobs, one_thread.each(tune, jobs, setting.workers), strict=True))
    return {
        method: min(rates, key=lambda rate: found[Run(method, rate, 0, setting)].learned)
        for method, (_, rates) in METHODS.items()
    }


def measurement(setting: Setting, chosen: Mapping[str, float], found: Mapping[Run, Outcome]) -> Measurement:
    """The record of all reported runs."""
    seeds = range(1, setting.seeds + 1)
    at_best = {m: [found[Run(m, rate, seed, setting)] for seed in seeds] for m, rate in chosen.items()}
    start = copy.deepcopy(base(setting.base_steps))
    sweep = {
        method: {
            f"{rate:g}": [_finite(found[Run(method, rate, seed, setting)].learned) for seed in seeds]
            for rate in METHODS[method][1]
        }
        for method in SWEPT
    }
    return Measurement(
        title=f"Ways to fine-tune a decoder of 3 blocks of width 128, {setting.steps} steps on Python source",
        method=f"one base, {setting.base_steps} steps on bytes of tiny-shakespeare; rates chosen on seed 0, reported "
        f"seeds 1 to {setting.seeds}; AdamW without decay, one thread a run, float32",
        samples={
            f"{method}: {name}": Samples(unit, [round(getattr(one, key), 5) for one in of])
            for method, of in at_best.items()
            for name, key, unit in (
                ("code", "learned", "bits a byte"),
                ("Shakespeare", "kept", "bits a byte"),
                ("step", "seconds", "s"),
            )
        },
        facts={
            "setting": dict(setting.__dict__),
            "rates": dict(chosen),
            "trained": {method: of[0].trained for method, of in at_best.items()},
            "base": {name: round(bits(start, texts(name)[1][: setting.judged]), 4) for name in ("code", "shakespeare")},
            "intervals": {
                method: {key: interval([getattr(one, key) for one in of]) for key in ("learned", "kept")}
                for method, of in at_best.items()
            },
            "sweep": sweep,
        },
    )


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def measure(device: torch.device) -> Measurement:
    """Choose rates, run all seeds, and assert the least: every method beats the base, LoRA forgets less than full."""
    setting = Setting()
    chosen = best_rates(setting)
    jobs = {Run(m, rate, seed, setting) for m, rate in chosen.items() for seed in range(1, setting.seeds + 1)}
    jobs |= {Run(m, rate, s, setting) for m in SWEPT for rate in METHODS[m][1] for s in range(1, setting.seeds + 1)}
    ordered = sorted(jobs, key=lambda run: (run.method, run.rate, run.seed))
    found = dict(zip(ordered, one_thread.each(tune, ordered, setting.workers), strict=True))
    made = measurement(setting, chosen, found)
    start = made.facts["base"]["code"]  # type: ignore[index]
    for method in chosen:
        assert max(made.samples[f"{method}: code"].values) < start, f"{method} has learned nothing"
    assert len(ALL_LINEAR) == 7
    return made
