"""The pinned checkpoint, and small random ones as transformers saves them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from kb import checkpoints

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": None,
}


@pytest.fixture(scope="session")
def smollm2() -> checkpoints.Checkpoint:
    """SmolLM2-135M-Instruct in float32, downloaded and converted where this machine has not yet."""
    return checkpoints.load("smollm2-135m")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Any]:
    """Saves a random model of a kind into ``tmp_path`` and returns it."""

    def save(kind: str, *, dtype: torch.dtype = torch.float32, shard: str = "5GB", **options: Any) -> Any:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SIZES, **options}))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
        model = model.to(dtype).eval()
        model.save_pretrained(tmp_path, max_shard_size=shard)
        return model

    return save
