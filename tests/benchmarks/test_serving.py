"""Every contender of the serving races does the same work: as many tokens of every request, whatever they are."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.serving import assert_idle, by_kb, by_transformers, reference_gap
from kb.lm import DecoderLM, generate
from kb.serving import LLM

PROMPTS = [[1, 5, 3, 8, 2, 4, 6], [7], [2, 2, 9, 4]]
NEW_TOKENS = 12


@pytest.fixture(scope="module")
def theirs() -> Any:
    """A small Llama of eleven tokens, all of which end a sequence: an engine that heeds this writes too little."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        eos_token_id=list(range(11)),
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3)
    return model


@pytest.fixture(scope="module")
def ours(theirs: Any) -> DecoderLM:
    """The same model in kb."""
    weights = {name: tensor.detach().clone() for name, tensor in theirs.state_dict().items()}
    checkpoint: Any = SimpleNamespace(config=theirs.config.to_dict(), weights=weights)
    return DecoderLM.from_checkpoint(checkpoint).eval()


@pytest.fixture(scope="module")
def alone(ours: DecoderLM) -> list[list[int]]:
    """What each prompt is continued with, one at a time."""
    return [generate(ours, prompt, NEW_TOKENS, stop_ids=())[len(prompt) :].tolist() for prompt in PROMPTS]


def test_a_padded_batch_is_continued_like_each_prompt_alone(theirs: Any, alone: list[list[int]]) -> None:
    assert by_transformers(theirs, PROMPTS, NEW_TOKENS) == alone


def test_kb_serving_goes_on_after_the_end_of_sequence(ours: DecoderLM, alone: list[list[int]]) -> None:
    llm = LLM(ours, skip_tokenizer_init=True, num_gpu_blocks_override=16)
    assert by_kb(llm, PROMPTS, NEW_TOKENS) == alone


def test_the_gap_is_that_of_the_two_best_logits(ours: DecoderLM, theirs: Any) -> None:
    with torch.inference_mode():
        logits = theirs(torch.tensor([PROMPTS[0]])).logits[0, -1].sort(descending=True).values
    assert reference_gap(ours)(PROMPTS[0]) == pytest.approx(float(logits[0] - logits[1]), abs=1e-5)


def test_a_side_that_works_while_the_other_runs_is_found() -> None:
    def pause() -> None:
        time.sleep(0.05)

    assert_idle(lambda: 3.0, pause, "vLLM")
    with pytest.raises(AssertionError, match=r"vLLM used 0\.\d\d s of processor time of the other side's 0\.\d\d s"):
        assert_idle(time.perf_counter, pause, "vLLM")
