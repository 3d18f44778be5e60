"""How near a mixture's products come to those of a dense network on a GPU, and the whole layer to the whole network.

Equal arithmetic on all sides: a dense SwiGLU of inner width 2 F against 8 and 64 experts of width F, of which a token
visits two. *Products* are the three matrix products of the network and the six of their backward, nothing between
them; the experts' runs of rows are as long as an untrained router makes them. Layers are timed as they are called:
router, sorting, gate and the way back included. transformers' own block holds the same weights.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from benchmarks.measurement import Measurement, Samples
from kb import timing
from kb.moe import Dispatch, MoELayer, Router, RouterConfig, SwiGLUExperts
from kb.moe.grouped import grouped_linear
from kb.nn import SwiGLU

DEVICES = ("cuda",)
WIDTH, INNER, TOKENS, TOP_K = 2048, 1024, 32_768, 2
DTYPE = torch.bfloat16
NUMBERS = (8, 64)
ROUNDS, REPEATS = 11, 5  # a sample is the mean of so many runs, one after the other
# The least that the products of 8 experts may reach of the dense rate; how far answers may differ from transformers'.
LEAST, BOUND = 0.85, 2**-5

Run = Callable[[], Any]


def measure(device: torch.device) -> Measurement:
    """Time all contenders in turn, answers compared first, and hold the bound."""
    torch.manual_seed(0)
    x_TD = torch.randn(TOKENS, WIDTH, device=device, dtype=DTYPE, requires_grad=True)
    upstream_TD = torch.randn_like(x_TD)
    dense = SwiGLU(WIDTH, TOP_K * INNER).to(device, DTYPE)
    runs: dict[str, Run] = {
        "products, dense": _products([dense.gate_proj.weight, dense.up_proj.weight], dense.down_proj.weight, x_TD),
        "layer, dense": _layer(dense, x_TD, upstream_TD),
    }
    for number in NUMBERS:
        config = RouterConfig(number, TOP_K, check_logits=False, logits_in_float32=False)  # as Mixtral's
        router, bank = Router(WIDTH, config), SwiGLUExperts(number, WIDTH, INNER)
        ours = MoELayer(router, bank).to(device, DTYPE)
        theirs = _of_transformers(router, bank)
        runs[f"layer, {number} experts"] = _layer(ours, x_TD, upstream_TD)
        runs[f"layer, {number} experts, transformers"] = _layer(theirs, x_TD[None], upstream_TD[None])
        _require_equal(runs[f"layer, {number} experts"](), runs[f"layer, {number} experts, transformers"]())
        ends_E = Dispatch.of(router(x_TD)).ends_E
        runs[f"products, {number} experts"] = _products([bank.gate_up_proj], bank.down_proj, x_TD, ends_E)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            taken = timing.seconds(lambda run=run: [run() for _ in range(REPEATS)], where=device)  # type: ignore[misc]
            if round_:  # the first is to warm up
                times[name].append(1e3 * taken / REPEATS)
    flops = 3 * 3 * 2 * TOKENS * TOP_K * WIDTH * INNER
    medians = {name: sorted(values)[ROUNDS // 2] for name, values in times.items()}
    reached = medians["products, dense"] / medians["products, 8 experts"]
    assert reached >= LEAST, f"the products of 8 experts reach {reached:.2f} of the dense rate, wanted {LEAST}"
    of_products = {f"products, dense / {n} experts": ("products, dense", f"products, {n} experts") for n in NUMBERS}
    of_layers = {f"layer, dense / {n} experts": ("layer, dense", f"layer, {n} experts") for n in NUMBERS}
    of_both = {
        f"layer, {n} experts, ours / transformers": (f"layer, {n} experts", f"layer, {n} experts, transformers")
        for n in NUMBERS
    }
    return Measurement(
        title=f"Products and layers, both ways, top {TOP_K}, D {WIDTH}, F {INNER}, {TOKENS} tokens, bfloat16",
        method=f"{ROUNDS} rounds, all contenders in turn, each the mean of {REPEATS} runs; "
        f"dense: SwiGLU of inner width {TOP_K * INNER}",
        samples={name: Samples("ms", values) for name, values in times.items()},
        ratios=of_products | of_layers | of_both,
        facts={
            "FLOP of the products": flops,
            "TFLOP/s": {name: round(flops / median / 1e9, 1) for name, median in medians.items()},
        },
    )


def _products(above: list[Tensor], down: Tensor, x_TD: Tensor, ends_E: Tensor | None = None) -> Run:
    """The products of a network and their gradients; with ends those of a bank, whose rows are sorted already."""
    rows = x_TD.detach() if ends_E is None else x_TD.detach().repeat(TOP_K, 1)
    inner = torch.randn(len(rows), down.shape[-1], device=rows.device, dtype=DTYPE)
    pairs = [(rows, weight) for weight in above] + [(inner, down)]
    prepared = []
    for left, weight in pairs:
        left, weight = left.detach().requires_grad_(), weight.detach().requires_grad_()
        prepared.append((left, weight, torch.randn(len(left), weight.shape[-2], device=rows.device, dtype=DTYPE)))

    def run() -> None:
        for left, weight, upstream in prepared:
            out = F.linear(left, weight) if ends_E is None else grouped_linear(left, weight, ends_E)[0]
            torch.autograd.grad(out, (left, weight), upstream)

    return run


def _layer(layer: Any, x: Tensor, upstream: Tensor) -> Run:
    parameters = [weight for _, weight in sorted(layer.named_parameters())]

    def run() -> tuple[Tensor, ...]:
        out = layer(x)
        out = out[0] if isinstance(out, tuple) else out
        return (out, *torch.autograd.grad(out, (x, *parameters), upstream))

    return run


def _of_transformers(router: Router, bank: SwiGLUExperts) -> MixtralSparseMoeBlock:
    """A block of transformers with the weights of a router and a bank."""
    config = MixtralConfig(
        hidden_size=WIDTH, intermediate_size=INNER, num_local_experts=len(bank), num_experts_per_tok=TOP_K
    )
    config._experts_implementation = "grouped_mm"  # what loading a model sets; a block made alone is left without
    theirs = MixtralSparseMoeBlock(config).to(router.weight.device, DTYPE)
    with torch.no_grad():
        theirs.gate.weight.copy_(router.weight)
        theirs.experts.gate_up_proj.copy_(bank.gate_up_proj)
        theirs.experts.down_proj.copy_(bank.down_proj)
    return theirs


def _require_equal(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    """Outputs and every gradient."""
    for a, b in zip(ours, theirs, strict=True):
        error = float((a - b).detach().abs().max() / b.detach().abs().max())
        assert error <= BOUND, f"the contenders differ by {error:.2g} of the largest magnitude"
