"""Prefix tuning: peft's numbers in value, gradient and after steps; a loop by hand; a prefix that is a prompt."""

from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from kb.finetuning import PrefixCache, PrefixLM, PrefixTuning, trainable
from kb.lm import DecoderLM, ModelConfig

P = 3


def loss(logits: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def peft_of(model: nn.Module, *, projection: bool) -> Any:
    sizes = {"num_virtual_tokens": P, "prefix_projection": projection, "encoder_hidden_size": 7}
    return peft.get_peft_model(model, peft.PrefixTuningConfig(task_type="CAUSAL_LM", **sizes))


def test_equal_to_peft_in_value_gradient_and_after_steps(
    llama: LlamaForCausalLM, decoder: DecoderLM, tokens: Tensor
) -> None:
    ours, theirs = PrefixLM(decoder, PrefixTuning(decoder.config, P)), peft_of(llama, projection=False)
    embedding = theirs.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        embedding.normal_(generator=torch.Generator().manual_seed(3))
        # Theirs is [P, 2 L G H] with keys and values of a layer beside each other.
        ours.prefix.start.copy_(embedding.view(P, 2, 2, 2, 4).permute(1, 2, 0, 3, 4))
    assert list(trainable(ours)) == ["prefix.start"]
    optimizers = [torch.optim.AdamW([one], lr=0.05) for one in (ours.prefix.start, embedding)]
    for _ in range(5):
        values = [loss(ours(tokens[:, :-1]), tokens), loss(theirs(tokens[:, :-1]).logits, tokens)]
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)
        for value, optimizer in zip(values, optimizers, strict=True):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        given = embedding.grad.view(P, 2, 2, 2, 4).permute(1, 2, 0, 3, 4)
        torch.testing.assert_close(ours.prefix.start.grad, given, rtol=1e-3, atol=1e-5)


def test_the_network_is_pefts(llama: LlamaForCausalLM, decoder: DecoderLM, tokens: Tensor) -> None:
    ours = PrefixLM(decoder, PrefixTuning(decoder.config, P, hidden=7, embedding=8))
    theirs = peft_of(llama, projection=True)
    encoder, network = theirs.prompt_encoder["default"], ours.prefix.network
    assert network is not None
    # Theirs gives, for each position, all heads' keys and values of layer after layer, as ours does.
    network.load_state_dict(encoder.transform.state_dict())
    with torch.no_grad():
        ours.prefix.start.copy_(encoder.embedding.weight)
    values = [loss(ours(tokens[:, :-1]), tokens), loss(theirs(tokens[:, :-1]).logits, tokens)]
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)
    for value in values:
        value.backward()
    torch.testing.assert_close(ours.prefix.start.grad, encoder.embedding.weight.grad, rtol=1e-3, atol=1e-6)
    for mine, other in zip(network.parameters(), encoder.transform.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-6)
    assert all(one.grad is None for one in decoder.parameters())


def test_real_tokens_as_a_start_are_a_prompt(decoder: DecoderLM, tokens: Tensor) -> None:
    prompt = torch.tensor([5, 9, 1, 7])
    prompted = decoder(torch.cat([prompt.expand(3, -1), tokens], dim=1))[:, 4:]
    tuned = PrefixLM(decoder, PrefixTuning.from_tokens(decoder, prompt))
    torch.testing.assert_close(tuned(tokens), prompted, rtol=1e-4, atol=1e-4)


def test_attention_to_a_prefix_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randn(1, 2, 2, 1, 4, generator=generator)
    q, k, v = (torch.randn(1, 3, 1, 4, generator=generator) for _ in range(3))
    got = PrefixCache(prefix).attend(0, q, k, v)
    for t in range(3):
        keys = torch.cat([prefix[0, 0, :, 0], k[0, : t + 1, 0]])
        values = torch.cat([prefix[0, 1, :, 0], v[0, : t + 1, 0]])
        weights = torch.softmax(keys @ q[0, t, 0] / 2, dim=0)
        torch.testing.assert_close(got[0, t, 0], weights @ values)
    assert PrefixCache(prefix).positions(2, 3, torch.device("cpu")).tolist() == [[2, 3, 4]] * 2


def test_refusals(decoder: DecoderLM) -> None:
    config = decoder.config
    for bad in ({"length": 0}, {"length": 2, "seed": 0.5}, {"length": 2, "hidden": 0}):
        with pytest.raises(ValueError, match=r"length|seed|hidden"):
            PrefixTuning(config, **bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[P\]"):
        PrefixTuning.from_tokens(decoder, torch.zeros(1, 2, dtype=torch.long))
    other = ModelConfig(40, 16, 24, 3, 4, 2, 4, 64)
    with pytest.raises(ValueError, match="prefix"):
        PrefixLM(decoder, PrefixTuning(other, 2))
    q = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="window"):
        PrefixCache(torch.zeros(2, 2, 2, 2, 4)).attend(0, q, q[:, :, :2], q[:, :, :2], window=3)
