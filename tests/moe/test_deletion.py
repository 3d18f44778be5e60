"""Models without some of their experts: to delete one is to forbid it, and the model it came from stays."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kb.lm import ModelConfig
from kb.moe import (
    ModuleExperts,
    MoELayer,
    Router,
    RouterConfig,
    SwiGLUExperts,
    run_experts,
)
from kb.moe.deletion import (
    bank_without,
    extraction_without,
    language_model_without,
    layer_without,
    mixture_without,
    router_without,
)
from kb.moe.language_model import moe_language_model, moe_layers
from kb.moe.multi_task import (
    ExtractionLayer,
    MultiGateMixture,
    expert_weights,
    perceptron,
)
from kb.training import initialize

CONFIG = ModelConfig(
    vocab_size=11,
    hidden_size=8,
    intermediate_size=12,
    num_layers=3,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    max_positions=16,
)


def test_experts_are_deleted_from_the_layers_that_have_some() -> None:
    model = moe_language_model(CONFIG, RouterConfig(4, 2), dense_layers=1)
    initialize(model, seed=0, std=0.5)
    tokens_BT = torch.randint(11, (2, 7), generator=torch.Generator().manual_seed(0))
    smaller = language_model_without(model, {1: [0, 3]})
    assert [len(layer.experts) for layer in moe_layers(smaller)] == [4, 2]
    first, last = moe_layers(smaller)
    assert torch.equal(last.experts.gate_up_proj, moe_layers(model)[1].experts.gate_up_proj[[1, 2]])
    assert torch.equal(first.experts.gate_up_proj, moe_layers(model)[0].experts.gate_up_proj)
    assert not torch.equal(smaller(tokens_BT), model(tokens_BT))
    assert torch.equal(language_model_without(model, {0: []})(tokens_BT), model(tokens_BT))


def test_a_layer_that_is_not_there_is_named() -> None:
    model = moe_language_model(CONFIG, RouterConfig(4, 2), dense_layers=1)
    with pytest.raises(ValueError, match="layers of 0 to 1"):
        language_model_without(model, {2: [0]})


@settings(max_examples=50)
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


def test_an_mmoe_without_an_expert_is_its_sum_over_the_others() -> None:
    torch.manual_seed(0)
    model = MultiGateMixture.perceptrons(4, 2, 5, [3], [2]).double()
    x_TD, kept = torch.randn(6, 4, dtype=torch.float64), [1, 2, 4]
    outs_TEO = torch.stack([model.experts.experts[e](x_TD) for e in kept], 1)
    columns = []
    for gate, tower in zip(model.gates, model.towers, strict=True):
        weights_TE = (x_TD @ gate.weight.T)[:, kept].softmax(-1)
        columns.append(tower(torch.einsum("te,teo->to", weights_TE, outs_TEO)))
    torch.testing.assert_close(mixture_without(model, [0, 3])(x_TD)[0], torch.cat(columns, 1))


def test_the_noise_of_a_router_goes_with_its_experts() -> None:
    router = Router(3, RouterConfig(4, 2, noisy=True))
    router.noise_weight.data.normal_()
    assert torch.equal(router_without(router, [0, 2]).noise_weight, router.noise_weight[[1, 3]])


@settings(max_examples=30)
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


def test_top_k_falls_where_fewer_experts_are_left() -> None:
    smaller = layer_without(MoELayer.swiglu(4, 6, RouterConfig(4, 3)), [0, 2])
    assert smaller.router.config.top_k == 2


BANK = ModuleExperts([nn.Identity(), nn.Identity()])
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "all deleted": (lambda: bank_without(BANK, [0, 1]), "must leave at least one"),
    "deleted twice": (lambda: bank_without(BANK, [0, 0]), "deleted must be different experts of 0 to 1"),
    "deleted beyond": (lambda: bank_without(BANK, [2]), "deleted must be different experts of 0 to 1"),
    "groups": (
        lambda: router_without(Router(2, RouterConfig(4, 1, num_groups=2)), [0]),
        "router must have one group",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_smaller_router_keeps_each_dtype_and_what_is_frozen() -> None:
    router = Router(3, RouterConfig(4, 2, bias=True)).requires_grad_(False)
    router.weight.data = router.weight.data.bfloat16()
    router.bias.copy_(torch.tensor([0.1001, 0.2, 0.3, 0.4]))
    smaller = router_without(router, [2])
    assert (smaller.weight.dtype, smaller.bias.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(smaller.bias, router.bias[[0, 1, 3]])
    assert not smaller.weight.requires_grad
    bank = SwiGLUExperts(3, 2, 4).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in bank_without(bank, [0]).parameters())
