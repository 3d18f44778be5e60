"""Under torch.autocast: a layer of experts is the dense network it replaces, and a float32 router stays one."""

import pytest
import torch
from torch import Tensor

from kb.lm import DecoderLM, ModelConfig
from kb.moe import MoELayer, RouterConfig
from kb.moe.language_model import Balancing, moe_language_model, train_moe
from kb.nn import SwiGLU
from kb.training import TrainConfig, initialize, next_token_loss, random_windows, train

D, F = 32, 64


def tokens() -> Tensor:
    return torch.randn(20, D, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("implementation", ["experts", "grouped", "auto"])
def test_one_expert_is_the_dense_network(implementation: str) -> None:
    torch.manual_seed(0)
    layer = MoELayer.swiglu(D, F, RouterConfig(1, 1), implementation=implementation)
    dense = SwiGLU(D, F)
    with torch.no_grad():
        gate_FD, up_FD = layer.experts.gate_up_proj[0].chunk(2)
        dense.gate_proj.weight.copy_(gate_FD)
        dense.up_proj.weight.copy_(up_FD)
        dense.down_proj.weight.copy_(layer.experts.down_proj[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out_TD, wanted_TD = layer(tokens())[0], dense(tokens())
    assert out_TD.dtype == wanted_TD.dtype == torch.bfloat16
    assert torch.equal(out_TD, wanted_TD)
    out_TD.backward(torch.ones_like(out_TD))
    wanted_TD.backward(torch.ones_like(wanted_TD))
    grad = layer.experts.down_proj.grad
    assert grad is not None
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad[0], dense.down_proj.weight.grad)


@pytest.mark.parametrize("implementation", ["experts", "grouped", "auto", "loop"])
def test_many_experts_are_near_float32_and_choose_the_same(implementation: str) -> None:
    torch.manual_seed(0)
    layer = MoELayer.swiglu(D, F, RouterConfig(8, 2), implementation=implementation)
    wanted_TD, wanted = layer(tokens())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out_TD, routing = layer(tokens())
    assert torch.equal(routing.logits_TE, wanted.logits_TE)
    assert torch.equal(routing.experts_TK, wanted.experts_TK)
    assert float((out_TD - wanted_TD).detach().abs().max()) < 0.02 * float(wanted_TD.detach().abs().max())


def test_a_router_of_the_models_dtype_is_bfloat16() -> None:
    torch.manual_seed(0)
    layer = MoELayer.swiglu(D, F, RouterConfig(8, 2, logits_in_float32=False))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, routing = layer(tokens())
    rounded_TE = tokens().bfloat16() @ layer.router.weight.bfloat16().t()
    assert torch.equal(routing.logits_TE, rounded_TE.float())


def test_a_run_in_bfloat16_goes_as_one_in_float32_and_keeps_its_weights() -> None:
    config = ModelConfig(32, 32, 48, 2, 4, 2, 8, 64)
    text_N = torch.arange(400) % 7
    losses = {}
    for autocast in (None, torch.bfloat16):
        model = moe_language_model(config, RouterConfig(4, 2))
        initialize(model, seed=0)
        run = TrainConfig(30, learning_rate=5e-3, warmup=3, autocast=autocast)
        steps = train_moe(model, random_windows(text_N, 16, 8, seed=0), Balancing(switch=0.01), run)
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        losses[autocast] = [step.loss for step in steps]
    assert losses[None] != losses[torch.bfloat16]
    assert losses[torch.bfloat16] == pytest.approx(losses[None], rel=0.1)
    assert losses[torch.bfloat16][-1] < 0.5 * losses[torch.bfloat16][0]
    with pytest.raises(ValueError, match=r"autocast must be torch\.bfloat16 or None, got torch\.float16"):
        TrainConfig(1, autocast=torch.float16)


def test_the_loss_alone_runs_under_autocast() -> None:
    seen = []

    def loss(model: DecoderLM, tokens_BT: Tensor) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return next_token_loss(model, tokens_BT)

    model = DecoderLM(ModelConfig(32, 8, 8, 1, 1, 1, 8, 64))
    batches = random_windows(torch.arange(400) % 7, 16, 8, seed=0)
    train(
        model,
        batches,
        loss,
        TrainConfig(2, autocast=torch.bfloat16),
        after_step=lambda _: seen.append(torch.is_autocast_enabled("cpu")),
    )
    assert seen == [True, False, True, False]
