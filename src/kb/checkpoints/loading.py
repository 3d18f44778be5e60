"""Load a checkpoint: a pinned one by its name, or any Hugging Face folder of safetensors.

A pinned checkpoint is converted once into such a folder in the cache, float32, and read from there ever after; the
folder loads in transformers as well. Weights are safetensors only: a pickle would run whatever its author put in it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kb import runtime
from kb.checkpoints.files import json_or_empty, read_json
from kb.checkpoints.smollm2 import converted_folder
from kb.checkpoints.tokenizer import Tokenizer

# SmolLM2-135M-Instruct, dequantised from Q4_1: the weights carry 4-bit rounding.
NAMES = {"smollm2-135m": converted_folder}


@dataclass(frozen=True)
class Checkpoint:
    """A released model at rest.

    Args:
        name: What it was loaded by.
        folder: Where its files lie; transformers' ``from_pretrained`` takes it too.
        config: The ``config.json``.
        weights: Tensors by Hugging Face name. A tied output head is not stored twice.
        generation: The ``generation_config.json``, empty where there is none.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    generation: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the folder, read when first asked for.

        Raises:
            ValueError: the folder has no ``tokenizer.json``.
        """
        return Tokenizer.from_folder(self.folder)


def load(
    name: str | Path, *, dtype: torch.dtype | None = torch.float32, device: torch.device | str = "cpu"
) -> Checkpoint:
    """Load a checkpoint.

    Args:
        name: One of :data:`NAMES`, or the path of a folder with ``config.json`` and ``model.safetensors`` (or its
            shards and their index).
        dtype: Floating-point tensors are turned into it; None leaves them as they are stored.
        device: Where to put the tensors.

    Raises:
        TypeError: ``dtype`` is no dtype.
        ValueError: no such name or folder, a file that is missing, broken or not safetensors, quantised weights, or
            a device that there is not.
        DatasetError: a pinned checkpoint could not be downloaded (see ``kb.datasets.fetch``).
    """
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype: wanted a torch.dtype or None, got {dtype!r}")
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype: wanted a floating-point dtype or None, got {dtype}")
    where = runtime.device(str(device))
    folder = NAMES[name]() if isinstance(name, str) and name in NAMES else _folder(name)
    if folder is None:
        raise ValueError(f"name: {str(name)!r} is neither a checkpoint ({', '.join(NAMES)}) nor a folder")
    config = read_json(folder / "config.json")
    if config.get("quantization_config"):
        raise ValueError(f"{folder}: quantised weights are not supported; load the model's unquantised folder")
    weights = {}
    for file in _weight_files(folder):
        with _readable(file, made_here=name in NAMES):
            shard = load_file(file, device=str(where))
        weights.update({key: _cast(tensor, dtype) for key, tensor in shard.items()})
    _require_indexed(folder, weights)
    return Checkpoint(str(name), folder, config, weights, json_or_empty(folder / "generation_config.json"))


def _folder(name: str | Path) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError):  # a name that is too long, a user that there is not
        return None


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        files = [folder / name for name in sorted(set(_weight_map(index).values()))]
        missing = [file.name for file in files if not file.exists()]
        if missing or not files:
            raise ValueError(f"{index} names shards that are missing: {', '.join(missing) or 'it names none'}")
        return files
    others = [file.name for pattern in ("*.bin", "*.pth", "*.pt", "*.gguf") for file in folder.glob(pattern)]
    hint = f"; {others[0]} is not read: save it as safetensors with transformers first" if others else ""
    raise ValueError(f"{folder} has no model.safetensors and no model.safetensors.index.json{hint}")


def _weight_map(index: Path) -> dict[str, str]:
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise ValueError(f"{index}: weight_map must name the file of each tensor, got {type(found).__name__}")
    return found


def _require_indexed(folder: Path, weights: Mapping[str, Tensor]) -> None:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists() or not index.exists():
        return
    missing = sorted(set(_weight_map(index)) - set(weights))
    if missing:
        raise ValueError(f"the shards of {folder} lack {len(missing)} tensors of the index; the first is {missing[0]}")


@contextmanager
def _readable(file: Path, *, made_here: bool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    except SafetensorError as error:
        cure = "delete it, and it will be made anew" if made_here else "delete it, then copy or download it again"
        raise ValueError(f"{file} is broken or not safetensors ({error}); {cure}") from error


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
