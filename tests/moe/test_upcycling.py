"""Upcycling: the dense function is kept where weights sum to 1; what is drawn anew matches what it replaces."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kb import checkpoints
from kb.lm import DecoderLM, ModelConfig
from kb.moe import MoELayer, RouterConfig
from kb.moe.language_model import MoEFeedForward, moe_layers
from kb.moe.upcycling import keeps_function, matrices, redrawn, upcycle, upcycled_layer
from kb.nn import SwiGLU, swiglu_loop
from kb.training import initialize

D, F = 12, 20
CONFIG = ModelConfig(61, 24, 40, 3, 4, 2, 6, 64, tie_embeddings=True)


def network(inner: int = F, seed: int = 0, **options: Any) -> SwiGLU:
    torch.manual_seed(seed)
    return SwiGLU(D, inner, **options).double()


def tokens_of(count: int = 30) -> Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def language_model(seed: int = 0, config: ModelConfig = CONFIG) -> DecoderLM:
    model = DecoderLM(config)
    initialize(model, seed=seed, std=0.2)
    return model


@st.composite
def keeping(draw: st.DrawFn) -> RouterConfig:
    """Routers whose weights sum to 1, of every kind."""
    groups = draw(st.sampled_from([1, 1, 2]))
    experts = groups * draw(st.integers(1, 4))
    top_k = draw(st.integers(1, experts))
    scoring = draw(st.sampled_from(["softmax", "sigmoid"]))
    all_of_softmax = scoring == "softmax" and top_k == experts
    return RouterConfig(
        experts,
        top_k,
        scoring=scoring,
        normalize=draw(st.booleans()) if all_of_softmax else True,
        noisy=draw(st.booleans()),
        num_groups=groups,
        top_groups=groups,
        bias=draw(st.booleans()),
    )


@given(config=keeping(), seed=st.integers(0, 99), shared=st.integers(0, F - 1), std=st.sampled_from([0.0, 0.02, 1.0]))
def test_copies_behind_weights_that_sum_to_one_are_the_network(
    config: RouterConfig, seed: int, shared: int, std: float
) -> None:
    ffn, x_TD = network(), tokens_of()
    layer = upcycled_layer(ffn, config, seed=seed, shared_inner=shared, router_std=std)
    assert keeps_function(config)
    out_TD, _ = layer(x_TD)
    # float64: what differs are the orders of sums.
    torch.testing.assert_close(out_TD, ffn(x_TD), rtol=1e-9, atol=1e-12)
    gate_FD, up_FD, down_DF = matrices(ffn)
    torch.testing.assert_close(out_TD[0], swiglu_loop(x_TD[0], gate_FD, up_FD, down_DF), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize": False},
        {"normalize": False, "scoring": "sigmoid"},
        {"normalize": False, "scoring": "sigmoid", "top_k": 4},
        {"scale": 2.5},
        {"capacity_factor": 0.25},
        {"choice": "expert", "capacity_factor": 0.25},
        {"choice": "expert", "normalize": False},
    ],
    ids=str,
)
def test_other_routers_change_the_function_and_are_known_to(changes: dict[str, Any]) -> None:
    config = RouterConfig(**{"num_experts": 4, "top_k": 2, **changes})
    assert not keeps_function(config)
    ffn, x_TD = network(), tokens_of()
    layer = upcycled_layer(ffn, config, seed=0, router_std=1.0)
    assert (layer(x_TD)[0] - ffn(x_TD)).abs().max() > 0.02 * ffn(x_TD).abs().max()


def test_raw_scores_of_all_experts_but_one_do_not_sum_to_one() -> None:
    ffn, x_TD, config = network(), tokens_of(), RouterConfig(4, 3, normalize=False)
    assert not keeps_function(config)
    out_TD, _ = upcycled_layer(ffn, config, seed=0, router_std=0.0)(x_TD)
    torch.testing.assert_close(out_TD, 0.75 * ffn(x_TD))


def test_where_experts_choose_only_tokens_without_an_expert_change() -> None:
    ffn, x_TD = network(), tokens_of()
    config = RouterConfig(4, 2, choice="expert", capacity_factor=0.25)  # 16 pairs, 30 tokens
    out_TD, routing = upcycled_layer(ffn, config, seed=0, router_std=1.0)(x_TD)
    assert routing.kept_TK is not None
    served_T = routing.kept_TK.any(1)
    assert 0 < int(served_T.sum()) < len(x_TD)
    torch.testing.assert_close(out_TD, ffn(x_TD) * served_T[:, None])


def test_where_the_weights_are_raw_the_output_is_the_network_times_their_sum() -> None:
    ffn, x_TD = network(), tokens_of()
    out_TD, routing = upcycled_layer(ffn, RouterConfig(6, 2, normalize=False, scale=1.5), seed=3)(x_TD)
    torch.testing.assert_close(out_TD, ffn(x_TD) * routing.weights_TK.sum(-1, keepdim=True))


@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_a_layer_keeps_activation_dtype_and_mode_and_shares_no_memory(activation: str) -> None:
    ffn = network(activation=activation).to(torch.bfloat16).eval()
    layer = upcycled_layer(ffn, RouterConfig(3, 2, bias=True), seed=0, shared_inner=4)
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16}
    assert layer.router.bias is not None
    assert layer.router.bias.dtype is torch.float32  # half precision would lose its small steps
    assert not layer.training
    before = layer.experts.gate_up_proj.clone()
    with torch.no_grad():
        ffn.gate_proj.weight.zero_()
    assert torch.equal(layer.experts.gate_up_proj, before)
    x_TD = tokens_of().to(torch.bfloat16)
    changed = upcycled_layer(network(), RouterConfig(3, 2), seed=0, shared_inner=4).to(torch.bfloat16)
    assert torch.equal(changed(x_TD)[0], layer(x_TD)[0]) == (activation == "silu")


def test_all_parameters_get_a_gradient() -> None:
    layer = upcycled_layer(network().requires_grad_(False), RouterConfig(3, 2), seed=0, shared_inner=4)
    layer(tokens_of())[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert layer.experts.gate_up_proj.grad.abs().sum() > 0


def test_without_a_drop_experts_are_copies_and_with_all_dropped_none_is() -> None:
    ffn = network()
    gate_up_2FD = torch.cat(matrices(ffn)[:2])
    plain = upcycled_layer(ffn, RouterConfig(5, 2), seed=0, drop=0.0).experts
    assert all(torch.equal(one, gate_up_2FD) for one in plain.gate_up_proj)
    fresh = upcycled_layer(ffn, RouterConfig(5, 2), seed=0, drop=1.0).experts
    assert not (fresh.gate_up_proj == gate_up_2FD).any()
    assert not (fresh.down_proj == matrices(ffn)[2]).any()
    assert len({float(one.detach().sum()) for one in fresh.gate_up_proj}) == 5


@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_same_units_of_all_three_matrices_are_drawn_anew(share: float, seed: int) -> None:
    one = matrices(network())
    gate_FD, up_FD, down_DF = redrawn(one, share, torch.Generator().manual_seed(seed))
    changed_F = (gate_FD != one[0]).any(1)
    # 0.29 * 100 is a little less than 29, and counts as 29: so does nothing that is further off.
    assert int(share * F) <= int(changed_F.sum()) <= int(share * F + 1e-9)
    assert torch.equal(changed_F, (up_FD != one[1]).any(1))
    assert torch.equal(changed_F, (down_DF != one[2]).any(0))
    assert not ((gate_FD == one[0]).any(1) & changed_F).any()  # of a unit that is drawn, every number is


def test_what_is_drawn_anew_has_mean_and_spread_of_what_it_replaces() -> None:
    generator = torch.Generator().manual_seed(0)
    gate_FD, up_FD, down_DF = torch.randn(400, 300) + 2, 0.1 * torch.randn(400, 300) - 1, 5 * torch.randn(300, 400)
    new = redrawn((gate_FD, up_FD, down_DF), 0.5, generator)
    for was, now in zip((gate_FD, up_FD, down_DF.t()), (new[0], new[1], new[2].t()), strict=True):
        rows = (was != now).any(1)
        # 60,000 numbers: the mean of a sample is within 5 standard errors, the spread within 2 %.
        assert abs(now[rows].mean() - was[rows].mean()) < 5 * was[rows].std() / 60_000**0.5
        assert abs(now[rows].std() / was[rows].std() - 1) < 0.02
        assert torch.equal(now[~rows], was[~rows])


def test_seeds_decide_and_layers_differ() -> None:
    model, config = language_model(), RouterConfig(4, 2)

    def router(seed: int, layer: int, **options: Any) -> Tensor:
        return moe_layers(upcycle(model, config, seed=seed, **options))[layer].router.weight

    assert torch.equal(router(0, 1), router(0, 1))
    assert not torch.equal(router(0, 1), router(1, 1))
    assert not torch.equal(router(0, 1), router(0, 2))
    assert torch.equal(router(0, 1), router(0, 0, layers=[1]))  # whichever layers get experts


@pytest.mark.parametrize("layers", [None, [1], [0, 2]])
def test_a_language_model_computes_what_it_did(layers: list[int] | None) -> None:
    model, tokens_BT = language_model(), torch.arange(40).view(2, 20)
    sparse = upcycle(model, RouterConfig(4, 2), seed=0, layers=layers)
    wanted_BTV = model(tokens_BT)
    torch.testing.assert_close(sparse(tokens_BT), wanted_BTV, rtol=0, atol=1e-5 * float(wanted_BTV.abs().max()))
    assert [isinstance(block.mlp, MoEFeedForward) for block in sparse.layers] == [
        layers is None or i in layers for i in range(3)
    ]
    assert sparse.lm_head.weight is sparse.embed_tokens.weight
    assert sparse.embed_tokens.weight is not model.embed_tokens.weight


def test_real_weights_in_their_first_and_last_layer() -> None:
    model = DecoderLM.from_checkpoint(checkpoints.load("smollm2-135m"), share=True)
    x_TD = torch.randn(24, 576, generator=torch.Generator().manual_seed(0))
    for i in (0, 29):
        ffn = model.layers[i].mlp
        layer = upcycled_layer(ffn, RouterConfig(4, 2), seed=0)
        wanted_TD = ffn(x_TD)
        torch.testing.assert_close(layer(x_TD)[0], wanted_TD, rtol=0, atol=1e-5 * float(wanted_TD.abs().max()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drop": 1.5}, "drop must be a share of 0 to 1, got 1.5"),
        ({"drop": float("nan")}, "drop must be a share"),
        ({"seed": 1.0}, "seed must be an integer"),
        ({"router_std": -1}, "router_std must be a number of at least 0"),
        ({"shared_inner": 20}, "leaves none of 20 inner units"),
        ({"shared_inner": -1}, "shared_inner must be an integer of at least 0"),
        ({"implementation": "magic"}, "implementation 'magic' is not known"),
    ],
)
def test_bad_numbers_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        upcycled_layer(network(), RouterConfig(4, 2), **{"seed": 0, **options})


def test_other_networks_are_refused() -> None:
    with pytest.raises(TypeError, match="must be a SwiGLU network, got Linear"):
        upcycled_layer(nn.Linear(D, D), RouterConfig(4, 2), seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ffn has biases"):
        upcycled_layer(network(bias=True), RouterConfig(4, 2), seed=0)
    sparse = upcycle(language_model(), RouterConfig(4, 2), seed=0, layers=[1])
    with pytest.raises(TypeError, match="layer 1 must have a SwiGLU network, got MoEFeedForward"):
        upcycle(sparse, RouterConfig(4, 2), seed=0)
    assert isinstance(moe_layers(upcycle(sparse, RouterConfig(4, 2), seed=0, layers=[0]))[0], MoELayer)


@pytest.mark.parametrize("layers", [[], [3], [-1], [0, 0], [True]])
def test_layers_that_are_not_there_are_refused(layers: list[int]) -> None:
    with pytest.raises(ValueError, match="layers must be different numbers of 0 to 2"):
        upcycle(language_model(), RouterConfig(4, 2), seed=0, layers=layers)


def test_a_bias_of_any_part_is_refused_and_whole_units_are_counted_as_written() -> None:
    ffn = SwiGLU(4, 6)
    ffn.down_proj = torch.nn.Linear(6, 4)
    with pytest.raises(ValueError, match="has biases"):
        upcycled_layer(ffn, RouterConfig(2, 1), seed=0)
    one = (torch.zeros(100, 2), torch.zeros(100, 2), torch.zeros(2, 100))
    ones = tuple(matrix + torch.arange(matrix.numel()).view_as(matrix) for matrix in one)
    gate_RD, _, _ = redrawn(ones, 0.29, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert int((gate_RD != ones[0]).any(1).sum()) == 29
