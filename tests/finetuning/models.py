"""A tiny Llama of transformers, and ours with the same weights; with biases, so that every method has something."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from kb.lm import DecoderLM


def random_llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    config = LlamaConfig(**(sizes | heads | {"attention_bias": True, "mlp_bias": True} | changes))
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    return model


def ours_of(model: LlamaForCausalLM) -> DecoderLM:
    checkpoint = SimpleNamespace(config=model.config.to_dict(), weights=dict(model.state_dict()))
    return DecoderLM.from_checkpoint(checkpoint)


def randomise(parameters: Any, seed: int = 1) -> None:
    """Give parameters numbers that are not 0, so that nothing agrees because nothing has happened."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
