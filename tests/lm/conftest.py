"""Small random models of the Llama family, each with the transformers model that it must equal."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from kb.lm import DecoderLM

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": None,
}


class Pair:
    """Our model and theirs with the same weights."""

    def __init__(self, kind: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        self.their_config = CONFIG_MAPPING[kind](**{**SIZES, **options})
        torch.manual_seed(seed)
        self.theirs = AutoModelForCausalLM.from_config(self.their_config, attn_implementation="sdpa")
        with torch.no_grad():
            for name, parameter in self.theirs.named_parameters():
                # Their initialisation leaves every logit near 0, where all implementations agree.
                parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
        self.theirs = self.theirs.to(dtype).eval()
        weights = {name: tensor.detach().clone() for name, tensor in self.theirs.state_dict().items()}
        if self.their_config.tie_word_embeddings:  # a file does not hold a tied head
            del weights["lm_head.weight"]
        self.checkpoint = SimpleNamespace(config=self.their_config.to_dict(), weights=weights)
        self.ours = DecoderLM.from_checkpoint(self.checkpoint)

    def tokens(self, B: int, T: int, seed: int = 0) -> torch.Tensor:
        """Random ids [B, T]."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, self.their_config.vocab_size, (B, T), generator=generator)


@pytest.fixture(scope="session")
def make_pair() -> Any:
    """The class, handed to tests as a fixture so that they need not import a conftest."""
    return Pair


@pytest.fixture(scope="session")
def tiny() -> Pair:
    """A small Llama with grouped queries; not to be changed."""
    return Pair("llama")
