"""Small random models, and what ``kb.lm.generate`` gives a request alone: the answer that the engine has to give."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kb.lm import DecoderLM, ModelConfig, generate
from kb.serving import LLM
from kb.serving.sampling_params import SamplingParams

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "max_positions": 96,
    "eos_ids": (0,),
}


def make_model(*, seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> DecoderLM:
    """A random model whose logits lie far enough apart that round-off decides nothing."""
    model = DecoderLM(ModelConfig(**{**SIZES, **options})).requires_grad_(False).eval()
    noise = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.35, generator=noise)
    return model.to(dtype)


def answer(model: DecoderLM, prompt: list[int], params: SamplingParams) -> list[list[int]]:
    """New tokens of each of the n samples, by plain generation of one sequence at a time.

    Stop ids end a sequence and are part of it, as in the engine. ``min_tokens`` and what only vLLM has are not known
    to ``kb.lm`` and not handled here.
    """
    stops = () if params.ignore_eos else model.config.eos_ids
    room = model.config.context_length - len(prompt)
    found = []
    for index in range(params.n):
        generator = None if params.greedy else torch.Generator().manual_seed((params.seed or 0) + index)
        tokens = generate(
            model,
            prompt,
            params.limit(room),
            sampling=params.to_lm(),
            generator=generator,
            stop_ids=(*stops, *params.stop_token_ids),
        )
        found.append(tokens.tolist()[len(prompt) :])
    return found


@pytest.fixture(scope="session")
def tiny() -> DecoderLM:
    """A model of two layers in float64, where round-off never decides; not to be changed."""
    return make_model()


@pytest.fixture(scope="session")
def model_maker() -> Callable[..., DecoderLM]:
    """:func:`make_model`, handed over so that tests need not import a conftest."""
    return make_model


@pytest.fixture(scope="session")
def answers() -> Callable[[DecoderLM, list[int], SamplingParams], list[list[int]]]:
    """:func:`answer`."""
    return answer


@pytest.fixture(scope="module")
def small(tiny: DecoderLM) -> LLM:
    """A small engine for the tests of one module, which leave no request in it."""
    return LLM(tiny, block_size=4, num_gpu_blocks_override=60, max_num_seqs=8)
