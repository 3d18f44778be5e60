"""What sparsity costs: a layer of experts, forwards and backwards, against a dense network that does as many products.

With each round all contenders run once, in turn. Beside the layer, its experts as loops that autograd follows: over
matrices of their own, and over one fused parameter that is indexed, as transformers 5 keeps them. The backward of an
index makes a gradient of the whole parameter, nearly all zeros, for each expert; ``unbind``, or a backward by hand,
makes one for all of them. And once more the layer, over 64 modules that have weights of their own.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measurement import Measurement, Samples
from kb import runtime, timing
from kb.counting import count
from kb.moe import ModuleExperts, MoELayer, Router, RouterConfig
from kb.nn import SwiGLU

TOP_K = 2
# Width, inner width of an expert, tokens, dtype, how far answers may differ as a share of their largest magnitude.
SIZES = {
    "cuda": (2048, 1024, 32_768, torch.bfloat16, 2**-5),
    "cpu": (512, 1024, 4_096, torch.float32, 1e-4),
}
ROUNDS = 7
# The bounds that the record has to keep, on a CPU.
MOST = {"8 experts / dense": 1.2, "64 experts / loop over a list": 1.1, "64 experts / loop over a parameter": 0.2}

ALSO = ("64 experts / dense", "64 experts / 64 modules")

Run = Callable[[], tuple[Tensor, ...]]


class ExpertLoop(nn.Module):
    """For each expert, its tokens are found, run through its matrices and added to their places; autograd follows.

    Args:
        router: Which expert serves whom.
        gate_up: One matrix [2F, D] an expert, in a list or in one parameter [E, 2F, D].
        down: One matrix [D, F] an expert, likewise.
    """

    def __init__(self, router: Router, gate_up: Any, down: Any) -> None:
        super().__init__()
        self.router, self.gate_up, self.down = router, gate_up, down

    def forward(self, x_TD: Tensor) -> Tensor:
        """[T, D] to [T, D]."""
        routing = self.router(x_TD)
        out_TD = torch.zeros_like(x_TD)
        for e in range(routing.num_experts):
            tokens, choices = (routing.experts_TK == e).nonzero(as_tuple=True)
            gate_NF, up_NF = F.linear(x_TD[tokens], self.gate_up[e]).chunk(2, dim=-1)
            out_ND = F.linear(F.silu(gate_NF) * up_NF, self.down[e])
            weights = routing.weights_TK[tokens, choices, None].to(x_TD.dtype)
            out_TD.index_add_(0, tokens, out_ND * weights)
        return out_TD


def measure(device: torch.device) -> Measurement:
    """Time all contenders in turn, their answers and products compared first, and on a CPU hold the bounds."""
    width, inner, tokens, dtype, bound = SIZES[device.type]
    torch.manual_seed(0)
    x = torch.randn(tokens, width, device=device, dtype=dtype, requires_grad=True)
    upstream = torch.randn_like(x)
    runs: dict[str, Run] = {"dense": _run(SwiGLU(width, TOP_K * inner).to(device, dtype), x, upstream)}
    for number in (8, 64):
        config = RouterConfig(number, TOP_K, check_logits=False)
        layer = MoELayer.swiglu(width, inner, config).to(device, dtype)
        runs[f"{number} experts"] = _run(layer, x, upstream)
    fused: list[Any] = list(layer.experts.parameters())  # gate above up, and down
    separate = (nn.ParameterList(parameter.detach().clone().unbind()) for parameter in fused)
    modules = ModuleExperts(SwiGLU(width, inner).to(device, dtype) for _ in range(number))
    runs["64 modules"] = _run(MoELayer(layer.router, modules), x, upstream)
    runs["loop over a list"] = _run(ExpertLoop(layer.router, *separate), x, upstream)
    runs["loop over a parameter"] = _run(ExpertLoop(layer.router, *fused), x, upstream)
    for loop in ("loop over a list", "loop over a parameter"):
        _require_equal(runs["64 experts"](), runs[loop](), bound)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            taken = timing.seconds(run, where=device)
            if round_:  # the first is to warm up
                times[name].append(1e3 * taken)
    ratios = {name: tuple(name.split(" / ")) for name in (*MOST, *ALSO)}
    samples = {name: Samples("ms", values) for name, values in times.items()}
    if device.type == "cpu":
        for name, most in MOST.items():
            pairs = zip(*(times[part] for part in ratios[name]), strict=True)
            ratio = statistics.median(above / below for above, below in pairs)
            assert ratio <= most, f"{name} is {ratio:.2f}, over {most}"
    return Measurement(
        title=f"MoE layer forward and backward, top {TOP_K}, D {width}, F {inner}, {tokens} tokens, {dtype}".replace(
            "torch.", ""
        ),
        method=f"{ROUNDS} rounds, all contenders in turn; dense: SwiGLU of inner width {TOP_K * inner}",
        samples=samples,
        ratios={name: (above, below) for name, (above, below) in ratios.items()},
        facts={
            "flops": {name: count(run).flops for name, run in runs.items() if device.type == "cpu"},
            "bytes of the fused parameters": sum(parameter.nbytes for parameter in fused),
        },
    )


def _run(layer: Any, x: Tensor, upstream: Tensor) -> Run:
    # The router's first, wherever a layer keeps it.
    named = sorted(layer.named_parameters(), key=lambda pair: not pair[0].startswith("router"))
    weights = [weight for _, weight in named]

    def run() -> tuple[Tensor, ...]:
        out = layer(x)
        out = out[0] if isinstance(out, tuple) else out
        answer = (out, *torch.autograd.grad(out, (x, *weights), upstream))
        runtime.synchronize(x.device)
        return answer

    return run


def _require_equal(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], bound: float) -> None:
    """Outputs and gradients of the input and the router: the first three of each."""
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        error = float((a - b).detach().abs().max() / b.detach().abs().max())
        assert error <= bound, f"the contenders differ by {error:.2g} of the largest magnitude"
