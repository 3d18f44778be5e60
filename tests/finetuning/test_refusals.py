"""Bad use of adapters in whole models is refused by name, and leaves the model as it was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kb.finetuning import (
    ALL_LINEAR,
    LoraConfig,
    activate,
    adapter_state,
    inject,
    load_adapter,
    load_adapter_state,
    lora_layers,
    merge,
    save_adapter,
    trainable,
    unload,
)
from kb.lm import DecoderLM


def refusals() -> Iterator[tuple[Any, type[Exception], str]]:
    yield lambda m: inject(m, LoraConfig(targets=("qproj",))), ValueError, "'qproj'; its linear layers are"
    yield lambda m: inject(m, LoraConfig(targets=("mlp",))), TypeError, "SwiGLU"
    yield lambda m: inject(m, LoraConfig(), seed=1.5), ValueError, "seed"
    yield merge, ValueError, "no layer with adapters"
    yield unload, ValueError, "no layer with adapters"
    yield adapter_state, ValueError, "default"
    yield lambda m: (inject(m, LoraConfig()), inject(m, LoraConfig())), ValueError, "'default' is an adapter"
    yield lambda m: (inject(m, LoraConfig()), activate(m, "other")), ValueError, "other"
    yield lambda m: (inject(m, LoraConfig()), merge(m), merge(m)), ValueError, "merged already"
    yield lambda m: (inject(m, LoraConfig()), load_adapter_state(m, {})), ValueError, "lacks"


@pytest.mark.parametrize(("act", "error", "said"), list(refusals()))
def test_bad_use_is_refused(act: Any, error: type[Exception], said: str, decoder: DecoderLM) -> None:
    with pytest.raises(error, match=said):
        act(decoder)


def test_a_refused_injection_changes_nothing(decoder: DecoderLM, tokens: Tensor) -> None:
    decoder.requires_grad_(True)
    names = list(dict(decoder.named_parameters()))
    with pytest.raises(TypeError):
        inject(decoder, LoraConfig(targets=("q_proj", "mlp")))
    assert list(dict(decoder.named_parameters())) == names
    assert len(trainable(decoder)) == len(names)


def test_a_dora_on_a_row_of_zeros_is_refused_and_changes_nothing(decoder: DecoderLM) -> None:
    with torch.no_grad():
        decoder.layers[1].mlp.down_proj.weight[2] = 0.0  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="row 2 of the weight is zero"):
        inject(decoder, LoraConfig(dora=True))
    assert not lora_layers(decoder)
    inject(decoder, LoraConfig(targets=("q_proj",)))
    merge(decoder)
    with pytest.raises(ValueError, match="merged"):
        inject(decoder, LoraConfig(targets=("v_proj", "q_proj")), name="second")
    assert set(lora_layers(decoder)) == {f"layers.{layer}.self_attn.q_proj" for layer in (0, 1)}


def test_state_of_another_shape_is_refused_and_nothing_copied(decoder: DecoderLM) -> None:
    inject(decoder, LoraConfig(rank=2, targets=("q_proj",)))
    state = {name: one + 1 for name, one in adapter_state(decoder).items()}
    first, last = next(iter(state)), list(state)[-1]
    before = adapter_state(decoder)[first].clone()
    with pytest.raises(ValueError, match="wanted"):
        load_adapter_state(decoder, state | {last: torch.zeros(1)})
    with pytest.raises(ValueError, match="no place"):
        load_adapter_state(decoder, state | {"other": torch.zeros(1)})
    torch.testing.assert_close(adapter_state(decoder)[first], before)
    load_adapter_state(decoder, state)
    torch.testing.assert_close(adapter_state(decoder)[first], before + 1)


def test_files_of_other_methods_are_refused(decoder: DecoderLM, tmp_path: Path) -> None:
    inject(decoder, LoraConfig(rank=2, targets=ALL_LINEAR))
    save_adapter(decoder, tmp_path)
    config = tmp_path / "adapter_config.json"
    told = config.read_text()
    for before, after in [('"LORA"', '"IA3"'), ('"bias": "none"', '"bias": "all"')]:
        config.write_text(told.replace(before, after))
        with pytest.raises(ValueError, match=r"must be LORA|bias"):
            load_adapter(decoder, tmp_path, "second")
    config.write_text(told.replace('"r":', '"rank":'))
    with pytest.raises(ValueError, match="lacks 'r'"):
        load_adapter(decoder, tmp_path, "second")
    config.write_text(told)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(ValueError, match="safetensors"):
        load_adapter(decoder, tmp_path, "second")
    with pytest.raises(FileNotFoundError):
        load_adapter(decoder, tmp_path / "none")
