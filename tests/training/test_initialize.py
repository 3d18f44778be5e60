"""How the weights of a model start: normal, smaller into the residual stream, a router's noise as its paper has it."""

import pytest
import torch

from kb.lm import DecoderLM, ModelConfig
from kb.moe import RouterConfig
from kb.moe.language_model import moe_language_model
from kb.training import initialize


def test_the_start_is_normal_and_smaller_into_the_residual_stream() -> None:
    config = ModelConfig(512, 64, 256, 8, 4, 4, 16, 32, qkv_bias=True)
    model = DecoderLM(config)
    initialize(model, seed=0, std=0.05)
    stds = {name: float(p.detach().std()) for name, p in model.named_parameters() if p.ndim == 2}
    for name, value in stds.items():
        wanted = 0.05 / 4 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.05
        assert value == pytest.approx(wanted, rel=0.06), name
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.zeros_like(parameter) if "bias" in name else torch.ones_like(parameter))
    other = DecoderLM(config)
    torch.manual_seed(5)
    initialize(other, seed=0, std=0.05)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    for wrong, message in (({"seed": None}, "seed"), ({"seed": 0, "std": 0}, "std must be a positive")):
        with pytest.raises(ValueError, match=message):
            initialize(model, **wrong)  # type: ignore[arg-type]


def test_the_size_of_a_routers_noise_starts_as_its_paper_has_it() -> None:
    config = ModelConfig(16, 8, 12, 2, 2, 1, 4, 32)
    model = moe_language_model(config, RouterConfig(3, 2, noisy=True))
    initialize(model, seed=0)
    sizes = [parameter for name, parameter in model.named_parameters() if name.endswith("noise_weight")]
    assert len(sizes) == config.num_layers
    assert not any(size.any() for size in sizes)
