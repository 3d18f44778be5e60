"""Multi-head attention by length, three ways with one answer: time, and on a GPU the most memory beside the weights.

One module each with the same weights and no mask: ``kb.nn.MultiHeadAttention`` by einsum, which has all T x T weights
of every head in memory, the same by torch's fused kernel, which never has, and ``torch.nn.MultiheadAttention`` with
and without ``need_weights``. Projections are timed with the rest, as a caller meets them. *Forward* is inference, in
which torch's module takes a path of its own; *both ways* has gradients of the input and of every parameter.

Lengths and dtypes depend on the device: a CPU has float32 and short ones, and counts no memory.
"""

import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measurement import Measurement, Samples
from kb import timing
from kb.nn import MultiHeadAttention, masked_attention_einsum, masked_attention_fused

WIDTH, HEADS = 512, 8
LENGTHS = {"cuda": (256, 512, 1024, 2048, 4096, 8192, 16_384), "cpu": (256, 512, 1024, 2048)}
# How far answers may differ, as a share of their largest magnitude.
DTYPES = {"cuda": {torch.float32: 1e-3, torch.bfloat16: 2**-4}, "cpu": {torch.float32: 1e-4}}
ROUNDS = 7
WAYS = ("einsum", "fused", "torch", "torch, weights")
# On a GPU, at the longest: the most memory, and in bfloat16 the most time, both ways, that the fused one may take of
# einsum's. In float32, which has no tensor cores here, only memory is held to a bound.
MOST_MEMORY, MOST_TIME = 0.1, 0.5

Run = Callable[[], tuple[Tensor, ...]]


class Meter:
    """Samples of time by name, and the peaks of memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: dict[str, list[float]] = {}
        self.peaks: dict[str, float] = {}

    def take_turns(self, runs: dict[str, Run]) -> None:
        """Time all in turn, the first round to warm up; then the peak of each."""
        for round_ in range(ROUNDS + 1):
            for name, run in runs.items():
                taken = timing.seconds(run, where=self.device)
                if round_:
                    self.times.setdefault(name, []).append(1e3 * taken)
        for name, run in runs.items() if self.device.type == "cuda" else ():
            before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            run()
            self.peaks[name] = round((torch.cuda.max_memory_allocated(self.device) - before) / 2**20, 3)


def measure(device: torch.device) -> Measurement:
    """Time all ways in turn at every length and dtype, answers compared first, and on a GPU hold the bounds."""
    lengths, dtypes = LENGTHS[device.type], DTYPES[device.type]
    meter, ratios = Meter(device), {}
    for dtype, bound in dtypes.items():
        modules = made(device, dtype)
        for length in lengths:
            short = str(dtype).removeprefix("torch.")
            print(f"attention_ways: {short}, {length} tokens", file=sys.stderr, flush=True)
            noise = torch.Generator().manual_seed(length)
            x_BTE, upstream_BTE = (torch.randn(1, length, WIDTH, generator=noise).to(device, dtype) for _ in range(2))
            forward = {way: inference(module, way, x_BTE) for way, module in modules.items()}
            both = {way: with_gradients(module, way, x_BTE, upstream_BTE) for way, module in modules.items()}
            for kind, runs in (("forward", forward), ("both ways", both)):
                require_equal(runs, bound)
                meter.take_turns({f"{short}, {kind}, {way}, {length}": run for way, run in runs.items()})
                above, below = (f"{short}, {kind}, {way}, {length}" for way in ("einsum", "fused"))
                ratios[f"{short}, {kind}, einsum / fused, {length}"] = (above, below)
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if device.type == "cuda":
        require_bounds(meter, ratios, lengths[-1])
    return Measurement(
        title=f"Multi-head attention, D {WIDTH}, {HEADS} heads, batch 1, no mask, by length and way of computing it",
        method=f"{ROUNDS} rounds, all ways in turn; peak of allocated memory over that before the run",
        samples={name: Samples("ms", values) for name, values in meter.times.items()},
        ratios=ratios,
        facts={
            "lengths": list(lengths),
            "dtypes": [str(dtype).removeprefix("torch.") for dtype in dtypes],
            "ways": list(WAYS),
            "peak MiB": meter.peaks,
        },
    )


def made(device: torch.device, dtype: torch.dtype) -> dict[str, nn.Module]:
    """One module for each way, all with the same weights."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).to(device, dtype)
    modules: dict[str, nn.Module] = {}
    for way, attend in (("einsum", masked_attention_einsum), ("fused", masked_attention_fused)):
        modules[way] = MultiHeadAttention(WIDTH, HEADS, batch_first=True, attend=attend).to(device, dtype)
        modules[way].load_state_dict(theirs.state_dict())
    return modules | {"torch": theirs, "torch, weights": theirs}


def inference(module: nn.Module, way: str, x_BTE: Tensor) -> Run:
    """The output alone."""

    def run() -> tuple[Tensor, ...]:
        module.eval()
        with torch.inference_mode():
            out, _ = module(x_BTE, x_BTE, x_BTE, need_weights=way == "torch, weights")
        return (out,)

    return run


def with_gradients(module: nn.Module, way: str, x_BTE: Tensor, upstream_BTE: Tensor) -> Run:
    """The output, and the gradients of the input and of every parameter."""
    x_BTE = x_BTE.clone().requires_grad_()
    parameters: list[Any] = [parameter for _, parameter in sorted(module.named_parameters())]

    def run() -> tuple[Tensor, ...]:
        module.train()  # without dropout nothing else depends on it
        out, _ = module(x_BTE, x_BTE, x_BTE, need_weights=way == "torch, weights")
        return (out, *torch.autograd.grad(out, (x_BTE, *parameters), upstream_BTE))

    return run


def require_equal(runs: dict[str, Run], bound: float) -> None:
    """Outputs and every gradient against those of the fused way."""
    wanted = runs["fused"]()
    for way, run in runs.items():
        for a, b in zip(run(), wanted, strict=True):
            error = float((a - b).detach().abs().max() / b.detach().abs().max())
            assert error <= bound, f"{way} differs from the fused way by {error:.2g} of the largest magnitude"


def require_bounds(meter: Meter, ratios: dict[str, tuple[str, str]], longest: int) -> None:
    """At the longest, both ways: the fused way takes a small part of einsum's memory, and in bfloat16 of its time."""
    for name, (einsum, fused) in ratios.items():
        if "both ways" in name and name.endswith(f" {longest}"):
            memory = meter.peaks[fused] / meter.peaks[einsum]
            assert memory <= MOST_MEMORY, f"{name}: the fused way takes {memory:.2f} of the memory"
            time = statistics.median(meter.times[fused]) / statistics.median(meter.times[einsum])
            assert time <= MOST_TIME or not name.startswith("bfloat16"), f"{name}: {time:.2f} of the time"
