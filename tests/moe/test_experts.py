"""Experts: every implementation equals the loop in outputs and in every gradient, whatever the routing."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kb.moe import (
    Dispatch,
    ModuleExperts,
    MoELayer,
    Router,
    RouterConfig,
    Routing,
    SwiGLUExperts,
    drop_over_capacity,
    run_experts,
)
from kb.moe.grouped import grouped_linear
from kb.nn import SwiGLU

FAST = ("experts", "grouped", "auto")


@st.composite
def configs(draw: st.DrawFn) -> RouterConfig:
    """Routers that keep all, drop by either order, or let experts choose; often with fewer tokens than experts."""
    experts = draw(st.integers(1, 9))
    choice = draw(st.sampled_from(["token", "token", "expert"]))
    return RouterConfig(
        experts,
        draw(st.integers(1, experts)),
        normalize=draw(st.booleans()),
        choice=choice,
        capacity_factor=draw(st.sampled_from([None, 0.3, 1.0, 1.5])),
        drop=draw(st.sampled_from(["position", "score"])),
    )


def answers(layer: MoELayer, x_TD: Tensor, implementation: str) -> list[Tensor]:
    """The output, and the gradients of the tokens and of every parameter."""
    layer.implementation = implementation
    out_TD, _ = layer(x_TD)
    parameters = list(layer.parameters())
    upstream_TD = torch.linspace(-1, 1, out_TD.numel(), dtype=out_TD.dtype).view_as(out_TD)
    # Without tokens, nothing asks for a gradient of the router.
    gradients = torch.autograd.grad(out_TD, (x_TD, *parameters), upstream_TD, allow_unused=True, materialize_grads=True)
    return [out_TD, *gradients]


def assert_all_equal_the_loop(layer: MoELayer, x_TD: Tensor, fast: tuple[str, ...] = FAST) -> None:
    wanted = answers(layer, x_TD, "loop")
    for implementation in fast:
        for ours, reference in zip(answers(layer, x_TD, implementation), wanted, strict=True):
            torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)


@settings(max_examples=60)
@given(
    config=configs(),
    tokens=st.integers(0, 12),
    width=st.integers(1, 6),
    inner=st.integers(1, 7),
    shared=st.sampled_from([None, 3]),
    gate=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_implementation_equals_the_loop(
    config: RouterConfig, tokens: int, width: int, inner: int, shared: int | None, gate: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = MoELayer.swiglu(width, inner, config, shared_inner=shared, gate_shared=gate and shared is not None)
    x_TD = torch.randn(tokens, width, dtype=torch.float64, requires_grad=True)
    assert_all_equal_the_loop(layer.double(), x_TD)


def routed(experts_TK: list[list[int]], experts: int, kept_TK: list[list[bool]] | None = None) -> Routing:
    """A routing by hand, with weights that need gradients."""
    torch.manual_seed(1)
    chosen = torch.tensor(experts_TK)
    scores_TE = torch.rand(len(chosen), experts, dtype=torch.float64)
    weights_TK = torch.rand(chosen.shape, dtype=torch.float64, requires_grad=True)
    return Routing(chosen, weights_TK, scores_TE, scores_TE, None if kept_TK is None else torch.tensor(kept_TK))


CASES: dict[str, Routing] = {
    "all tokens to one expert": routed([[2], [2], [2]], 4),
    "only the first and the last": routed([[0, 3], [3, 0]], 4),
    "one expert twice": routed([[1, 1], [0, 1]], 2),
    "a token without experts": routed([[0, 1], [1, 2], [2, 0]], 3, [[True, False], [False, False], [True, True]]),
    "nobody is served": routed([[0, 1], [1, 0]], 3, [[False, False], [False, False]]),
    "one is served": replace(routed([[0, 1], [1, 0]], 3, [[False, False], [True, False]]), room=1),
}


@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("name", CASES)
def test_routings_by_hand_equal_the_loop(name: str, implementation: str) -> None:
    routing = CASES[name]
    torch.manual_seed(0)
    bank = SwiGLUExperts(routing.num_experts, 5, 7).double()
    x_TD = torch.randn(len(routing.experts_TK), 5, dtype=torch.float64, requires_grad=True)
    leaves = (x_TD, *bank.parameters(), routing.weights_TK)
    found = []
    for each in ("loop", implementation):
        out_TD = run_experts(x_TD, bank, routing, implementation=each)
        gradients = torch.autograd.grad(out_TD.sin().sum(), leaves, allow_unused=True, materialize_grads=True)
        found.append((out_TD, *gradients))
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("implementation", ["experts", "grouped"])
@pytest.mark.parametrize("tokens", [1, 7, 64, 200])
def test_one_expert_is_the_dense_network_bit_for_bit(tokens: int, implementation: str, dtype: torch.dtype) -> None:
    torch.manual_seed(tokens)
    # Whole cache lines: a matrix product may sum otherwise where rows begin elsewhere in one.
    layer = MoELayer.swiglu(48, 80, RouterConfig(1, 1), implementation=implementation).to(dtype)
    dense = SwiGLU(48, 80).to(dtype)
    with torch.no_grad():
        gate_FD, up_FD = layer.experts.gate_up_proj[0].chunk(2)
        dense.gate_proj.weight.copy_(gate_FD)
        dense.up_proj.weight.copy_(up_FD)
        dense.down_proj.weight.copy_(layer.experts.down_proj[0])
    x = torch.randn(tokens, 48).to(dtype).requires_grad_()
    (ours, _), theirs = layer(x), dense(x)
    assert torch.equal(ours, theirs)
    upstream = torch.randn(tokens, 48).to(dtype)
    weights = (layer.experts.gate_up_proj, layer.experts.down_proj)
    gate_up, down = torch.autograd.grad(ours, weights, upstream)
    gate, up, dense_down = torch.autograd.grad(theirs, tuple(dense.parameters()), upstream)
    assert torch.equal(gate_up[0], torch.cat((gate, up)))
    assert torch.equal(down[0], dense_down)


@settings(max_examples=20)
@given(config=configs(), tokens=st.integers(0, 9), seed=st.integers(0, 2**31))
def test_experts_of_any_kind_and_width_equal_the_loop(config: RouterConfig, tokens: int, seed: int) -> None:
    torch.manual_seed(seed)
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.Linear(4, 3),
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 1, 2), nn.Flatten()),
    ]
    bank = ModuleExperts(kinds[e % 3]() for e in range(config.num_experts))
    layer = MoELayer(Router(4, config), bank, shared=nn.Linear(4, 3)).double()
    x_TD = torch.randn(tokens, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for implementation in ("loop", "experts", "auto"):
        layer.implementation = implementation
        out_TO, _ = layer(x_TD)
        assert out_TO.shape == (tokens, 3)
        leaves = (x_TD, *layer.parameters())
        gradients = torch.autograd.grad(out_TO.sin().sum(), leaves, allow_unused=True, materialize_grads=True)
        found.append((out_TO, *gradients))
    for others in found[1:]:
        for ours, reference in zip(others, found[0], strict=True):
            torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)


@settings(max_examples=40)
@given(
    tokens=st.integers(0, 10),
    experts=st.integers(1, 5),
    data=st.data(),
    capacity=st.sampled_from([None, 0, 1, 3]),
    seed=st.integers(0, 2**31),
)
def test_dispatch_sorts_by_expert_and_keeps_the_order(
    tokens: int, experts: int, data: st.DataObject, capacity: int | None, seed: int
) -> None:
    torch.manual_seed(seed)
    K = data.draw(st.integers(1, experts))
    router = Router(3, RouterConfig(experts, K))
    routing = router(torch.randn(tokens, 3))
    if capacity is not None:
        routing = drop_over_capacity(routing, capacity)
    dispatch = Dispatch.of(routing)
    kept_TK = torch.ones(tokens, K, dtype=torch.bool) if routing.kept_TK is None else routing.kept_TK
    served = [(int(routing.experts_TK[t, k]), t, k) for t in range(tokens) for k in range(K) if kept_TK[t, k]]
    served.sort(key=lambda pair: pair[0])
    assert [(t * K + k) for _, t, k in served] == dispatch.pairs_R[: len(served)].tolist()
    assert dispatch.ends_E.tolist() == [sum(e <= last for e, _, _ in served) for last in range(experts)]
    assert dispatch.full == (len(served) == len(dispatch.pairs_R))
    x_TD = torch.randn(tokens, 3, dtype=torch.float64)
    rows_RD = dispatch.gather(x_TD)
    for row, (_, t, k) in enumerate(served):
        assert int(dispatch.rows_TK[t, k]) == row
        assert torch.equal(rows_RD[row], x_TD[t])
    assert not bool(rows_RD[len(served) :].any())
    back_TD = dispatch.combine(rows_RD, kept_TK.double())
    torch.testing.assert_close(back_TD, x_TD * kept_TK.sum(-1, keepdim=True))


def test_rows_of_nobody_may_hold_anything() -> None:
    routing = drop_over_capacity(CASES["all tokens to one expert"], 2)
    dispatch = Dispatch.of(routing)
    rows_RD = dispatch.gather(torch.ones(3, 2, dtype=torch.float64))
    rows_RD[2:] = torch.nan
    rows_RD.requires_grad_()
    out_TD = dispatch.combine(rows_RD, routing.weights_TK.detach())
    out_TD.sum().backward()
    assert torch.isfinite(out_TD).all()
    assert rows_RD.grad is not None
    assert torch.isfinite(rows_RD.grad).all()


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no grouped_mm")
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_run_by_run_equals_grouped_mm(dtype: torch.dtype, relative: float) -> None:
    torch.manual_seed(0)
    ends_E = torch.tensor([3, 3, 11], dtype=torch.int32)
    x_PI, weight_EOI = torch.randn(11, 16).to(dtype).requires_grad_(), torch.randn(3, 24, 16).to(dtype).requires_grad_()
    upstream_PO = torch.randn(11, 24).to(dtype)
    ours = torch.cat(grouped_linear(x_PI, weight_EOI, ends_E, parts=2), dim=1)
    theirs = F.grouped_mm(x_PI, weight_EOI.transpose(1, 2), offs=ends_E)
    gradients = [torch.autograd.grad(out, (x_PI, weight_EOI), upstream_PO) for out in (ours, theirs)]
    for mine, reference in zip((ours, *gradients[0]), (theirs, *gradients[1]), strict=True):
        assert float((mine - reference).abs().max().detach()) <= relative * float(reference.abs().max().detach())


def test_gradients_of_gradients_are_refused_but_in_the_loop() -> None:
    layer = MoELayer.swiglu(4, 5, RouterConfig(3, 2))
    x = torch.randn(6, 4, requires_grad=True)
    for implementation in ("grouped", "loop"):
        with nullcontext() if implementation == "loop" else pytest.raises(RuntimeError, match="implementation='loop'"):
            layer.implementation = implementation
            (first,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
            first.square().sum().backward()


def test_the_shape_of_the_input_is_kept_and_the_routing_is_of_its_tokens() -> None:
    layer = MoELayer.swiglu(4, 5, RouterConfig(3, 2))
    out, routing = layer(torch.randn(2, 7, 4))
    assert out.shape == (2, 7, 4)
    assert routing.experts_TK.shape == (14, 2)
    assert layer(torch.randn(4))[0].shape == (4,)
    assert layer(torch.randn(0, 3, 4))[0].shape == (0, 3, 4)


def test_an_expert_starts_as_a_dense_network_does() -> None:
    torch.manual_seed(0)
    bank, dense = SwiGLUExperts(64, 50, 70), SwiGLU(50, 70)
    for fused, linear in ((bank.gate_up_proj, dense.gate_proj), (bank.down_proj, dense.down_proj)):
        bound = linear.in_features**-0.5
        assert float(linear.weight.abs().max()) <= bound
        assert float(fused.abs().max()) <= bound
        assert float(fused.std()) == pytest.approx(bound / 3**0.5, rel=0.01)


def refused(message: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call(*arguments, **named)


def test_refuses_what_does_not_fit() -> None:
    config = RouterConfig(3, 2)
    bank, router, x_TD = SwiGLUExperts(3, 4, 5), Router(4, config), torch.randn(6, 4)
    routing = router(x_TD)
    refused("magic.*loop", run_experts, x_TD, bank, routing, implementation="magic")
    refused(r"\[6, D\].*\(5, 4\)", run_experts, x_TD[:5], bank, routing)
    refused("3 experts.*has 4", run_experts, x_TD, SwiGLUExperts(4, 4, 5), routing)
    refused("SwiGLUExperts.*ModuleExperts", run_experts, x_TD, _linears(3), routing, implementation="grouped")
    refused(r"\[P, I\]", run_experts, torch.randn(6, 7), bank, routing)
    refused("float64.*float32", run_experts, x_TD.double(), bank, routing, implementation="grouped")
    refused("triton.*CUDA", run_experts, x_TD.double(), bank.double(), routing, implementation="triton")
    refused("knows 3 experts.*4", MoELayer, router, _linears(4))
    refused("magic", MoELayer, router, _linears(3), implementation="magic")
    refused("shared_gate", MoELayer, router, _linears(3), shared_gate=nn.Linear(4, 1))
    refused("shared_inner", MoELayer.swiglu, 4, 5, config, shared_inner=0)
    refused("at least one expert", ModuleExperts, [])
    refused("inner", SwiGLUExperts, 3, 4, 0)
    refused("swoosh", SwiGLUExperts, 3, 4, 5, activation="swoosh")
    refused(r"\[T, 4\].*\(\)", MoELayer(router, bank), torch.tensor(1.0))


def test_refuses_products_that_do_not_fit() -> None:
    x_PI, weight_EOI, ends_E = torch.randn(6, 4), torch.randn(2, 3, 4), torch.tensor([2, 6], dtype=torch.int32)
    refused("sideways", grouped_linear, x_PI, weight_EOI, ends_E, way="sideways")
    refused(r"\(2, 3, 5\)", grouped_linear, x_PI, torch.randn(2, 3, 5), ends_E)
    refused(r"\(1,\)", grouped_linear, x_PI, weight_EOI, ends_E[:1])
    refused("int64", grouped_linear, x_PI, weight_EOI, ends_E.long())
    refused("multiple of 2", grouped_linear, x_PI, weight_EOI, ends_E, parts=2)
    refused("parts", grouped_linear, x_PI, weight_EOI, ends_E, parts=0)
    refused("at least one expert", grouped_linear, x_PI, weight_EOI[:0], ends_E[:0])


def _linears(experts: int) -> ModuleExperts:
    return ModuleExperts(nn.Linear(4, 4) for _ in range(experts))
