"""LoRA in whole models: peft's numbers in value, gradient and after steps of AdamW; files; 4-bit bases."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.finetuning import (
    ATTENTION,
    LoraConfig,
    activate,
    adapter_state,
    base_alone,
    inject,
    load_adapter,
    lora_layers,
    lora_parameters,
    merge,
    save_adapter,
    trainable,
    unload,
    unmerge,
)
from kb.lm import DecoderLM, KVCache
from tests.finetuning.models import ours_of, random_llama, randomise

KINDS = {
    "lora": LoraConfig(rank=3, alpha=5.0),
    "rslora on attention": LoraConfig(rank=4, alpha=3.0, targets=ATTENTION, rank_stabilized=True),
    "dora": LoraConfig(rank=2, alpha=4.0, dora=True),
}


def peft_of(model: nn.Module, config: LoraConfig) -> Any:
    theirs = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets),
        use_rslora=config.rank_stabilized,
        use_dora=config.dora,
    )
    return peft.get_peft_model(model, theirs)


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    out = model(tokens[:, :-1])
    logits = out if isinstance(out, Tensor) else out.logits
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def key_of(name: str) -> str:
    """A path of peft's as one of ours."""
    return name.removeprefix("base_model.model.").replace(".default", "").removesuffix(".weight")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_peft_at_the_start_in_gradient_after_steps_and_merged(kind: str, tokens: Tensor) -> None:
    config = KINDS[kind]
    ours, theirs = random_llama(), peft_of(random_llama(), config)
    inject(ours, config)
    learned = {name.replace(".adapters.default", ""): one for name, one in trainable(ours).items()}
    given = {key_of(name): one for name, one in theirs.named_parameters() if one.requires_grad}
    assert learned.keys() == given.keys()
    randomise([one for name, one in sorted(given.items()) if "lora_B" in name])
    with torch.no_grad():
        for name, one in learned.items():
            one.copy_(given[name])
    optimizers = [torch.optim.AdamW(side.values(), lr=0.01) for side in (learned, given)]
    for _ in range(6):
        values = []
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            values.append(loss(model, tokens))
            values[-1].backward()
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)
        for name, one in learned.items():
            torch.testing.assert_close(one.grad, given[name].grad, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: n + m)
        for optimizer in optimizers:
            optimizer.step()
    for name, one in learned.items():
        torch.testing.assert_close(one, given[name], rtol=1e-2, atol=1e-4)
    merge(ours)
    unload(ours)
    plain = theirs.merge_and_unload()
    assert dict(ours.named_parameters()).keys() == dict(plain.named_parameters()).keys()
    torch.testing.assert_close(ours(tokens).logits, plain(tokens).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_on_our_model_as_on_that_of_transformers(
    kind: str, llama: nn.Module, decoder: DecoderLM, tokens: Tensor
) -> None:
    config = KINDS[kind]
    assert len(inject(decoder, config, seed=4)) == 2 * len(config.targets)
    inject(llama, config, seed=4)
    for model in (decoder, llama):
        randomise([one for name, one in sorted(trainable(model).items())])
    torch.testing.assert_close(decoder(tokens), llama(tokens).logits, rtol=1e-4, atol=1e-4)
    count = sum(one.numel() for one in trainable(decoder).values())
    assert count == lora_parameters(decoder.config, config)
    cache = KVCache(decoder.config, batch=3, capacity=9)
    parts = [decoder(part, cache=cache) for part in tokens.split(4, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder(tokens), rtol=1e-4, atol=1e-4)
    before, weights = decoder(tokens), {path: one.base.weight.clone() for path, one in lora_layers(decoder).items()}
    merge(decoder)
    torch.testing.assert_close(decoder(tokens), before, rtol=1e-4, atol=1e-4)
    unmerge(decoder)
    for path, one in lora_layers(decoder).items():
        torch.testing.assert_close(one.base.weight, weights[path], rtol=1e-5, atol=1e-6)


def test_only_adapters_are_trained_and_the_seed_decides(decoder: DecoderLM) -> None:
    second = copy.deepcopy(decoder)
    inject(decoder, LoraConfig(rank=2), seed=1)
    torch.manual_seed(123)
    inject(second, LoraConfig(rank=2), seed=1)
    assert all("adapters" in name for name in trainable(decoder))
    torch.testing.assert_close(adapter_state(decoder), adapter_state(second), rtol=0, atol=0)
    names = [name for name in adapter_state(decoder) if name.endswith("lora_A.weight")]
    assert len({float(adapter_state(decoder)[name].flatten()[0]) for name in names}) == len(names) == 14


def test_several_adapters_and_the_base_alone(decoder: DecoderLM, tokens: Tensor) -> None:
    base = decoder(tokens)
    inject(decoder, LoraConfig(rank=2), name="code")
    inject(decoder, LoraConfig(rank=3, targets=("q_proj",)), name="chat", seed=1)
    assert all(".chat." in name for name in trainable(decoder))
    randomise([one for name, one in decoder.named_parameters() if "lora_B" in name])
    activate(decoder, "code")
    assert all(".code." in name for name in trainable(decoder))
    code = decoder(tokens)
    with base_alone(decoder):
        torch.testing.assert_close(decoder(tokens), base, rtol=0, atol=0)
    torch.testing.assert_close(decoder(tokens), code, rtol=0, atol=0)
    activate(decoder, "chat")
    assert not torch.allclose(decoder(tokens), code)
    activate(decoder)
    torch.testing.assert_close(decoder(tokens), base, rtol=0, atol=0)
    unload(decoder)
    assert lora_layers(decoder) == {}
    torch.testing.assert_close(decoder(tokens), base, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_files_go_to_peft_and_back(kind: str, tokens: Tensor, tmp_path: Path) -> None:
    config = KINDS[kind]
    ours = random_llama()
    inject(ours, config, name="mine")
    randomise(trainable(ours).values())
    wanted = ours(tokens).logits
    save_adapter(ours, tmp_path / "ours", "mine")
    theirs = peft.PeftModel.from_pretrained(random_llama(), str(tmp_path / "ours"))
    torch.testing.assert_close(theirs(tokens).logits, wanted, rtol=1e-4, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(str(tmp_path / "theirs"))
    back = random_llama()
    read = load_adapter(back, tmp_path / "theirs")
    assert (read.rank, read.scaling, set(read.targets)) == (config.rank, config.scaling, set(config.targets))
    torch.testing.assert_close(back(tokens).logits, wanted, rtol=1e-4, atol=1e-4)


def test_a_configuration_of_numpy_s_numbers_is_written(tmp_path: Path) -> None:
    model = random_llama()
    inject(model, LoraConfig(np.int64(2), np.float32(4), dropout=np.float32(0.5)))  # type: ignore[arg-type]
    save_adapter(model, tmp_path)
    read = load_adapter(random_llama(), tmp_path)
    assert (read.rank, read.alpha, read.dropout) == (2, 4.0, 0.5)


class Rounded(nn.Module):
    """A frozen matrix in 8 bits with a scale a row: the least that a base for LoRA needs to be."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.register_buffer("scale_O1", linear.weight.detach().abs().amax(1, keepdim=True) / 127)
        self.register_buffer("codes_OI", (linear.weight.detach() / self.scale_O1).round().to(torch.int8))

    @property
    def weight(self) -> Tensor:
        return self.codes_OI * self.scale_O1

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@pytest.mark.parametrize("dora", [False, True])
def test_a_quantised_base_is_frozen_and_equal_to_its_dequantised_one(
    dora: bool, llama: nn.Module, tokens: Tensor
) -> None:
    config = LoraConfig(rank=2, dora=dora)
    quantised, plain = ours_of(llama), ours_of(llama)
    inject(quantised, config, make_base=Rounded)
    with torch.no_grad():
        for path, one in lora_layers(quantised).items():
            plain.get_submodule(path).weight.copy_(one.base.weight)
    inject(plain, config)
    for model in (quantised, plain):
        randomise(one for _, one in sorted(trainable(model).items()))
    assert trainable(quantised).keys() == trainable(plain).keys()
    values = [loss(model, tokens) for model in (quantised, plain)]
    torch.testing.assert_close(*values)
    gradients = [
        torch.autograd.grad(v, list(trainable(m).values())) for v, m in zip(values, (quantised, plain), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="Rounded is no floating-point parameter"):
        merge(quantised)


def test_on_the_nf4_of_torchao(tokens: Tensor) -> None:
    nf4 = pytest.importorskip("torchao.dtypes.nf4tensor")

    class Base(nn.Module):
        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            self.in_features, self.out_features = linear.in_features, linear.out_features
            self.codes = nf4.to_nf4(linear.weight.detach(), block_size=64, scaler_block_size=1)

        @property
        def weight(self) -> Tensor:
            return self.codes.get_original_weight()

        def forward(self, x: Tensor) -> Tensor:
            return nf4.linear_nf4(x, self.codes)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 64, bias=False))
    inject(model, LoraConfig(rank=4, targets=("0", "2")), make_base=Base)
    randomise(trainable(model).values())
    x = torch.randn(5, 64)
    hidden = F.relu(x @ (model[0].base.weight + model[0].adapters["default"].delta()).T)
    wanted = hidden @ (model[2].base.weight + model[2].adapters["default"].delta()).T
    torch.testing.assert_close(model(x), wanted, rtol=1e-3, atol=1e-3)
    model(x).sum().backward()
    assert all(one.grad is not None for one in trainable(model).values())


def test_a_module_at_two_places_and_tied_weights(tokens: Tensor) -> None:
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": shared, "b": shared})
    inject(model, LoraConfig(rank=1, targets=("a", "b")))
    assert model["a"] is model["b"]
    assert len(lora_layers(model)) == 1
    tied = ours_of(random_llama(tie_word_embeddings=True))
    inject(tied, LoraConfig(rank=1, targets=("lm_head",)))
    randomise(trainable(tied).values())
    with pytest.raises(ValueError, match="tied"):
        merge(tied)
