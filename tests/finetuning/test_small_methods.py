"""(IA)³ equal to peft; bottlenecks equal to a loop; BitFit trains biases alone; what is refused."""

import math
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.finetuning import Bottleneck, Ia3Linear, inject_bottleneck, inject_ia3, merge_ia3, train_biases, trainable
from kb.lm import DecoderLM, ModelConfig
from tests.finetuning.models import random_llama, randomise


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    logits = model(tokens[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def test_ia3_equals_peft(tokens: Tensor) -> None:
    ours = random_llama()
    paths = inject_ia3(ours)
    names = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    theirs: Any = peft.get_peft_model(random_llama(), peft.IA3Config(**names))
    given = {
        name.split(".ia3_l")[0].removeprefix("base_model.model."): one
        for name, one in theirs.named_parameters()
        if "ia3_l" in name
    }
    learned = {name.removesuffix(".ia3"): one for name, one in trainable(ours).items()}
    assert learned.keys() == given.keys() == set(paths)
    torch.testing.assert_close(ours(tokens).logits, random_llama()(tokens).logits)
    optimizers = [torch.optim.AdamW(side.values(), lr=0.05) for side in (learned, given)]
    for _ in range(5):
        values = [loss(ours, tokens), loss(theirs, tokens)]
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)
        for value, optimizer in zip(values, optimizers, strict=True):
            optimizer.zero_grad()
            value.backward()
        for name, one in learned.items():
            torch.testing.assert_close(one.grad.flatten(), given[name].grad.flatten(), rtol=1e-3, atol=1e-5)
        for optimizer in optimizers:
            optimizer.step()
    before = ours(tokens).logits
    merge_ia3(ours)
    torch.testing.assert_close(ours(tokens).logits, before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(tokens).logits, theirs.merge_and_unload()(tokens).logits, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, Ia3Linear) for module in ours.modules())


def test_a_bottleneck_starts_as_nothing_and_equals_a_loop(decoder: DecoderLM, tokens: Tensor) -> None:
    before = decoder(tokens)
    assert len(inject_bottleneck(decoder, 5)) == 4
    torch.testing.assert_close(decoder(tokens), before)
    assert sum(one.numel() for one in trainable(decoder).values()) == 4 * (2 * 16 * 5 + 5 + 16)
    randomise(trainable(decoder).values())
    layer = decoder.get_submodule("layers.0.mlp.down_proj")
    assert isinstance(layer, Bottleneck)
    x = torch.randn(24, generator=torch.Generator().manual_seed(0))
    h = layer.base(x)
    inner = [float(layer.down.weight[s] @ h + layer.down.bias[s]) for s in range(5)]
    inner = [a * 0.5 * (1 + math.erf(a / math.sqrt(2))) for a in inner]
    wanted = [
        float(h[o]) + sum(float(layer.up.weight[o, s]) * inner[s] for s in range(5)) + float(layer.up.bias[o])
        for o in range(16)
    ]
    torch.testing.assert_close(layer(x), torch.tensor(wanted), rtol=1e-4, atol=1e-4)


def test_bitfit_trains_biases_alone(decoder: DecoderLM) -> None:
    names = train_biases(decoder)
    assert list(trainable(decoder)) == names
    assert len(names) == 2 * 7
    with pytest.raises(ValueError, match="no bias"):
        train_biases(DecoderLM(ModelConfig(40, 16, 24, 2, 4, 2, 4, 64)))


def test_refusals(decoder: DecoderLM) -> None:
    with pytest.raises(ValueError, match="both name 'k_proj'"):
        inject_ia3(decoder, inputs=("k_proj",))
    with pytest.raises(TypeError, match="mlp"):
        inject_ia3(decoder, outputs=("mlp",))
    with pytest.raises(ValueError, match="no layer that rescales"):
        merge_ia3(decoder)
    with pytest.raises(ValueError, match="size"):
        inject_bottleneck(decoder, 0)
    with pytest.raises(ValueError, match="seed"):
        inject_bottleneck(decoder, 2, seed=True)
    with pytest.raises(ValueError, match="nothing"):
        inject_bottleneck(decoder, 2, targets=("nothing",))
