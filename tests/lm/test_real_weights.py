"""SmolLM2's real weights: our logits and our greedy tokens are transformers', on twenty prompts of varied length."""

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from kb import checkpoints
from kb.lm import DecoderLM, KVCache, generate

PROMPTS = (
    "A",
    "The",
    "Once upon a time",
    "The capital of Japan is",
    "2 + 2 =",
    "import numpy as np\n\ndef softmax(x):\n",
    "Q: Why is the sky blue?\nA:",
    "巴黎是法国的首都。",
    "Le chat est assis sur",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
    "\n\n\n",
    "1, 1, 2, 3, 5, 8, 13,",
    "The mitochondria is the powerhouse of",
    "Dear Sir or Madam,\n\nI am writing to",
    "SELECT name, age FROM users WHERE",
    "🙂🙃",
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer",
    "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |",
    "In 1905, Albert Einstein published four papers. " * 4,
    "The quick brown fox jumps over the lazy dog. " * 20,
)


@pytest.fixture(scope="module")
def checkpoint() -> Any:
    return checkpoints.load("smollm2-135m")


@pytest.fixture(scope="module")
def ours(checkpoint: Any) -> DecoderLM:
    return DecoderLM.from_checkpoint(checkpoint, share=True)


@pytest.fixture(scope="module")
def theirs(checkpoint: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype=torch.float32)


def test_twenty_prompts_of_varied_length(checkpoint: Any) -> None:
    lengths = {len(checkpoint.tokenizer.encode(prompt)) for prompt in PROMPTS}
    assert len(PROMPTS) == len(set(PROMPTS)) == 20
    assert min(lengths) == 1
    assert max(lengths) > 200
    assert len(lengths) >= 12


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_tokens_are_transformers(prompt: str, checkpoint: Any, ours: DecoderLM, theirs: Any) -> None:
    tokens = torch.tensor([checkpoint.tokenizer.encode(prompt)])
    found = generate(ours, tokens, 5)
    with torch.inference_mode():  # one pass tells what transformers would choose after each of these tokens
        logits = theirs(found[:, :-1], logits_to_keep=5).logits
    assert torch.equal(found[:, -5:], logits.argmax(dim=-1))


def test_transformers_generates_the_same(checkpoint: Any, ours: DecoderLM, theirs: Any) -> None:
    tokens = torch.tensor([checkpoint.tokenizer.encode(PROMPTS[2])])
    wanted = theirs.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=8, do_sample=False)
    assert torch.equal(generate(ours, tokens, 8), wanted)


@pytest.mark.parametrize("prompt", [PROMPTS[0], PROMPTS[7], PROMPTS[-1]])
def test_logits_are_transformers(prompt: str, checkpoint: Any, ours: DecoderLM, theirs: Any) -> None:
    tokens = torch.tensor([checkpoint.tokenizer.encode(prompt)])
    with torch.inference_mode():
        found, wanted = ours(tokens), theirs(tokens).logits
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_logits_in_double_precision_and_from_a_cache(checkpoint: Any, ours: DecoderLM) -> None:
    tokens = torch.tensor([checkpoint.tokenizer.encode(PROMPTS[-4])])
    theirs = AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype=torch.float64, attn_implementation="sdpa")
    exact = copy.deepcopy(ours).double()
    cache = KVCache(exact.config, capacity=tokens.shape[1], dtype=torch.float64)
    with torch.inference_mode():
        wanted = theirs(tokens).logits
        at_once = exact(tokens)
        pieces = tokens.split([11, 1, 1, tokens.shape[1] - 13], 1)
        in_pieces = torch.cat([exact(piece, cache=cache) for piece in pieces], 1)
    for found in (at_once, in_pieces):
        assert (found - wanted).abs().max() <= 1e-9 * wanted.abs().max()


def test_cached_equals_uncached(checkpoint: Any, ours: DecoderLM) -> None:
    tokens = checkpoint.tokenizer.encode(PROMPTS[3])
    assert torch.equal(generate(ours, tokens, 8), generate(ours, tokens, 8, use_cache=False))
