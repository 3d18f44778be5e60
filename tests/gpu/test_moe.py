"""On a GPU: grouped products give the CPU's answer in value and gradient, and nothing waits for a number."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kb.moe import MoELayer, RouterConfig, run_experts
from kb.moe.grouped import grouped_linear, takes_grouped_mm
from kb.moe.grouped_triton import fits_kernels
from kb.moe.routing import Routing

pytestmark = pytest.mark.gpu

RELATIVE = {torch.float32: 2e-5, torch.bfloat16: 2**-7, torch.float16: 2**-9}
RUNS = {
    "uneven": [70, 0, 1, 300, 0, 129],
    "one expert": [513],
    "all to the last": [0, 0, 0, 257],
    "many": [(37 * e) % 61 for e in range(64)],
}
ROUTINGS = {
    "top 2": RouterConfig(8, 2),
    "dropping": RouterConfig(8, 2, capacity_factor=0.7),
    "dropping by score": RouterConfig(8, 3, capacity_factor=1.0, drop="score"),
    "experts choose": RouterConfig(16, 2, choice="expert"),
    "groups and a bias": RouterConfig(
        16, 4, scoring="sigmoid", num_groups=4, top_groups=2, group_score="top2", bias=True, scale=2.5
    ),
    "one expert": RouterConfig(1, 1),
}


def require_way(way: str, x: Tensor) -> None:
    if way == "triton" and not fits_kernels(x):
        pytest.skip("the Triton kernels do not run here")


def relative_error(ours: Tensor, wanted: Tensor) -> float:
    assert torch.isfinite(ours).all()
    return float((ours.detach().cpu().double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize(("I", "O"), [(128, 256), (72, 520), (31, 45)])
@pytest.mark.parametrize("way", ["grouped", "triton"])
@pytest.mark.parametrize("dtype", RELATIVE)
def test_products_and_gradients_equal_the_cpu(
    device: torch.device,
    dtype: torch.dtype,
    way: str,
    I: int,  # noqa: E741
    O: int,  # noqa: E741
    runs: str,
) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = RUNS[runs]
    ends_E = torch.tensor(sizes).cumsum(0).int()
    x_PI = torch.randn(sum(sizes), I, generator=generator).to(dtype)
    weight_EOI = (torch.randn(len(sizes), O, I, generator=generator) * I**-0.5).to(dtype)
    upstream_PO = torch.randn(sum(sizes), O, generator=generator).to(dtype)
    ours = [tensor.to(device).requires_grad_() for tensor in (x_PI, weight_EOI)]
    require_way(way, ours[0])
    (out_PO,) = grouped_linear(*ours, ends_E.to(device), way=way)
    assert out_PO.dtype == dtype
    mine = (out_PO, *torch.autograd.grad(out_PO, ours, upstream_PO.to(device)))
    wanted = [tensor.double().requires_grad_() for tensor in (x_PI, weight_EOI)]
    rows = zip(wanted[0].split(sizes), wanted[1].unbind(), strict=True)
    reference = torch.cat([run @ weight.t() for run, weight in rows])
    theirs = (reference, *torch.autograd.grad(reference, wanted, upstream_PO.double()))
    for a, b in zip(mine, theirs, strict=True):
        assert relative_error(a, b.detach()) <= RELATIVE[dtype]


def answers(
    layer: MoELayer, x_TD: Tensor, routing: Routing, implementation: str, upstream_TD: Tensor
) -> tuple[Tensor, ...]:
    """Output of the experts for a routing that is given, and the gradients of tokens, expert weights and weights."""
    x_TD = x_TD.detach().requires_grad_()
    routing = replace(routing, weights_TK=routing.weights_TK.detach().requires_grad_())
    out_TD = run_experts(x_TD, layer.experts, routing, implementation=implementation)
    leaves = (x_TD, *layer.experts.parameters(), routing.weights_TK)
    gradients = torch.autograd.grad(out_TD, leaves, upstream_TD)
    kept_TK = torch.ones_like(routing.weights_TK) if routing.kept_TK is None else routing.kept_TK
    return (out_TD, *gradients[:-1], gradients[-1] * kept_TK)


def moved(routing: Routing, device: torch.device | str, dtype: torch.dtype) -> Routing:
    numbers = (routing.weights_TK, routing.logits_TE, routing.scores_TE)
    weights_TK, logits_TE, scores_TE = (tensor.detach().to(device, dtype) for tensor in numbers)
    kept_TK = None if routing.kept_TK is None else routing.kept_TK.to(device)
    return Routing(routing.experts_TK.to(device), weights_TK, logits_TE, scores_TE, kept_TK, routing.room)


@pytest.mark.parametrize("name", ROUTINGS)
@pytest.mark.parametrize("implementation", ["experts", "grouped", "triton", "auto"])
@pytest.mark.parametrize("dtype", RELATIVE)
def test_experts_equal_the_cpu_in_every_gradient(
    device: torch.device, dtype: torch.dtype, implementation: str, name: str
) -> None:
    torch.manual_seed(0)
    layer = MoELayer.swiglu(64, 96, ROUTINGS[name]).to(dtype)
    x_TD = torch.randn(211, 64).to(dtype)
    upstream_TD = torch.randn(211, 64).to(dtype)
    routing = layer.router(x_TD)
    wanted = answers(
        layer.double(), x_TD.double(), moved(routing, "cpu", torch.float64), "experts", upstream_TD.double()
    )
    layer = layer.to(device, dtype)
    there = moved(routing, device, torch.float32)
    require_way(implementation, x_TD.to(device))
    ours = answers(layer, x_TD.to(device), there, implementation, upstream_TD.to(device))
    assert ours[0].dtype == dtype
    for a, b in zip(ours, wanted, strict=True):
        # Three products and a gate, each rounded to the dtype.
        assert relative_error(a, b.detach()) <= 4 * RELATIVE[dtype]


@pytest.mark.parametrize("name", ROUTINGS)
def test_a_layer_routes_and_answers_as_on_the_cpu(device: torch.device, name: str) -> None:
    torch.manual_seed(0)
    layer = MoELayer.swiglu(64, 96, ROUTINGS[name], shared_inner=32, gate_shared=True, implementation="loop")
    x = torch.randn(3, 17, 64)
    wanted, routing = layer(x)
    gradients = torch.autograd.grad(wanted.square().sum(), tuple(layer.parameters()))
    layer = layer.to(device)
    layer.implementation = "auto"
    ours, there = layer(x.to(device))
    assert torch.equal(there.experts_TK.cpu(), routing.experts_TK)
    assert relative_error(ours, wanted.detach().double()) <= 2e-5
    for a, b in zip(torch.autograd.grad(ours.square().sum(), tuple(layer.parameters())), gradients, strict=True):
        assert float((a.cpu() - b).abs().max()) <= 1e-4 * max(1.0, float(b.abs().max()))


@contextmanager
def refusing_to_wait() -> Iterator[None]:
    """Anything that waits for the GPU is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ROUTINGS)
