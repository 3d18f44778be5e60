"""A language model with experts: transformers' Mixtral as oracle, the losses by hand, and balance that comes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import MixtralConfig, MixtralForCausalLM

from kb.lm import DecoderLM, ModelConfig
from kb.moe import RouterConfig, expert_load, max_violation, sequence_loss, switch_loss, updated_bias, z_loss
from kb.moe.language_model import (
    Balancing,
    MoEFeedForward,
    load_over,
    moe_language_model,
    moe_layers,
    moe_loss,
    recorded,
    step_biases,
    train_moe,
)
from kb.nn import SwiGLU
from kb.training import TrainConfig, all_windows, initialize, next_token_loss, random_windows

CONFIG = ModelConfig(32, 16, 24, 3, 4, 2, 4, 64)
ROUTER = RouterConfig(4, 2)
SKEWED = torch.randint(8, (4000,), generator=torch.Generator().manual_seed(2)) ** 2 % 32


def tokens(batch: int = 3, length: int = 9, seed: int = 0) -> Tensor:
    return torch.randint(32, (batch, length), generator=torch.Generator().manual_seed(seed))


def started(router: RouterConfig = ROUTER, **options: Any) -> DecoderLM:
    model = moe_language_model(CONFIG, router, **options)
    initialize(model, seed=0, std=0.2)
    return model


def test_a_model_with_mixtrals_weights_gives_its_logits_and_gradients() -> None:
    theirs_config = MixtralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=12, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=4, max_position_embeddings=64, num_local_experts=4, num_experts_per_tok=2,
        sliding_window=None, rms_norm_eps=CONFIG.norm_eps, tie_word_embeddings=False, pad_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": CONFIG.rope.theta},
    )  # fmt: skip
    theirs = MixtralForCausalLM(theirs_config)
    initialize(theirs, seed=1, std=0.2)
    ours = moe_language_model(CONFIG, ROUTER, inner=12)
    names = {
        name: name.removeprefix("model.")
        .replace(".mlp.gate.", ".mlp.moe.router.")
        .replace(".mlp.experts.", ".mlp.moe.experts.")
        for name in theirs.state_dict()
    }
    ours.load_state_dict({names[name]: tensor for name, tensor in theirs.state_dict().items()})
    tokens_BT = tokens()
    logits = theirs(tokens_BT).logits
    torch.testing.assert_close(ours(tokens_BT), logits, rtol=1e-4, atol=1e-5)
    upstream = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    logits.backward(upstream)
    ours(tokens_BT).backward(upstream)
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        wanted = parameter.grad
        assert wanted is not None
        scale = float(wanted.abs().max())
        torch.testing.assert_close(mine[names[name]].grad, wanted, rtol=0, atol=2e-5 * scale, msg=name)


def test_layers_hold_experts_of_equal_cost_and_may_be_dense_at_first() -> None:
    model = started(dense_layers=1, shared_inner=8)
    assert [type(block.mlp) for block in model.layers] == [SwiGLU, MoEFeedForward, MoEFeedForward]
    layers = moe_layers(model)
    assert [layer.experts.down_proj.shape for layer in layers] == [(4, 16, 12)] * 2
    assert layers[0].shared.down_proj.weight.shape == (16, 8)


def test_recorded_routings_are_the_layers_in_order_and_nothing_stays_behind() -> None:
    model = started()
    with recorded(model) as routings:
        model(tokens())
        model(tokens(1, 4))
    assert [len(routing.experts_TK) for routing in routings] == [27] * 3 + [4] * 3
    model(tokens())
    assert len(routings) == 6
    assert all(not layer._forward_hooks for layer in moe_layers(model))
    with pytest.raises(RuntimeError, match="inside"), recorded(model):
        raise RuntimeError("inside")
    assert all(not layer._forward_hooks for layer in moe_layers(model))
    x_TD = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    with recorded(model) as routings:
        model.layers[1].mlp(x_TD)
    assert torch.equal(routings[0].experts_TK, moe_layers(model)[1](x_TD)[1].experts_TK)


def test_the_loss_is_the_next_tokens_plus_factors_times_means_over_layers() -> None:
    model = started()
    tokens_BT = tokens()
    total, metrics = moe_loss(Balancing(switch=0.5, sequence=0.25, z=0.125))(model, tokens_BT)
    with recorded(model) as routings:
        model(tokens_BT[:, :-1])
    switch = sum(switch_loss(r) for r in routings) / 3
    sequence = sum(sequence_loss(r, 3) for r in routings) / 3
    z = sum(z_loss(r) for r in routings) / 3
    by_hand = next_token_loss(model, tokens_BT) + 0.5 * switch + 0.25 * sequence + 0.125 * z
    torch.testing.assert_close(total, by_hand)
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in (total, by_hand)]
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(metrics["switch"], switch)
    assert torch.equal(metrics["load_LE"], torch.stack([expert_load(r) for r in routings]))
    plain, _ = moe_loss(Balancing())(model, tokens_BT)
    assert torch.equal(plain, next_token_loss(model, tokens_BT))


def test_biases_step_by_their_layers_load() -> None:
    model = started(RouterConfig(4, 2, bias=True))
    load_LE = torch.tensor([[4.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 2, 2]])
    step_biases(model, load_LE, 0.5)
    for layer, load_E in zip(moe_layers(model), load_LE, strict=True):
        assert torch.equal(layer.router.bias, updated_bias(torch.zeros(4), load_E, 0.5))


@pytest.mark.parametrize("balancing", [Balancing(switch=0.05), Balancing(bias_rate=0.02)], ids=["switch", "bias"])
def test_balancing_makes_held_out_load_more_even(balancing: Balancing) -> None:
    def violation(balancing: Balancing) -> float:
        model = started(RouterConfig(4, 2, bias=True))
        batches = random_windows(SKEWED[:3000], 16, 8, seed=0)
        train_moe(model, batches, balancing, TrainConfig(80, learning_rate=3e-3, warmup=5))
        load_NLE = load_over(model, all_windows(SKEWED[3000:], 16, 8))
        assert load_NLE.shape[1:] == (3, 4)
        assert load_NLE.sum() == 3 * 2 * 16 * (999 // 16)
        return float(max_violation(load_NLE.sum(0)).mean())

    assert violation(balancing) < 0.6 * violation(Balancing())


def test_loads_are_counted_without_noise_and_the_mode_comes_back() -> None:
    model = started(RouterConfig(4, 2, noisy=True))
    first, again = (load_over(model, [tokens(), tokens(5, seed=1)]) for _ in range(2))
    assert torch.equal(first, again)
    assert model.training
    model.eval()
    with recorded(model) as routings:
        model(tokens()[:, :-1])
    assert torch.equal(first[0], torch.stack([expert_load(routing) for routing in routings]))


def test_fused_experts_start_smaller_into_the_residual_stream() -> None:
    model = moe_language_model(ModelConfig(32, 64, 64, 8, 4, 2, 16, 64), RouterConfig(4, 2))
    initialize(model, seed=0, std=0.05)
    for layer in moe_layers(model):
        stds = {name: float(p.detach().std()) for name, p in layer.named_parameters()}
        assert stds["experts.gate_up_proj"] == pytest.approx(0.05, rel=0.06)
        assert stds["experts.down_proj"] == pytest.approx(0.05 / 4, rel=0.06)


def test_a_bias_is_in_no_gradient_and_the_run_repeats() -> None:
    runs = []
    for _ in range(2):
        model = started(RouterConfig(4, 2, bias=True))
        batches = random_windows(SKEWED, 16, 4, seed=0)
        steps = train_moe(model, batches, Balancing(bias_rate=0.01), TrainConfig(5))
        biases = [layer.router.bias for layer in moe_layers(model)]
        assert all(bias is not None and bias.abs().max() > 0 and not bias.requires_grad for bias in biases)
        runs.append([step.loss for step in steps])
    assert runs[0] == runs[1]


def test_a_schedule_scales_each_steps_bias_and_may_stop_it() -> None:
    model = started(RouterConfig(4, 2, bias=True))
    seen: list[float] = []

    def factor(done: float) -> float:
        seen.append(done)
        return (1.0, 0.25, 0.0, 0.0, 0.0)[len(seen) - 1]

    balancing = Balancing(bias_rate=0.5, bias_schedule=factor)
    steps = train_moe(model, random_windows(SKEWED, 16, 4, seed=0), balancing, TrainConfig(5))
    assert seen == [0, 0.25, 0.5, 0.75, 1]
    for number, layer in enumerate(moe_layers(model)):
        wanted_E = torch.zeros(4)
        for step, rate in zip(steps[:2], (0.5, 0.125), strict=True):
            wanted_E = updated_bias(wanted_E, step.metrics["load_LE"][number], rate)
        assert torch.equal(layer.router.bias, wanted_E)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dense_layers": 3}, "dense_layers 3 leaves none of 3 layers"),
        ({"dense_layers": -1}, "dense_layers must be an integer of at least 0"),
        ({"inner": 0}, "inner must be an integer of at least 1"),
        ({"router": RouterConfig(8, 5)}, "top_k 5 does not divide intermediate_size 24"),
        ({"implementation": "fast"}, "implementation 'fast' is not known"),
    ],
)
def test_bad_sizes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        moe_language_model(CONFIG, **({"router": ROUTER} | options))


def test_what_does_not_fit_is_refused() -> None:
    dense = DecoderLM(CONFIG)
    with pytest.raises(ValueError, match="no layer of experts"), recorded(dense):
        pass
    with pytest.raises(ValueError, match="no layer of experts"):
        load_over(dense, [tokens()])
    with pytest.raises(ValueError, match="at least one batch"):
        load_over(started(), [])
    with pytest.raises(ValueError, match="router has no bias"):
        train_moe(started(), [tokens()], Balancing(bias_rate=0.1), TrainConfig(1))
    with pytest.raises(ValueError, match="no bias to be stepped"):
        step_biases(started(), torch.ones(3, 4), 0.1)
    with pytest.raises(ValueError, match="3 layers of experts, and loads of 2"):
        step_biases(started(), torch.ones(2, 4), 0.1)
    for name in ("switch", "sequence", "z", "bias_rate"):
        with pytest.raises(ValueError, match=f"{name} must be a number of at least 0, got -1"):
            Balancing(**{name: -1})


def test_where_experts_choose_the_load_is_what_they_took() -> None:
    model = moe_language_model(CONFIG, RouterConfig(4, 2, choice="expert", capacity_factor=0.5))
    tokens_BT = torch.randint(CONFIG.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    _, metrics = moe_loss(Balancing())(model, tokens_BT)
    wanted = torch.full((CONFIG.num_layers, 4), 0.5 * 16 * 2 / 4)
    assert torch.equal(metrics["load_LE"], wanted)
    assert torch.equal(load_over(model, [tokens_BT])[0], wanted)
