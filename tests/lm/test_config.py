"""Reading config.json: old and new spellings mean the same; what cannot be run is refused with its reason."""

from typing import Any

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from kb.lm import ModelConfig

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
QWEN_WINDOW = {"model_type": "qwen2", "num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 4}
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


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
def test_silent_key_value_heads_are_those_of_transformers(kind: str) -> None:
    silent = {**LLAMA, "model_type": kind, "num_attention_heads": 64, "head_dim": 16}
    theirs = CONFIG_MAPPING[kind](**{key: value for key, value in silent.items() if key != "model_type"})
    assert ModelConfig.from_huggingface(silent).num_kv_heads == theirs.num_key_value_heads
    assert ModelConfig.from_huggingface({**silent, "num_key_value_heads": None}).num_kv_heads == 64


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("change", [{}, {"sliding_window": None}, {"sliding_window": 9}])
@pytest.mark.parametrize("switch", [{}, {"use_sliding_window": True}, {"use_sliding_window": False}])
def test_windows_are_those_of_transformers(kind: str, change: dict[str, Any], switch: dict[str, bool]) -> None:
    stated = {**LLAMA, "num_hidden_layers": 31, "num_key_value_heads": 2, **change, **switch}
    theirs = CONFIG_MAPPING[kind](**{key: value for key, value in stated.items() if key != "model_type"})
    ours = ModelConfig.from_huggingface({**stated, "model_type": kind})
    wanted = [theirs.sliding_window if kind == "sliding_attention" else None for kind in theirs.layer_types]
    assert [ours.window(layer) for layer in range(31)] == wanted


@pytest.mark.parametrize(("value", "wanted"), [(None, ()), (2, (2,)), ([2, 7], (2, 7))])
def test_end_of_sequence_ids(value: Any, wanted: tuple[int, ...]) -> None:
    assert ModelConfig.from_huggingface({**LLAMA, "eos_token_id": value}).eos_ids == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "gpt2.*llama"),
        ({"model_type": None}, "Llama family"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"vocab_size": -5}, "vocab_size"),
        ({"vocab_size": 1.5}, "vocab_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_attention_heads": "4"}, "num_attention_heads"),
        ({"max_position_embeddings": "long"}, "max_position_embeddings"),
        ({"rms_norm_eps": "1e-5"}, "norm_eps"),
        ({"rms_norm_eps": -1e-5}, "norm_eps"),
        ({"rms_norm_eps": None}, "norm_eps"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": "x"}, "rope_theta"),
        ({"eos_token_id": "a"}, "eos_ids"),
        ({"eos_token_id": [1, -1]}, "eos_ids"),
        ({"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": -1}, "windows"),
        ({"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": "4"}, "windows"),
        ({"model_type": "smollm3", "no_rope_layer_interval": 0}, "no_rope_layer_interval"),
        ({**QWEN_WINDOW, "layer_types": ["chunked_attention"] * 2}, "chunked_attention"),
        ({"num_key_value_heads": 3}, "not a multiple"),
        ({"head_dim": 15}, "even"),
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_scaling": {"type": "su"}}, "su"),
        ({"rope_scaling": {"type": "linear"}}, "needs a factor"),
        ({"rope_scaling": "linear"}, "names and values"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor"),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}}, "full_attention"),
        ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "longrope wants short_factor"),
        (
            {"rope_scaling": {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 7}},
            "8 short.* 7 long",
        ),
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}, "1 factors for the 8"),
        ({"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 1}}, "at least 2"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}, "rope_theta": 1}, "yarn"),
    ],
)
def test_refuses_what_it_cannot_run(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_huggingface({**LLAMA, **change})


def test_rope_scaling_goes_before_rope_parameters() -> None:
    both = {
        "rope_scaling": {"type": "linear", "factor": 4.0},
        "rope_parameters": {"rope_type": "linear", "factor": 2.0},
    }
    assert ModelConfig.from_huggingface({**LLAMA, **both}).rope.factor == 4


def test_an_unset_max_window_layers_is_that_of_transformers() -> None:
    config = ModelConfig.from_huggingface({**LLAMA, **QWEN_WINDOW, "num_hidden_layers": 30, "max_window_layers": None})
    assert config.windows == (None,) * 28 + (4, 4)


def test_qwen2_ignores_attention_bias() -> None:
    config = ModelConfig.from_huggingface({**LLAMA, **QWEN_WINDOW, "attention_bias": True})
    assert (config.qkv_bias, config.output_bias) == (True, False)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, 64),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 256),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, 256),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}, 256),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}, 64),
        ({"rope_scaling": {"rope_type": "llama3", **SCALING, "original_max_position_embeddings": 4}}, 64),
    ],
)
def test_the_context_is_what_is_stated_or_what_scaling_stretches_it_to(change: dict[str, Any], wanted: int) -> None:
    config = ModelConfig.from_huggingface({**LLAMA, "max_position_embeddings": 64, **change})
    assert config.context_length == wanted
