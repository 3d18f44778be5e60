"""What an activation costs: time per element, both ways, against a copy; and a gated network against a plain one.

A copy reads a tensor and writes one. torch's activation does the same in one kernel, and its backward reads one tensor
more; so where memory sets the pace, none costs more than a copy, or one and a half. The book's own versions run one
kernel an operation and pay a passage through memory for each. Beside that, two whole feed-forward networks of equal
parameters: GELU with an inner width of 4 D, and SwiGLU with 8/3 D.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measurement import Measurement, Samples
from kb import timing
from kb.nn import ACTIVATION_TABLE, SwiGLU, operations_per_element

ELEMENTS = {"cuda": 2**26, "cpu": 2**22}  # far above any cache of a GPU's
WIDTH, TOKENS = {"cuda": 3072, "cpu": 192}, {"cuda": 16_384, "cpu": 512}
REPEATS = {"cuda": 20, "cpu": 2}  # a sample is the mean of so many runs, one after the other
ROUNDS = 11
DTYPES = (torch.float32, torch.bfloat16)
BOUND = 1e-5  # how far torch's answer may be from ours, float32, inputs within ±5

Run = Callable[[], Any]
TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "mish": F.mish,
}


def measure(device: torch.device) -> Measurement:
    """Compare answers, then time all contenders of a kind in turn."""
    on = device.type
    torch.manual_seed(0)
    _require_equal(device)
    samples, ratios = dict[str, Samples](), dict[str, tuple[str, str]]()
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        times = _in_turn(_elementwise(device, dtype, name), device)
        scale = 1e12 / ELEMENTS[on]
        samples |= {key: Samples("ps/element", [scale * one for one in values]) for key, values in times.items()}
        ratios |= {f"{key} / copy": (key, f"copy, {name}") for key in times if not key.startswith("copy")}
    networks = _in_turn(_networks(device), device)
    samples |= {key: Samples("ms", [1e3 * one for one in values]) for key, values in networks.items()}
    ratios |= {f"SwiGLU / GELU, {way}": (f"SwiGLU, {way}", f"GELU, {way}") for way in ("forward", "both ways")}
    width = WIDTH[on]
    return Measurement(
        title=f"Activations on {ELEMENTS[on]:,} elements against a copy; SwiGLU and GELU networks of equal parameters",
        method=f"{ROUNDS} rounds, all of a kind in turn, each the mean of {REPEATS[on]} runs; backward of a graph that "
        f"was built before; networks: D {width}, {TOKENS[on]} tokens, bfloat16, inner {4 * width} and {8 * width // 3}",
        samples=samples,
        ratios=ratios,
        facts={
            "elements": ELEMENTS[on],
            "bytes of an element": {str(dtype).removeprefix("torch."): dtype.itemsize for dtype in DTYPES},
            "operations of ours": {
                name: sum(operations_per_element(one.value).values()) for name, one in ACTIVATION_TABLE.items()
            },
            "parameters": {"GELU": 2 * width * 4 * width, "SwiGLU": 3 * width * (8 * width // 3)},
        },
    )


def _elementwise(device: torch.device, dtype: torch.dtype, name: str) -> dict[str, Run]:
    """A copy; torch's activations forwards and backwards; ours, an operation at a time, forwards."""
    x = torch.randn(ELEMENTS[device.type], device=device).to(dtype)
    upstream, place, leaf = torch.randn_like(x), torch.empty_like(x), x.clone().requires_grad_()
    runs: dict[str, Run] = {f"copy, {name}": lambda: place.copy_(x)}
    for key, function in TORCH.items():
        runs[f"{key}, forward, {name}"] = lambda function=function: function(x)  # type: ignore[misc]
        graph = function(leaf)
        runs[f"{key}, backward, {name}"] = lambda graph=graph: torch.autograd.grad(  # type: ignore[misc]
            graph, leaf, upstream, retain_graph=True
        )
    for key, one in ACTIVATION_TABLE.items():
        runs[f"{key}, ours, {name}"] = lambda one=one: one.value(x)  # type: ignore[misc]
    return runs


def _networks(device: torch.device) -> dict[str, Run]:
    width, dtype = WIDTH[device.type], torch.bfloat16
    plain = nn.Sequential(
        nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
    ).to(device, dtype)
    gated = SwiGLU(width, 8 * width // 3).to(device, dtype)
    number = [sum(parameter.numel() for parameter in one.parameters()) for one in (plain, gated)]
    assert number[0] == number[1], f"{number[0]:,} and {number[1]:,} parameters are not equal"
    x_TD = torch.randn(TOKENS[device.type], width, device=device, dtype=dtype, requires_grad=True)
    upstream_TD = torch.randn_like(x_TD)
    runs: dict[str, Run] = {}
    for name, network in (("GELU", plain), ("SwiGLU", gated)):
        parameters = list(network.parameters())
        runs[f"{name}, forward"] = lambda network=network: _forward(network, x_TD)  # type: ignore[misc]
        runs[f"{name}, both ways"] = lambda network=network, parameters=parameters: torch.autograd.grad(  # type: ignore[misc]
            network(x_TD), (x_TD, *parameters), upstream_TD
        )
    return runs


@torch.no_grad()
def _forward(network: nn.Module, x_TD: Tensor) -> Any:
    return network(x_TD)


def _in_turn(runs: dict[str, Run], device: torch.device) -> dict[str, list[float]]:
    """Seconds of a run, by name; the first round is to warm up."""
    repeats = REPEATS[device.type]
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            taken = timing.seconds(lambda run=run: [run() for _ in range(repeats)], where=device)  # type: ignore[misc]
            if round_:
                times[name].append(taken / repeats)
        print(f"round {round_} of {ROUNDS}, {len(runs)} contenders", file=sys.stderr, flush=True)
    return times


def _require_equal(device: torch.device) -> None:
    """Our values and derivatives against torch's values and gradients."""
    for name, one in ACTIVATION_TABLE.items():
        x = torch.linspace(-5, 5, 4001, device=device, requires_grad=True)
        out = TORCH[name](x)
        (grad,) = torch.autograd.grad(out.sum(), x)
        for ours, theirs in ((one.value(x), out), (one.derivative(x), grad)):
            error = float((ours - theirs).detach().abs().max())
            assert error <= BOUND, f"{name}: ours and torch's differ by {error:.2g}"
