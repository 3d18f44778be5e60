"""Several gates over one bank: the fast path equals the equations, gates see what they should."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kb.moe import (
    ModuleExperts,
    Router,
    RouterConfig,
    Routing,
    SwiGLUExperts,
    drop_over_capacity,
    route,
    run_experts,
)
from kb.moe.multi_task import (
    ExtractionLayer,
    MultiGateMixture,
    ProgressiveExtraction,
    SharedBottom,
    SingleTasks,
    expert_weights,
    perceptron,
    run_gates,
    widened,
)


def some_bank(experts: int, width: int) -> ModuleExperts:
    return ModuleExperts(perceptron([width, 5, 3], last_relu=True) for _ in range(experts)).double()


@settings(max_examples=60)
@given(
    rows=st.integers(0, 7),
    experts=st.integers(1, 6),
    gates=st.integers(1, 3),
    top_k=st.integers(1, 6),
    capacity=st.sampled_from([None, 0, 1, 3]),
    own_inputs=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_experts_run_once_give_what_the_equations_say(
    rows: int, experts: int, gates: int, top_k: int, capacity: int | None, own_inputs: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    bank, width = some_bank(experts, 4), 4
    inputs = [torch.randn(rows, width, dtype=torch.float64, requires_grad=True) for _ in range(experts)]
    if not own_inputs:
        inputs = inputs[:1] * experts
    routers = [Router(width, RouterConfig(experts, min(top_k, experts))).double() for _ in range(gates)]
    leaves = [*dict.fromkeys(inputs), *bank.parameters(), *(router.weight for router in routers)]

    def answer(implementation: str) -> list[Tensor]:
        routings: list[Routing] = [router(inputs[0]) for router in routers]
        if capacity is not None:
            routings = [drop_over_capacity(routing, capacity) for routing in routings]
        outs = run_gates(inputs, bank, routings, implementation=implementation)
        assert [out.shape for out in outs] == [(rows, 3)] * gates
        total = sum(
            (out * torch.arange(1.0, 1 + out.numel()).view_as(out)).sum() * (s + 1) for s, out in enumerate(outs)
        )
        found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        return [*outs, *found]

    for ours, wanted in zip(answer("shared"), answer("loop"), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)


@settings(max_examples=30)
@given(experts=st.integers(1, 6), top_k=st.integers(1, 6), swiglu=st.booleans(), seed=st.integers(0, 2**31))
def test_each_gate_is_a_language_models_layer(experts: int, top_k: int, swiglu: bool, seed: int) -> None:
    torch.manual_seed(seed)
    bank = SwiGLUExperts(experts, 4, 6).double() if swiglu else some_bank(experts, 4)
    x_TD = torch.randn(5, 4, dtype=torch.float64)
    routings = [Router(4, RouterConfig(experts, min(top_k, experts))).double()(x_TD) for _ in range(2)]
    outs = run_gates([x_TD] * experts, bank, routings)
    for out_TO, routing in zip(outs, routings, strict=True):
        for implementation in ("auto", "loop"):
            wanted_TO = run_experts(x_TD, bank, routing, implementation=implementation)
            torch.testing.assert_close(out_TO, wanted_TO, rtol=1e-10, atol=1e-12)


def test_an_expert_that_no_gate_chose_is_not_run() -> None:
    class Refusing(nn.Module):
        def forward(self, x_TD: Tensor) -> Tensor:
            assert len(x_TD) == 0
            return x_TD

    bank = ModuleExperts([nn.Identity(), Refusing()])
    weight_TK = torch.ones(3, 1)
    routing = Routing(torch.zeros(3, 1, dtype=torch.int64), weight_TK, torch.zeros(3, 2), torch.zeros(3, 2))
    x_TD = torch.randn(3, 2)
    (out_TD,) = run_gates([x_TD, x_TD], bank, [routing])
    assert torch.equal(out_TD, x_TD)


def test_mmoe_on_paper() -> None:
    """Two experts, x and 10 x, two gates with weights 3/4, 1/4 and 1/4, 3/4 at x = 1: 3.25 and 7.75."""
    ten = nn.Linear(1, 1, bias=False)
    ten.weight.data.fill_(10.0)
    gates = [Router(1, RouterConfig(2, 2)) for _ in range(2)]
    gates[0].weight.data = torch.tensor([[3.0], [1.0]]).log()
    gates[1].weight.data = torch.tensor([[1.0], [3.0]]).log()
    model = MultiGateMixture(ModuleExperts([nn.Identity(), ten]), gates, [nn.Identity(), nn.Identity()])
    out_TS, routings = model(torch.ones(1, 1))
    torch.testing.assert_close(out_TS, torch.tensor([[3.25, 7.75]]))
    torch.testing.assert_close(expert_weights(routings[1]), torch.tensor([[0.25, 0.75]]))


def test_mmoe_is_written_out_by_torch() -> None:
    torch.manual_seed(0)
    model = MultiGateMixture.perceptrons(6, 3, 4, [8, 5], [7])
    x_TD = torch.randn(9, 6)
    stacked_TEO = torch.stack([expert(x_TD) for expert in model.experts.experts], 1)
    for s, (gate, tower) in enumerate(zip(model.gates, model.towers, strict=True)):
        gate_TE = F.softmax(x_TD @ gate.weight.T, -1)
        wanted_T1 = tower(torch.einsum("te,teo->to", gate_TE, stacked_TEO))
        torch.testing.assert_close(model(x_TD)[0][:, s : s + 1], wanted_T1)


def test_one_expert_is_a_shared_bottom_exactly() -> None:
    mixture = MultiGateMixture.perceptrons(6, 2, 1, [8, 5], [7])
    bottom = SharedBottom(mixture.experts.experts[0], mixture.towers)
    x_TD = torch.randn(9, 6)
    assert torch.equal(mixture(x_TD)[0], bottom(x_TD)[0])
    assert bottom(x_TD)[1] == ()


def test_single_tasks_share_nothing() -> None:
    model = SingleTasks([perceptron([4, 3, 1], last_relu=False) for _ in range(2)])
    out_TS, _ = model(torch.randn(5, 4))
    out_TS[:, 0].sum().backward()
    touched = [any(bool(parameter.grad.any()) for parameter in net.parameters()) for net in model.networks]
    assert touched == [True, False]


def ple_written_out(model: ProgressiveExtraction, x_TD: Tensor) -> Tensor:
    """Tang et al., the equations of section 4, without a bank or a router."""
    tasks = len(model.towers)
    read = [x_TD] * (tasks + 1)
    for layer in model.layers:
        outs = [expert(read[owner]) for expert, owner in zip(layer.experts.experts, layer.owners, strict=True)]
        mixed = []
        for number, gate in enumerate(layer.gates):
            seen = [outs[e] for e, owner in enumerate(layer.owners) if number == tasks or owner in (number, tasks)]
            mixed.append(torch.einsum("te,eto->to", F.softmax(read[number] @ gate.weight.T, -1), torch.stack(seen)))
        read = mixed
    return torch.cat([tower(x_TO) for tower, x_TO in zip(model.towers, read, strict=False)], 1)


@settings(max_examples=25)
@given(
    tasks=st.integers(1, 3),
    specific=st.integers(1, 3),
    shared=st.integers(1, 3),
    layers=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_ple_is_its_equations(tasks: int, specific: int, shared: int, layers: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = ProgressiveExtraction.perceptrons(4, tasks, specific, shared, [6, 5], [3], num_layers=layers).double()
    x_TD = torch.randn(7, 4, dtype=torch.float64)
    answers = []
    for run in (lambda: model(x_TD)[0], lambda: ple_written_out(model, x_TD)):
        out_TS = run()
        gradients = torch.autograd.grad(out_TS.square().sum(), list(model.parameters()))
        answers.append([out_TS, *gradients])
    for ours, wanted in zip(*answers, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-11)


def test_a_tasks_loss_leaves_another_tasks_experts_alone_in_the_last_layer_only() -> None:
    torch.manual_seed(0)
    model = ProgressiveExtraction.perceptrons(4, 2, 1, 1, [5], [3], num_layers=2)
    model(torch.randn(64, 4))[0][:, 0].sum().backward()
    first, last = model.layers

    def touched(layer: nn.Module) -> list[bool]:
        return [bool(expert[0].weight.grad.any()) for expert in layer.experts.experts]

    assert touched(last) == [True, False, True]
    assert touched(first) == [True, True, True]  # through the gate of what is shared, which sees all


def test_the_routing_of_a_gate_that_sees_some_experts_is_zero_elsewhere() -> None:
    routing = Router(3, RouterConfig(2, 2))(torch.randn(4, 3))
    wide = widened(routing, torch.tensor([3, 1]), 5)
    weights_TE = expert_weights(wide)
    torch.testing.assert_close(weights_TE[:, [3, 1]], expert_weights(routing))
    assert not weights_TE[:, [0, 2, 4]].any()
    torch.testing.assert_close(wide.logits_TE.softmax(-1), weights_TE)


def routing_of(rows: int, experts: int) -> Routing:
    return Router(2, RouterConfig(experts, experts))(torch.ones(rows, 2))


X, BANK = torch.ones(3, 2), ModuleExperts([nn.Identity(), nn.Identity()])
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "way": (lambda: run_gates([X, X], BANK, [routing_of(3, 2)], implementation="fast"), "implementation 'fast'"),
    "no gate": (lambda: run_gates([X, X], BANK, []), "routings must hold at least one"),
    "inputs": (lambda: run_gates([X], BANK, [routing_of(3, 2)]), "inputs must be one for each of the 2"),
    "rows": (lambda: run_gates([X, X[:2]], BANK, [routing_of(3, 2)]), r"inputs must be \[3, D\]"),
    "experts": (lambda: run_gates([X, X], BANK, [routing_of(3, 4)]), "routings must be of 3 rows to 2 experts"),
    "member twice": (lambda: widened(routing_of(3, 2), torch.tensor([1, 1]), 4), "members must be 2 different"),
    "member beyond": (lambda: widened(routing_of(3, 2), torch.tensor([0, 4]), 4), "members must be 2 different"),
    "one size": (lambda: perceptron([3], last_relu=True), "sizes must be at least two"),
    "size": (lambda: perceptron([3, 0], last_relu=True), "sizes must be an integer of at least 1"),
    "towers": (lambda: MultiGateMixture(BANK, [Router(2, RouterConfig(2, 2))], []), "gates and towers must be one"),
    "gate": (lambda: MultiGateMixture(BANK, [Router(2, RouterConfig(3, 2))], [nn.Identity()]), "to 2 experts"),
    "tower": (lambda: SharedBottom(nn.Identity(), [nn.Identity()])(X), r"towers must give \[3, 1\]"),
    "no tower": (lambda: SharedBottom(nn.Identity(), []), "towers must hold at least one"),
    "no network": (lambda: SingleTasks([]), "networks must hold at least one"),
    "tasks": (lambda: MultiGateMixture.perceptrons(2, 0, 2, [3], [2]), "tasks must be"),
    "top_k": (lambda: MultiGateMixture.perceptrons(2, 1, 2, [3], [2], top_k=3), "top_k 3 is more"),
    "no own": (lambda: ExtractionLayer(2, [[]], [nn.Identity()], last=True), "each task and the shared part"),
    "no shared": (lambda: ExtractionLayer(2, [[nn.Identity()]], [], last=True), "each task and the shared part"),
    "layer inputs": (
        lambda: ExtractionLayer(2, [[nn.Identity()]], [nn.Identity()], last=True)([X]),
        "inputs must be 2",
    ),
    "no layer": (lambda: ProgressiveExtraction([], [nn.Identity()]), "layers for 1 towers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_what_an_expert_of_another_task_gives_may_be_infinite() -> None:
    class Endless(nn.Module):
        def forward(self, x_ND: Tensor) -> Tensor:
            return x_ND / 0

    bank = ModuleExperts([nn.Identity(), Endless()])
    logits_TE = torch.tensor([[0.0, -9.0], [0.0, -9.0]])
    routings = [route(logits_TE, RouterConfig(2, 1)), route(-logits_TE, RouterConfig(2, 1))]
    x_TD = torch.ones(2, 3, requires_grad=True)
    for way in ("shared", "loop"):
        ours, theirs = run_gates([x_TD] * 2, bank, routings, implementation=way)
        assert torch.equal(ours, x_TD)
        assert bool(theirs.isinf().all())
