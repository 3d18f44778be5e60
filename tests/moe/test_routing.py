"""Routing: the choice against plain loops over tokens, groups, capacity and noise; bad configurations."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.moe import Router, RouterConfig, Routing, drop_over_capacity, expert_load, route


@st.composite
def configs(draw: st.DrawFn) -> RouterConfig:
    """Any configuration in which tokens choose and none is dropped."""
    groups, size = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    top_groups = draw(st.integers(1, groups))
    scoring = draw(st.sampled_from(["softmax", "sigmoid"]))
    normalize = draw(st.booleans())
    return RouterConfig(
        groups * size,
        draw(st.integers(1, top_groups * size)),
        scoring=scoring,
        normalize=normalize,
        softmax_after_top_k=draw(st.booleans()) and scoring == "softmax" and normalize,
        num_groups=groups,
        top_groups=top_groups,
        group_score=draw(st.sampled_from(["max", "top2"])) if size > 1 else "max",
        scale=draw(st.sampled_from([1.0, 2.5])),
        bias=draw(st.booleans()),
    )


def choice_of_one(logits: list[float], config: RouterConfig, bias: list[float]) -> dict[int, float]:
    """Reference: the experts of one token and their weights, in plain Python."""
    if config.scoring == "softmax":
        exponentials = [math.exp(logit - max(logits)) for logit in logits]
        scores = [each / sum(exponentials) for each in exponentials]
    else:
        scores = [1 / (1 + math.exp(-logit)) for logit in logits]
    keys = [score + extra for score, extra in zip(scores, bias, strict=True)]
    size = len(logits) // config.num_groups
    groups = [range(g * size, (g + 1) * size) for g in range(config.num_groups)]
    taken = 1 if config.group_score == "max" else 2
    groups.sort(key=lambda group: -sum(sorted((keys[e] for e in group), reverse=True)[:taken]))
    allowed = [e for group in groups[: config.top_groups] for e in group]
    chosen = sorted(allowed, key=lambda e: -keys[e])[: config.top_k]
    total = sum(scores[e] for e in chosen) if config.normalize else 1.0
    return {e: config.scale * scores[e] / total for e in chosen}


@settings(max_examples=60)
@given(config=configs(), tokens=st.integers(0, 6), seed=st.integers(0, 2**31))
def test_choices_and_weights_equal_a_loop(config: RouterConfig, tokens: int, seed: int) -> None:
    torch.manual_seed(seed)
    logits_TE = torch.randn(tokens, config.num_experts, dtype=torch.float64)
    bias_E = torch.randn(config.num_experts, dtype=torch.float64) if config.bias else None
    routing = route(logits_TE, config, bias_E)
    assert routing.experts_TK.shape == routing.weights_TK.shape == (tokens, config.top_k)
    assert routing.kept_TK is None
    extra = [0.0] * config.num_experts if bias_E is None else bias_E.tolist()
    for t in range(tokens):
        wanted = choice_of_one(logits_TE[t].tolist(), config, extra)
        found = dict(zip(routing.experts_TK[t].tolist(), routing.weights_TK[t].tolist(), strict=True))
        assert found.keys() == wanted.keys()
        assert found == pytest.approx(wanted, rel=1e-9)


def test_softmax_before_and_after_the_choice_are_the_same() -> None:
    logits_TE = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    before, after = (route(logits_TE, RouterConfig(8, 3, softmax_after_top_k=after)) for after in (False, True))
    assert torch.equal(before.experts_TK, after.experts_TK)
    torch.testing.assert_close(before.weights_TK, after.weights_TK, rtol=1e-12, atol=0)
    upstream = torch.randn(50, 3, dtype=torch.float64)
    gradients = [torch.autograd.grad(each.weights_TK, logits_TE, upstream)[0] for each in (before, after)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_the_bias_moves_the_choice_and_is_in_no_weight() -> None:
    config = RouterConfig(4, 1, scoring="sigmoid", normalize=False, bias=True)
    logits_TE = torch.zeros(3, 4)
    routing = route(logits_TE, config, torch.tensor([0.0, 0.0, 7.0, 0.0]))
    assert routing.experts_TK.tolist() == [[2]] * 3
    assert routing.weights_TK.tolist() == [[0.5]] * 3
    router = Router(6, config)
    assert "bias" in router.state_dict()
    assert [name for name, _ in router.named_parameters()] == ["weight"]


def kept_by_loop(routing: Routing, capacity: int, by: str) -> list[list[bool]]:
    """Reference: seats given out one by one."""
    T, K = routing.experts_TK.shape
    pairs = [(t, k) for k in range(K) for t in range(T)]
    if by == "score":
        pairs.sort(key=lambda pair: -float(routing.weights_TK[pair]))
    seats = [capacity] * routing.num_experts
    kept = [[False] * K for _ in range(T)]
    for t, k in pairs:
        e = int(routing.experts_TK[t, k])
        if (routing.kept_TK is None or bool(routing.kept_TK[t, k])) and seats[e] > 0:
            seats[e] -= 1
            kept[t][k] = True
    return kept


@settings(max_examples=40)
@given(
    tokens=st.integers(0, 12),
    experts=st.integers(1, 5),
    data=st.data(),
    by=st.sampled_from(["position", "score"]),
    same=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_dropping_equals_seats_given_out_one_by_one(
    tokens: int, experts: int, data: st.DataObject, by: str, same: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    logits_TE = torch.zeros(tokens, experts) if same else torch.randn(tokens, experts)
    routing = route(logits_TE, RouterConfig(experts, data.draw(st.integers(1, experts))))
    capacities = data.draw(st.lists(st.integers(0, tokens), min_size=1, max_size=2), "capacities")
    for capacity in capacities:  # the second drops of what the first has left
        wanted = kept_by_loop(routing, capacity, by)
        dropped = drop_over_capacity(routing, capacity, by=by)
        assert dropped.kept_TK is not None
        assert dropped.kept_TK.tolist() == wanted
        assert torch.equal(dropped.weights_TK, routing.weights_TK * dropped.kept_TK)
        assert int(dropped.kept_TK.sum()) <= dropped.most_kept <= min(routing.most_kept, capacity * experts)
        routing = dropped


def test_capacity_is_a_share_of_the_even_load() -> None:
    assert RouterConfig(8, 2).capacity(100) is None
    assert RouterConfig(8, 2, capacity_factor=1.0).capacity(100) == 25
    assert RouterConfig(8, 2, capacity_factor=1.25).capacity(101) == 32
    assert RouterConfig(8, 2, capacity_factor=100.0).capacity(3) == 3
    assert RouterConfig(8, 2, choice="expert").capacity(100) == 25


@pytest.mark.parametrize("normalize", [False, True])
def test_experts_take_the_tokens_that_score_highest(normalize: bool) -> None:
    torch.manual_seed(0)
    logits_TE = torch.randn(10, 4, dtype=torch.float64)
    routing = route(logits_TE, RouterConfig(4, 2, choice="expert", normalize=normalize, scale=2.5))
    assert routing.kept_TK is not None
    assert expert_load(routing, served=True).tolist() == [5] * 4
    assert routing.most_kept == 20
    kept_TE = torch.zeros(10, 4, dtype=torch.bool)
    for e in range(4):
        kept_TE[sorted(range(10), key=lambda t: -float(routing.scores_TE[t, e]))[:5], e] = True
    assert torch.equal(routing.kept_TK, kept_TE)
    wanted = routing.scores_TE * kept_TE
    if normalize:
        wanted = torch.where(wanted.sum(-1, keepdim=True) > 0, wanted / wanted.sum(-1, keepdim=True), 0)
    torch.testing.assert_close(routing.weights_TK, 2.5 * wanted, rtol=1e-12, atol=1e-12)


def test_noise_only_while_training_and_its_size_is_learned() -> None:
    torch.manual_seed(0)
    router = Router(6, RouterConfig(5, 2, noisy=True))
    x_TD = torch.randn(4000, 6)
    clean_TE = x_TD @ router.weight.t()
    router.eval()
    torch.testing.assert_close(router(x_TD).logits_TE, clean_TE)
    router.train()
    noise_TE = router(x_TD).logits_TE - clean_TE
    assert float(noise_TE.detach().std()) == pytest.approx(math.log(2), rel=0.02)
    router(x_TD).logits_TE.square().sum().backward()
    assert router.noise_weight is not None
    assert router.noise_weight.grad is not None
    assert bool(router.noise_weight.grad.any())
    # One number for each expert, of a size that the second matrix learns: softplus of its product with the token.
    assert float(torch.corrcoef(noise_TE.detach().t())[0, 1].abs()) < 0.1
    with torch.no_grad():
        router.noise_weight[:, 0] = torch.linspace(-2, 2, 5)
    alike_TD = torch.tensor([1.0, 0, 0, 0, 0, 0]).expand(20_000, 6)
    spread_E = (router(alike_TD).logits_TE - router.weight[:, 0]).detach().std(0)
    torch.testing.assert_close(spread_E, torch.nn.functional.softplus(torch.linspace(-2, 2, 5)), rtol=0.05, atol=0)


def test_a_router_starts_with_logits_of_size_one() -> None:
    torch.manual_seed(0)
    router = Router(400, RouterConfig(50, 2))
    assert float(router(torch.randn(200, 400)).logits_TE.detach().std()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("in_float32", "dtype"), [(True, torch.bfloat16), (False, torch.bfloat16), (True, torch.float64)]
)
def test_scores_are_at_least_float32(in_float32: bool, dtype: torch.dtype) -> None:
    router = Router(64, RouterConfig(5, 2, logits_in_float32=in_float32)).to(dtype)
    x_TD = torch.randn(30, 64).to(dtype)
    routing = router(x_TD)
    wide = torch.promote_types(dtype, torch.float32)
    assert routing.scores_TE.dtype == routing.weights_TK.dtype == wide
    exact_TE = x_TD.double() @ router.weight.double().t()
    error = float((routing.logits_TE - exact_TE).abs().max())
    assert (error < 1e-5) == in_float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_experts": 4, "top_k": 5}, "top_k 5"),
        ({"num_experts": 0, "top_k": 1}, "num_experts"),
        ({"num_experts": 4, "top_k": True}, "top_k"),
        ({"num_experts": 4, "top_k": 2, "scoring": "tanh"}, "tanh"),
        ({"num_experts": 4, "top_k": 2, "num_groups": 3}, "num_groups 3"),
        ({"num_experts": 4, "top_k": 2, "num_groups": 2, "top_groups": 3}, "top_groups 3"),
        ({"num_experts": 8, "top_k": 3, "num_groups": 4}, "top_k 3"),
        ({"num_experts": 4, "top_k": 2, "num_groups": 4, "top_groups": 2, "group_score": "top2"}, "top2"),
        ({"num_experts": 4, "top_k": 2, "group_score": "mean"}, "mean"),
        ({"num_experts": 4, "top_k": 2, "scale": math.nan}, "scale"),
        ({"num_experts": 4, "top_k": 2, "capacity_factor": -1.0}, "capacity_factor"),
        ({"num_experts": 4, "top_k": 2, "drop": "random"}, "random"),
        ({"num_experts": 4, "top_k": 2, "choice": "nobody"}, "nobody"),
        ({"num_experts": 4, "top_k": 2, "softmax_after_top_k": True, "scoring": "sigmoid"}, "softmax_after_top_k"),
        ({"num_experts": 4, "top_k": 2, "softmax_after_top_k": True, "normalize": False}, "softmax_after_top_k"),
        ({"num_experts": 4, "top_k": 2, "choice": "expert", "bias": True}, "no bias"),
    ],
)
def test_refuses_a_bad_configuration(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RouterConfig(**arguments)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_logits_that_are_not_finite(bad: float) -> None:
    router = Router(6, RouterConfig(4, 2))
    x_TD = torch.randn(5, 6)
    x_TD[3, 2] = bad
    with pytest.raises(ValueError, match="not finite"):
        router(x_TD)


def make_routing(experts_TK: Tensor, **others: Any) -> Routing:
    T, K = experts_TK.shape
    fields = {"weights_TK": torch.ones(T, K), "logits_TE": torch.ones(T, 4), "scores_TE": torch.ones(T, 4)} | others
    return Routing(experts_TK, **fields)


def test_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\[T, 6\].*\(5, 7\)"):
        Router(6, RouterConfig(4, 2))(torch.randn(5, 7))
    with pytest.raises(ValueError, match=r"\[T, 4\].*\(5, 3\)"):
        route(torch.randn(5, 3), RouterConfig(4, 2))
    experts_TK = torch.zeros(3, 2, dtype=torch.int64)
    routing = make_routing(experts_TK)
    for bad in (
        {"weights_TK": torch.ones(3, 1)},
        {"logits_TE": torch.ones(3, 5)},
        {"scores_TE": torch.ones(2, 4)},
        {"kept_TK": torch.ones(3, 1, dtype=torch.bool)},
    ):
        with pytest.raises(ValueError, match="wanted experts"):
            make_routing(experts_TK, **bad)
    with pytest.raises(ValueError, match="int32"):
        make_routing(experts_TK.int())
    with pytest.raises(ValueError, match="room"):
        make_routing(experts_TK, room=-1)
    with pytest.raises(ValueError, match=r"6 pairs.*room for 5"):
        make_routing(experts_TK, room=5)
    for strange in (-1, 4):
        with pytest.raises(ValueError, match=f"0 to 3.*{strange}"):
            make_routing(torch.where(torch.arange(6).view(3, 2) == 2, strange, experts_TK))
    with pytest.raises(ValueError, match="capacity"):
        drop_over_capacity(routing, -1)
    with pytest.raises(ValueError, match="sideways"):
        drop_over_capacity(routing, 1, by="sideways")


def test_room_is_counted_with_the_factor_as_it_is_written() -> None:
    assert RouterConfig(5, 2, capacity_factor=1.1).capacity(25) == 11
    assert RouterConfig(4, 1, capacity_factor=1.25).capacity(10) == 4


@pytest.mark.parametrize(
    ("change", "reason"), [({"scale": None}, "scale"), ({"normalize": "no"}, "normalize"), ({"noisy": 1}, "noisy")]
)
def test_a_setting_of_another_kind_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RouterConfig(4, 2, **change)


@pytest.mark.parametrize("bias", [torch.zeros(3), torch.zeros(5, 4), torch.tensor(0.0)])
def test_a_bias_of_another_shape_is_refused(bias: Tensor) -> None:
    with pytest.raises(ValueError, match=r"bias must be \[4\]"):
        route(torch.randn(5, 4), RouterConfig(4, 2, bias=True), bias)


def test_where_experts_choose_a_bias_is_refused() -> None:
    with pytest.raises(ValueError, match="where tokens choose"):
        route(torch.randn(5, 4), RouterConfig(4, 2, choice="expert"), torch.zeros(4))
