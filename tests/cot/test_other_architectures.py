"""Models that are no Llama: learned positions, no positions at all, windows, no cache of keys and values.

Each padded batch against a loop that computes one unpadded sequence anew for every token.
"""

from typing import Any

import pytest
import torch
import transformers

from kb.cot import Sampling, TransformersModel
from tests.cot.tiny_llama import make_tokenizer

SIZES: dict[str, Any] = {"vocab_size": 258, "hidden_size": 32, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1}
LAYERS: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
CONFIGS: dict[str, Any] = {
    "learned positions": transformers.GPT2Config(**SIZES, n_layer=2, n_head=4, n_positions=128),
    "no positions": transformers.BloomConfig(**SIZES, n_layer=2, n_head=4),
    "no keys and values": transformers.MambaConfig(**SIZES, num_hidden_layers=2),
    "a window of 8": transformers.MistralConfig(**SIZES, **LAYERS, num_key_value_heads=2, sliding_window=8),
}
PROMPTS = ["Q: 3 + 4?\nA:", "today", "one two three four five six"]


def make_model(config: Any) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    noise = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "conv" not in name and "A_log" not in name:
            parameter.normal_(0, 0.35, generator=noise)
    return model


def continued(model: Any, tokenizer: Any, prompt: str, count: int) -> str:
    ids = tokenizer.encode(prompt)
    first = len(ids)
    while len(ids) < first + count and ids[-1] != 1:
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return str(tokenizer.decode(ids[first:], skip_special_tokens=True)).rstrip("\ufffd")


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_padded_batch_gives_what_each_sequence_gives_alone(kind: str) -> None:
    model, tokenizer = make_model(CONFIGS[kind]), make_tokenizer()
    tested = TransformersModel(model, tokenizer, batch_size=3, context_length=64)
    found = tested.generate(PROMPTS, Sampling(max_tokens=8))
    wanted = [continued(model, tokenizer, prompt, 8) for prompt in PROMPTS]
    assert [one.text.rstrip("\ufffd") for (one,) in found] == wanted
    assert any(wanted)


def test_a_context_that_nobody_states_must_be_given() -> None:
    model = make_model(CONFIGS["no keys and values"])
    with pytest.raises(ValueError, match="context_length must be given"):
        TransformersModel(model, make_tokenizer())
