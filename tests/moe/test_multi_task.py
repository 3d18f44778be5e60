"""Several gates over one bank: the fast path equals the equations, gates see what they should, deletion is exact."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from kb.moe import (
    ModuleExperts,
    MoELayer,
    Router,
    RouterConfig,
    Routing,
    SwiGLUExperts,
    drop_over_capacity,
    run_experts,
)
from kb.moe.deletion import bank_without, extraction_without, layer_without, mixture_without, router_without
from kb.moe.multi_task import (
    ExtractionLayer,
    MultiGateMixture,
    ProgressiveExtraction,
    Rows,
    SharedBottom,
    SingleTasks,
    binary_loss,
    correlated_tasks,
    epochs,
    expert_weights,
    perceptron,
    ranking_quality,
    run_gates,
    widened,
)


def some_bank(experts: int, width: int) -> ModuleExperts:
    return ModuleExperts(perceptron([width, 5, 3], last_relu=True) for _ in range(experts)).double()


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=30, deadline=None)
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


@settings(max_examples=25, deadline=None)
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


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_deleting_an_expert_is_forbidding_it(data: st.DataObject) -> None:
    experts = data.draw(st.integers(2, 6))
    deleted = data.draw(st.sets(st.integers(0, experts - 1), max_size=experts - 1))
    top_k = data.draw(st.integers(1, experts - len(deleted)))
    scoring = data.draw(st.sampled_from(["softmax", "sigmoid"]))
    bias = scoring == "sigmoid" and data.draw(st.booleans())
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    config = RouterConfig(experts, top_k, bias=bias, scoring=scoring)
    if data.draw(st.booleans()):
        layer = MoELayer.swiglu(4, 6, config)
    else:
        layer = MoELayer(Router(4, config), ModuleExperts(perceptron([4, 3], last_relu=True) for _ in range(experts)))
    layer = layer.double()
    if layer.router.bias is not None:
        layer.router.bias.normal_()
    x_TD = torch.randn(6, 4, dtype=torch.float64)
    smaller = layer_without(layer, deleted)
    assert len(smaller.experts) == smaller.router.config.num_experts == experts - len(deleted)
    # By another way: their scores are moved below all others, and their weights never enter.
    routing = layer.router(x_TD)
    scores_TE = routing.scores_TE.clone()
    keys_TE = scores_TE + (0 if layer.router.bias is None else layer.router.bias)
    keys_TE[:, list(deleted)] = -torch.inf
    chosen_TK = keys_TE.topk(top_k).indices
    weights_TK = scores_TE.gather(1, chosen_TK)
    weights_TK = weights_TK / weights_TK.sum(-1, keepdim=True)
    masked = replace(routing, experts_TK=chosen_TK, weights_TK=weights_TK)
    wanted_TD = run_experts(x_TD, layer.experts, masked, implementation="loop")
    torch.testing.assert_close(smaller(x_TD)[0], wanted_TD, rtol=1e-9, atol=1e-11)


def test_a_softmax_that_lost_an_expert_gives_a_bias_less_to_decide() -> None:
    """Scores 0.5, 0.3, 0.2 and a bias of 0.15 for the last one: it wins over 0.3, but not over 0.3 / 0.5."""
    router = Router(1, RouterConfig(3, 1, bias=True))
    router.weight.data = torch.tensor([[0.5], [0.3], [0.2]]).log()
    router.bias = torch.tensor([0.0, 0.0, 0.15])
    smaller = router_without(router, [0])
    x_TD = torch.ones(1, 1)
    assert (router(x_TD).scores_TE + router.bias)[0, 1:].argmax() == 1
    assert smaller(x_TD).experts_TK.tolist() == [[0]]


def test_deletion_leaves_the_model_that_it_came_from() -> None:
    model = MultiGateMixture.perceptrons(4, 2, 5, [3], [2])
    x_TD = torch.randn(6, 4)
    before_TS = model(x_TD)[0]
    smaller = mixture_without(model, [0, 3])
    for parameter in smaller.parameters():
        parameter.data.zero_()
    assert torch.equal(model(x_TD)[0], before_TS)
    assert len(smaller.experts) == 3
    assert router_without(model.gates[0], {4}).weight.shape == (4, 4)
    assert torch.equal(router_without(model.gates[0], {0}).weight, model.gates[0].weight[1:])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_deleting_an_expert_of_ple_is_forbidding_it(data: st.DataObject) -> None:
    specific, shared = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    deleted = data.draw(st.sets(st.integers(0, 2 * specific + shared - 1), max_size=3))
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    last = data.draw(st.booleans())
    own = [[perceptron([4, 3], last_relu=True) for _ in range(specific)] for _ in range(2)]
    layer = ExtractionLayer(4, own, [perceptron([4, 3], last_relu=True) for _ in range(shared)], last=last).double()
    if any(set(layer.members(gate)) <= deleted for gate in range(len(layer.gates))):
        with pytest.raises(ValueError, match="must leave at least one"):
            extraction_without(layer, deleted)
        return
    inputs = torch.randn(3, 5, 4, dtype=torch.float64).unbind()
    outs, routings = layer(inputs)
    smaller_outs, smaller_routings = extraction_without(layer, deleted)(inputs)
    kept = [e for e in range(len(layer.experts)) if e not in deleted]
    for routing, smaller_routing in zip(routings, smaller_routings, strict=True):
        weights_TE = expert_weights(routing)[:, kept]
        weights_TE = weights_TE / weights_TE.sum(-1, keepdim=True)
        torch.testing.assert_close(expert_weights(smaller_routing), weights_TE)
    if not deleted:
        assert all(torch.equal(a, b) for a, b in zip(outs, smaller_outs, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 1.0, float("nan")])), min_size=2, max_size=30))
def test_ranking_quality_is_scikit_learns_auc(rows: list[tuple[int, float]]) -> None:
    score_N1, target_N1 = (torch.tensor(column, dtype=torch.float32)[:, None] for column in zip(*rows, strict=True))
    known_N = ~target_N1[:, 0].isnan()
    if len(set(target_N1[known_N, 0].tolist())) < 2:
        with pytest.raises(ValueError, match="both targets of task 0"):
            ranking_quality(lambda x: (x, ()), Rows(score_N1, target_N1))
        return
    wanted = roc_auc_score(target_N1[known_N, 0], score_N1[known_N, 0])
    assert ranking_quality(lambda x: (x, ()), Rows(score_N1, target_N1)) == [pytest.approx(wanted)]


def test_the_loss_skips_what_is_not_known() -> None:
    logits_BS = torch.tensor([[0.0, 2.0], [1.0, 7.0], [-3.0, -1.0]], requires_grad=True)
    nan = float("nan")
    target_BS = torch.tensor([[1.0, 0.0], [nan, nan], [0.0, nan]])
    loss = binary_loss(lambda x: (x, ()), (logits_BS, target_BS))
    wanted = F.binary_cross_entropy_with_logits(torch.tensor([0.0, -3.0]), torch.tensor([1.0, 0.0]))
    wanted = wanted + F.binary_cross_entropy_with_logits(torch.tensor(2.0), torch.tensor(0.0))
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert (logits_BS.grad == 0).tolist() == [[False, False], [True, True], [False, True]]


def test_epochs_show_each_row_once_and_depend_on_the_seed_alone() -> None:
    rows = Rows(torch.arange(7.0)[:, None], torch.zeros(7, 1))
    first = [x_BD[:, 0].tolist() for x_BD, _ in epochs(rows, 3, 2, seed=1)]
    assert [len(some) for some in first] == [3, 3, 1, 3, 3, 1]
    assert sorted(chain(*first[:3])) == sorted(chain(*first[3:])) == list(range(7))
    assert first[:3] != first[3:]
    assert first == [x_BD[:, 0].tolist() for x_BD, _ in epochs(rows, 3, 2, seed=1)]


def test_top_k_falls_where_fewer_experts_are_left() -> None:
    smaller = layer_without(MoELayer.swiglu(4, 6, RouterConfig(4, 3)), [0, 2])
    assert smaller.router.config.top_k == 2


@settings(max_examples=30, deadline=None)
@given(cosine=st.floats(-1, 1), seed=st.integers(0, 1000))
def test_correlated_tasks_are_as_alike_as_asked(cosine: float, seed: int) -> None:
    x_ND, target_N2 = correlated_tasks(4000, 5, cosine, seed=seed, sines=0, noise=0.0)
    found = float(torch.corrcoef(target_N2.T)[0, 1])  # of linear targets, the cosine is the correlation
    assert abs(found - cosine) < 0.1
    again_ND, again_N2 = correlated_tasks(4000, 5, 1.0, seed=seed, sines=0, noise=0.0)
    assert torch.equal(x_ND, again_ND)
    assert torch.equal(target_N2[:, 0], again_N2[:, 0])
    torch.testing.assert_close(again_N2[:, 0], again_N2[:, 1])


def test_correlated_tasks_follow_the_papers_equation() -> None:
    x_ND, target_N2 = correlated_tasks(500, 3, 0.3, seed=0, sines=0, noise=0.0, scale=2.0)
    directions_D2 = torch.linalg.lstsq(x_ND, target_N2).solution
    torch.testing.assert_close(directions_D2.norm(dim=0), torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(F.cosine_similarity(*directions_D2.T, dim=0), torch.tensor(0.3))
    bent_N2 = correlated_tasks(500, 3, 0.3, seed=0, sines=2, noise=0.0, scale=2.0)[1]
    torch.testing.assert_close(bent_N2, target_N2 + target_N2.sin() + (2 * target_N2).sin())


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
    "all deleted": (lambda: bank_without(BANK, [0, 1]), "must leave at least one"),
    "deleted twice": (lambda: bank_without(BANK, [0, 0]), "deleted must be different experts of 0 to 1"),
    "deleted beyond": (lambda: bank_without(BANK, [2]), "deleted must be different experts of 0 to 1"),
    "groups": (
        lambda: router_without(Router(2, RouterConfig(4, 1, num_groups=2)), [0]),
        "router must have one group",
    ),
    "targets": (lambda: binary_loss(lambda x: (x, ()), (X, X[:2])), r"targets must be \(3, 2\)"),
    "batch": (lambda: epochs(Rows(X, X), 0, 1, seed=0), "batch must be"),
    "epochs' seed": (lambda: epochs(Rows(X, X), 1, 1, seed=None), "seed must be an integer"),  # type: ignore[arg-type]
    "cosine": (lambda: correlated_tasks(9, 3, 1.5, seed=0), "cosine must be a number of -1 to 1"),
    "seed": (lambda: correlated_tasks(9, 3, 0.5, seed=0.5), "seed must be an integer"),  # type: ignore[arg-type]
    "noise": (lambda: correlated_tasks(9, 3, 0.5, seed=0, noise=-1), "noise at least 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