@pytest.mark.parametrize(
    ("implementation", "dtype"),
    [
        ("grouped", torch.bfloat16),
        ("auto", torch.bfloat16),
        ("triton", torch.bfloat16),
        ("triton", torch.float32),
        ("auto", torch.float16),
    ],
)
def test_forwards_and_backwards_nothing_waits(
    device: torch.device, implementation: str, dtype: torch.dtype, name: str
) -> None:
    if device.type != "cuda":
        pytest.skip("only a GPU can be waited for")
    config = replace(ROUTINGS[name], check_logits=False)
    layer = MoELayer.swiglu(64, 96, config, shared_inner=32, implementation=implementation).to(device, dtype)
    x = torch.randn(257, 64, device=device, dtype=dtype, requires_grad=True)
    require_way(implementation, x)
    if implementation == "grouped":
        assert takes_grouped_mm(x, layer.experts.gate_up_proj)
    layer(x)[0].sum().backward()  # compiles, and loads libraries
    with refusing_to_wait():
        layer(x)[0].sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("experts", [1, 8, 60])
def test_logits_of_a_bfloat16_router_are_float32(device: torch.device, experts: int) -> None:
    torch.manual_seed(0)
    layer = MoELayer.swiglu(64, 96, RouterConfig(experts, 1)).bfloat16()
    x_TD = torch.randn(211, 64).bfloat16()
    upstream_TE = torch.randn(211, experts)
    wide = [tensor.detach().double().requires_grad_() for tensor in (x_TD, layer.router.weight)]
    reference_TE = wide[0] @ wide[1].t()
    wanted = (reference_TE, *torch.autograd.grad(reference_TE, wide, upstream_TE.double()))
    router, x_TD = layer.router.to(device), x_TD.to(device).requires_grad_()
    logits_TE = router(x_TD).logits_TE
    assert logits_TE.dtype == torch.float32
    mine = (logits_TE, *torch.autograd.grad(logits_TE, (x_TD, router.weight), upstream_TE.to(device)))
    for ours, theirs, bound in zip(mine, wanted, (2e-5, 2**-8, 2**-8), strict=True):
        assert relative_error(ours, theirs.detach()) <= bound
