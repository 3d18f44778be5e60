"""A released model's facts as the configuration class of transformers that builds it: the second opinion on the table.

Built on torch's meta device, such a model has shapes and no numbers, so that one of 671 billion parameters fits.
Unusual: a class is taken only where it builds the very architecture. Qwen 1, Baichuan and ChatGLM 1 to 3 came as code
beside their weights and have none; GPT-3 is built as GPT-2, whose model it is but for its sparse attention.
"""

from typing import Any

from kb.lm.families import Architecture

KINDS = {
    "gpt2": "gpt2",
    "gpt3": "gpt2",
    "llama1": "llama",
    "llama2": "llama",
    "llama3": "llama",
    "glm4": "glm",
    "qwen15": "qwen2",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "mistral": "mistral",
    "deepseek": "deepseek_v3",
    "gemma1": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
}


def huggingface_config(model: Architecture) -> Any:
    """The configuration of transformers, given every fact that sets a size, a bias, a norm or a window.

    Raises:
        ValueError: transformers has no class for the model's family.
    """
    if model.family not in KINDS:
        raise ValueError(f"model {model.name!r}: transformers has no class for {model.family}, but for {[*KINDS]}")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    classes: Any = CONFIG_MAPPING  # each with keywords of its own
    kind = KINDS[model.family]
    if kind == "gpt2":
        sizes: dict[str, Any] = {
            "n_embd": model.width,
            "n_layer": model.layers,
            "n_head": model.heads,
            "n_inner": model.ffn_width,
        }
        return classes[kind](vocab_size=model.vocabulary, n_positions=model.context, **sizes)
    facts: dict[str, Any] = {
        "vocab_size": model.vocabulary,
        "hidden_size": model.width,
        "intermediate_size": model.ffn_width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "tie_word_embeddings": model.tied,
        "pad_token_id": None,
    }
    if model.experts is not None:
        kind = _with_experts(model, kind, facts)
    if model.latent is not None:
        latent = model.latent
        facts |= {"q_lora_rank": latent.query_rank, "kv_lora_rank": latent.kv_rank, "v_head_dim": latent.value_dim}
        facts |= {"qk_rope_head_dim": latent.rope_dim, "qk_nope_head_dim": latent.nope_dim}
        del facts["head_dim"]
    return classes[kind](**facts)


def _with_experts(model: Architecture, kind: str, facts: dict[str, Any]) -> str:
    """Adds what a mixture has to the facts; returns the kind that has a place for it."""
    experts = model.experts
    assert experts is not None
    kind = {"qwen3": "qwen3_moe", "mistral": "mixtral"}.get(model.family, kind)
    kind = "deepseek_v2" if model.name == "DeepSeek-V2" else kind
    facts |= {"moe_intermediate_size": experts.width, "num_experts_per_tok": experts.active}
    facts |= {"n_shared_experts": experts.shared, "first_k_dense_replace": experts.dense_layers}
    number = {"mixtral": "num_local_experts", "qwen3_moe": "num_experts"}.get(kind, "n_routed_experts")
    facts[number] = experts.routed
    facts["intermediate_size"] = model.ffn_width or experts.width
    return kind
