"""The table's facts give the published numbers of parameters, and transformers' own models, to the last one."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    GemmaConfig,
    GlmConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
)

from kb.lm import architecture, architectures
from kb.lm.cache_size import RELEASED
from kb.lm.families import agreement, count_parameters
from kb.lm.family_configs import KINDS, huggingface_config

IN_TRANSFORMERS = [name for name, model in architectures().items() if model.family in KINDS]


@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_the_formula_is_what_transformers_builds(name: str) -> None:
    """On two layers, one with experts where there are any: every layer more is one more of them."""
    model = replace(architecture(name), layers=2)
    if model.experts is not None:
        dense = min(1, model.experts.dense_layers)
        model = replace(model, experts=replace(model.experts, dense_layers=dense))
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(huggingface_config(model))
    assert sum(parameter.numel() for parameter in theirs.parameters()) == count_parameters(model).total


@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_every_layer_costs_the_same_but_dense_ones(name: str) -> None:
    model = architecture(name)
    two, three, all_of_them = (count_parameters(replace(model, layers=n)).total for n in (5, 6, model.layers))
    assert all_of_them - two == (model.layers - 5) * (three - two)


# Where the count is not the number printed, rounded to its digits: cut off behind them, or another number altogether.
CUT = {"LLaMA 65B", "Llama 3 70B", "Llama 3.1 70B", "Llama 3.1 405B", "Qwen-7B", "Qwen1.5-7B", "Qwen1.5-32B"}
CUT |= {"Qwen2-7B", "Qwen2-72B", "Qwen2.5-7B", "Qwen2.5-14B", "Baichuan 2 7B", "Baichuan 2 13B"}
DIFFERS = {"Transformer base", "Transformer big", "GPT-2 small", "GPT-2 medium", "GPT-2 large", "GPT-2 XL"}
DIFFERS |= {"GPT-3 175B", "Llama 2 70B", "Qwen2.5-32B", "Mistral 7B"}


@pytest.mark.parametrize("name", architectures())
def test_published_parameters(name: str) -> None:
    model = architecture(name)
    counted = count_parameters(model)
    if model.parameters is not None:
        wanted = "cut" if name in CUT else "differs" if name in DIFFERS else "rounded"
        assert agreement(counted.total, model.parameters) == wanted
    if model.active is not None:
        assert agreement(counted.active, model.active) == "rounded"
    if model.non_embedding is not None:
        wanted = "differs" if name in ("Qwen2.5-14B", "Qwen2.5-32B", "Qwen2.5-72B") else "rounded"
        assert agreement(counted.non_embedding, model.non_embedding) == wanted


def test_what_differs_differs_by_a_little() -> None:
    counts = {name: count_parameters(architecture(name)).total for name in DIFFERS}
    assert counts["GPT-2 small"] == 124_439_808  # what is sold as GPT-2 124M; the report says 117M
    assert counts["GPT-2 XL"] == 1_557_611_200
    assert counts["Mistral 7B"] == 7_241_732_096
    assert counts["Llama 2 70B"] == 68_976_648_192
    assert counts["Transformer base"] == 63_045_632
    assert counts["Transformer big"] == 214_171_648


def test_the_card_of_qwen_25_32b_prints_the_numbers_of_qwen_15_32b() -> None:
    old, card = count_parameters(architecture("Qwen1.5-32B")), architecture("Qwen2.5-32B")
    assert card.parameters is not None
    assert card.non_embedding is not None
    assert agreement(old.total, card.parameters) == agreement(old.non_embedding, card.non_embedding) == "rounded"


def test_grouped_queries_paid_for_the_wider_network_of_llama_3() -> None:
    """Per layer, Llama 3 8B's attention is smaller than Llama 2 7B's and its feed-forward network larger."""
    old, new = architecture("Llama 2 7B"), architecture("Llama 3 8B")
    as_old = count_parameters(replace(new, kv_heads=32, ffn_width=11_008, vocabulary=32_000, attention="MHA"))
    assert as_old == count_parameters(old)


SHARED = [shape for shape in RELEASED if shape.name in architectures()]


@pytest.mark.parametrize("shape", SHARED, ids=lambda shape: shape.name)
def test_caches_are_of_the_same_models(shape: Any) -> None:
    model = architecture(shape.name)
    assert (shape.layers, shape.heads, shape.kv_heads) == (model.layers, model.heads, model.kv_heads)
    assert (shape.head_dim, shape.kind) == (model.head_dim, model.attention)
    assert shape.latent == (model.latent.kv_rank if model.latent else 0)


@pytest.mark.parametrize("name", architectures())
def test_every_model_says_where_its_facts_stand(name: str) -> None:
    model = architecture(name)
    assert {"sizes", "design", "date"} <= set(model.sources)
    assert all(model.sources.values())
    if model.tokens is not None:
        assert "tokens" in model.sources or "table 1" in str(model.sources)
    kinds = {1: "MQA", model.heads: "MHA"}
    assert model.attention == ("MLA" if model.latent else kinds.get(model.kv_heads, "GQA"))
    assert model.ffn in ("relu", "gelu", "swiglu", "geglu")
    assert model.norm in ("layernorm", "rmsnorm")
    assert model.norm_place in ("pre", "post", "pre and post", "deepnorm")
    assert model.bias in ("all", "qkv", "ffn", "none")
    assert (model.rope_theta is None) or "rope" in model.position
    assert (model.ffn_width is None) == (model.experts is not None and model.experts.dense_layers == 0)


def test_defaults_of_transformers_are_the_first_models_of_their_families() -> None:
    llama, config = architecture("LLaMA 7B"), LlamaConfig()
    assert (config.hidden_size, config.intermediate_size) == (llama.width, llama.ffn_width)
    assert (config.vocab_size, config.max_position_embeddings) == (llama.vocabulary, llama.context)
    assert config.rope_parameters["rope_theta"] == llama.rope_theta
    assert (config.attention_bias, config.mlp_bias, config.tie_word_embeddings) == (False, False, False)
    mistral, window = architecture("Mistral 7B"), MistralConfig()
    assert (window.sliding_window, window.num_key_value_heads) == (mistral.window, mistral.kv_heads)
    assert MixtralConfig().sliding_window is architecture("Mixtral 8x7B").window is None
    glm, theirs = architecture("GLM-4-9B"), GlmConfig()
    assert (theirs.num_hidden_layers, theirs.intermediate_size) == (glm.layers, glm.ffn_width)
    assert (theirs.num_key_value_heads, theirs.vocab_size) == (glm.kv_heads, glm.vocabulary)
    assert theirs.rope_parameters["partial_rotary_factor"] == glm.rotary_share
    gemma = GemmaConfig()
    assert (gemma.hidden_size, gemma.intermediate_size) == (3072, architecture("Gemma 7B").ffn_width)
    assert gemma.vocab_size == 256_000 < architecture("Gemma 7B").vocabulary


def test_defaults_of_transformers_are_deepseek_v3() -> None:
    model, config = architecture("DeepSeek-V3"), DeepseekV3Config()
    latent, experts = model.latent, model.experts
    assert latent is not None
    assert experts is not None
    assert (config.q_lora_rank, config.kv_lora_rank) == (latent.query_rank, latent.kv_rank)
    assert (config.qk_rope_head_dim, config.qk_nope_head_dim) == (latent.rope_dim, latent.nope_dim)
    assert (config.n_routed_experts, config.n_shared_experts) == (experts.routed, experts.shared)
    assert (config.num_experts_per_tok, config.first_k_dense_replace) == (experts.active, experts.dense_layers)
    assert (config.hidden_size, config.num_hidden_layers) == (model.width, model.layers)


def their_layer(name: str) -> Any:
    with torch.device("meta"):
        theirs: Any = AutoModelForCausalLM.from_config(huggingface_config(replace(architecture(name), layers=2)))
    return theirs.model.layers[0]


def test_biases_and_norms_are_where_the_table_says() -> None:
    qwen2 = their_layer("Qwen2-7B")
    assert qwen2.self_attn.q_proj.bias is not None
    assert qwen2.self_attn.o_proj.bias is qwen2.mlp.up_proj.bias is None
    qwen3 = their_layer("Qwen3-8B").self_attn
    assert qwen3.q_proj.bias is None
    assert qwen3.q_norm.weight.shape == (architecture("Qwen3-8B").head_dim,)
    norms = {name for name, _ in their_layer("Gemma 2 9B").named_children() if "norm" in name}
    assert len(norms) == 4
    assert huggingface_config(architecture("Gemma 2 9B")).layer_types[:2] == ["sliding_attention", "full_attention"]
    assert huggingface_config(architecture("Gemma 3 27B")).layer_types[:6].count("sliding_attention") == 5


@pytest.mark.parametrize(
    ("count", "printed", "wanted"),
    [
        (6_738_415_616, "6.7B", "rounded"),
        (65_285_660_672, "65.2B", "cut"),
        (65_285_660_672, "65.3B", "rounded"),
        (124_439_808, "117M", "differs"),
        (1_234, "1,234", "rounded"),
        (1_235, "1,234", "differs"),
        (10_759_155_456, "10,759M", "rounded"),
        (2_500_000, "3M", "rounded"),
        (1_500_000_000_000, "1.5T", "rounded"),
    ],
)
def test_agreement(count: int, printed: str, wanted: str) -> None:
    assert agreement(count, printed) == wanted


@given(st.integers(1, 10**13), st.integers(0, 3))
def test_a_count_printed_by_rounding_agrees(count: int, decimals: int) -> None:
    printed = f"{round(count / 10**9, decimals):.{decimals}f}B"
    tie = count * 10**decimals % 10**9 == 10**9 // 2  # Python rounds a tie to even, and half of them down
    assert agreement(count, printed) in (("rounded", "cut") if tie else ("rounded",))


def test_refuses_a_family_that_transformers_has_not() -> None:
    with pytest.raises(ValueError, match=r"'Baichuan-7B'.*baichuan1"):
        huggingface_config(architecture("Baichuan-7B"))


def test_refuses_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="'Llama 9'"):
        architecture("Llama 9")
    for printed in ("", "B", "6,7x", "1.2.3B", "6.7MB", "6.7BB", "6.B", ".7B", ",7B", "٦.7B", "6.7B\n", None):
        with pytest.raises(ValueError, match="printed"):
            agreement(1, printed)  # type: ignore[arg-type]
    for count in (0, 1.5, True):
        with pytest.raises(ValueError, match="count"):
            agreement(count, "1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        architectures()["new"] = architecture("LLaMA 7B")  # type: ignore[index]
