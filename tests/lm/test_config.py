"""Reading config.json: old and new spellings mean the same; what cannot be run is refused with its reason."""

from typing import Any

import pytest

from kb.lm import ModelConfig

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SCALING = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 512}


def test_spellings_of_transformers_4_and_5_are_one() -> None:
    old = {**LLAMA, "rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **SCALING}}
    older = {**LLAMA, "rope_theta": 5e5, "rope_scaling": {"type": "llama3", **SCALING}}
    new = {**LLAMA, "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **SCALING}}
    configs = {ModelConfig.from_huggingface(config) for config in (old, older, new)}
    assert len(configs) == 1
    rope = configs.pop().rope
    assert (rope.theta, rope.type, rope.factor, rope.max_positions) == (5e5, "llama3", 8.0, 512)


def test_silent_entries_get_the_defaults_of_transformers() -> None:
    config = ModelConfig.from_huggingface(LLAMA)
    assert (config.num_kv_heads, config.head_dim, config.max_positions) == (4, 16, 2048)
    assert (config.norm_eps, config.rope.theta, config.tie_embeddings) == (1e-6, 10_000.0, False)


@pytest.mark.parametrize(("value", "wanted"), [(None, ()), (2, (2,)), ([2, 7], (2, 7))])
def test_end_of_sequence_ids(value: Any, wanted: tuple[int, ...]) -> None:
    assert ModelConfig.from_huggingface({**LLAMA, "eos_token_id": value}).eos_ids == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "gpt2.*llama"),
        ({"model_type": None}, "Llama family"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"num_hidden_layers": 0}, "num_layers"),
        ({"vocab_size": -5}, "vocab_size"),
        ({"vocab_size": 1.5}, "vocab_size"),
        ({"num_hidden_layers": True}, "num_layers"),
        ({"num_key_value_heads": 3}, "not a multiple"),
        ({"head_dim": 15}, "even"),
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_scaling": {"type": "su"}}, "su"),
        ({"rope_scaling": {"type": "linear"}}, "needs a factor"),
    ],
)
def test_refuses_what_it_cannot_run(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_huggingface({**LLAMA, **change})
