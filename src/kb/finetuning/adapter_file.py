"""Adapters as files: safetensors and a JSON of the configuration, in the form that peft reads and writes.

The base is not stored: an adapter is useless without the very weights it was trained on, and nothing in its file says
which these were; that is for the caller to keep.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kb.finetuning.config import LoraConfig
from kb.finetuning.injection import inject, lora_layers
from kb.finetuning.lora import LowRank

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."  # peft's, before the path in the model
# Of a LowRank, and what peft calls it.
_NAMES = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "lora_magnitude_vector": "lora_magnitude_vector"}


def adapter_state(model: nn.Module, name: str = "default") -> dict[str, Tensor]:
    """The tensors of one adapter by path, detached, not copied.

    Raises:
        ValueError: no layer has an adapter of this name.
    """
    adapters = _adapters(model, name)
    return {
        f"{path}.{_NAMES[key]}": tensor.detach()
        for path, adapter in adapters.items()
        for key, tensor in adapter.named_parameters()
    }


@torch.no_grad()
def load_adapter_state(model: nn.Module, state: dict[str, Tensor], name: str = "default") -> None:
    """Copy tensors into an adapter that is there.

    Raises:
        ValueError: one is missing, unknown or of another shape; nothing is copied then.
    """
    wanted = adapter_state(model, name)
    given = {key.removeprefix(_PREFIX): tensor for key, tensor in state.items()}
    if missing := sorted(set(wanted) - set(given)):
        raise ValueError(f"state lacks {missing[0]}, one of {len(missing)} missing")
    if unknown := sorted(set(given) - set(wanted)):
        raise ValueError(f"state has {unknown[0]}, for which the model has no place")
    for key, tensor in wanted.items():
        if tensor.shape != given[key].shape:
            raise ValueError(f"state: {key} is {tuple(given[key].shape)}, wanted {tuple(tensor.shape)}")
    for key, tensor in wanted.items():
        tensor.copy_(given[key])


def save_adapter(model: nn.Module, folder: str | Path, name: str = "default") -> None:
    """Write one adapter into a folder, which is made if need be; peft's ``from_pretrained`` takes it.

    Raises:
        ValueError: no layer has an adapter of this name.
    """
    state = {_PREFIX + key: tensor.contiguous() for key, tensor in adapter_state(model, name).items()}
    config = next(iter(_adapters(model, name).values())).config
    told = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "r": int(config.rank),  # JSON has no numbers of NumPy
        "lora_alpha": config.alpha if isinstance(config.alpha, int) else float(config.alpha),
        "lora_dropout": float(config.dropout),
        "target_modules": list(config.targets),
        "use_rslora": config.rank_stabilized,
        "use_dora": config.dora,
        "bias": "none",
        "inference_mode": True,
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file(state, Path(folder, WEIGHTS))
    Path(folder, CONFIG).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def load_adapter(model: nn.Module, folder: str | Path, name: str = "default") -> LoraConfig:
    """Inject the adapter of a folder, ours or peft's, and make it the active one.

    Raises:
        FileNotFoundError: the folder lacks one of the two files.
        ValueError: the configuration is of another method or asks for what is not done here, or the tensors do not fit.
    """
    told = json.loads(Path(folder, CONFIG).read_text(encoding="utf-8"))
    config = _config(told)
    try:
        state = load_file(Path(folder, WEIGHTS))
    except SafetensorError as error:
        raise ValueError(f"{WEIGHTS} is no file of safetensors: {error}") from error
    inject(model, config, name=name)
    load_adapter_state(model, state, name)
    return config


def _config(told: dict[str, Any]) -> LoraConfig:
    if told.get("peft_type") != "LORA":
        raise ValueError(f"peft_type must be LORA, got {told.get('peft_type')!r}")
    if lacking := [key for key in ("r", "lora_alpha") if key not in told]:
        raise ValueError(f"{CONFIG} lacks {lacking[0]!r}")
    for key in ("rank_pattern", "alpha_pattern", "layers_to_transform", "modules_to_save"):
        if told.get(key):
            raise ValueError(f"{key} {told[key]!r} is not supported: all targets share one configuration")
    if told.get("bias", "none") != "none" or told.get("fan_in_fan_out"):
        raise ValueError("bias and fan_in_fan_out other than peft's defaults are not supported")
    targets = told.get("target_modules")
    if not isinstance(targets, list):
        raise ValueError(f"target_modules must be a list of names, got {targets!r}")
    return LoraConfig(
        rank=told["r"],
        alpha=told["lora_alpha"],
        targets=tuple(sorted(targets)),
        dropout=told.get("lora_dropout", 0.0),
        rank_stabilized=told.get("use_rslora", False),
        dora=told.get("use_dora", False),
    )


def _adapters(model: nn.Module, name: str) -> dict[str, LowRank]:
    layers = lora_layers(model)
    found = {path: layer.adapters[name] for path, layer in layers.items() if name in layer.adapters}
    if not found:
        raise ValueError(f"name: no layer has an adapter {name!r}")
    return found  # type: ignore[return-value]
