"""A checkpoint's tensors, made ready for :class:`~kb.lm.DecoderLM`: its names, one dtype, a head where none was stored.

Shapes: D model width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from kb.lm.config import ModelConfig

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class LoadedCheckpoint(Protocol):
    """What is read of ``kb.checkpoints.Checkpoint``."""

    @property
    def config(self) -> Mapping[str, object]:
        """The ``config.json``."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Tensors by Hugging Face name."""


def prepared(checkpoint: LoadedCheckpoint) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration, and the tensors by the names of the model's modules; none is copied.

    Raises:
        ValueError: the configuration is not of this family, or the tensors are not of one floating dtype.
    """
    config = ModelConfig.from_huggingface(checkpoint.config, getattr(checkpoint, "generation", None))
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint.weights.items()
        if not name.endswith("rotary_emb.inv_freq")  # in folders of 2023: derived, not learned
    }
    dtypes = {tensor.dtype for tensor in weights.values()}
    if len(dtypes) > 1 or not dtypes <= set(_DTYPES):
        raise ValueError(
            f"the tensors are of {', '.join(sorted(map(str, dtypes)))}; wanted one of {', '.join(map(str, _DTYPES))} "
            "throughout: load the checkpoint with a dtype"
        )
    embedding, head = weights.get("embed_tokens.weight", torch.empty(0)), weights.get("lm_head.weight")
    if config.tie_embeddings and head is not None and not torch.equal(head, embedding):
        config = replace(config, tie_embeddings=False)  # a head of its own was stored: transformers keeps it, too
    elif config.tie_embeddings:
        weights["lm_head.weight"] = embedding
    return config, weights


def require_fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Compare the names and shapes of the model's tensors with those of the checkpoint.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; the first is named.
    """
    wants = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    has = {name: tuple(tensor.shape) for name, tensor in given.items()}
    if wants != has:
        names = sorted(name for name in wants.keys() | has.keys() if wants.get(name) != has.get(name))
        first = names[0]
        raise ValueError(
            f"{len(names)} tensors of the checkpoint do not fit its configuration; the first is {first}: "
            f"wanted {wants.get(first, 'none')}, got {has.get(first, 'none')}"
        )
