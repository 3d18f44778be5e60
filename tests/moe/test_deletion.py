"""Language models without some of their experts."""

import pytest
import torch

from kb.lm import ModelConfig
from kb.moe import RouterConfig
from kb.moe.deletion import language_model_without
from kb.moe.language_model import moe_language_model, moe_layers
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
