"""The two models, not yet trained or changed, and tokens for them."""

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from kb.lm import DecoderLM
from tests.finetuning.models import ours_of, random_llama


@pytest.fixture
def llama() -> LlamaForCausalLM:
    return random_llama()


@pytest.fixture
def decoder(llama: LlamaForCausalLM) -> DecoderLM:
    return ours_of(llama)


@pytest.fixture(scope="session")
def tokens() -> Tensor:
    return torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(2))
