"""vLLM's interface on the real model: its text, stop strings, the chat template, names of tokens."""

import math

import pytest

from kb import checkpoints
from kb.lm import DecoderLM, generate
from kb.serving import LLM, SamplingParams


@pytest.fixture(scope="module")
def real() -> LLM:
    return LLM("smollm2-135m", max_num_seqs=32)


def test_the_real_model_writes_what_generate_writes(real: LLM) -> None:
    prompts = ["The sun rises in the", "Once upon a time", "def fibonacci(n):"]
    plain = DecoderLM.from_checkpoint(checkpoints.load("smollm2-135m"), share=True)
    tokenizer = real.get_tokenizer()
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    for prompt, output in zip(prompts, real.generate(prompts, params), strict=True):
        wanted = generate(plain, tokenizer.encode(prompt), 12, stop_ids=()).tolist()
        assert [*(output.prompt_token_ids or []), *output.outputs[0].token_ids] == wanted
        assert output.prompt == prompt
        assert prompt + output.outputs[0].text == tokenizer.decode(wanted)


def test_a_stop_string_cuts_the_text(real: LLM) -> None:
    (output,) = real.generate("The sun rises in the", SamplingParams(temperature=0, max_tokens=20, stop=["golden"]))
    one = output.outputs[0]
    assert one.text == " sky, casting a "
    assert (one.finish_reason, one.stop_reason) == ("stop", "golden")


def test_a_conversation_goes_through_the_template(real: LLM) -> None:
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    (output,) = real.chat(messages, SamplingParams(temperature=0, max_tokens=10))
    assert "Paris" in output.outputs[0].text
    assert (output.prompt or "").endswith("<|im_start|>assistant\n")
    assert output.outputs[0].finish_reason == "stop"


def test_logprobs_name_their_tokens(real: LLM) -> None:
    (output,) = real.generate("The sun rises in the", SamplingParams(temperature=0, max_tokens=1, logprobs=2))
    (place,) = output.outputs[0].logprobs or []
    assert next(iter(place.values())).decoded_token == " sky"
    assert math.exp(next(iter(place.values())).logprob) > 0.1
