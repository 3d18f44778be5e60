"""Counts by formula equal the parameters of transformers' models, built without memory, and of ours."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaModel,
)

from kb.lm import DecoderLM, ModelConfig
from kb.lm.parameter_count import (
    BERT_BASE_CASED,
    BERT_BASE_CHINESE,
    BERT_BASE_UNCASED,
    BERT_LARGE_UNCASED,
    ENCODERS,
    ROBERTA_BASE,
    ROBERTA_LARGE,
    EncoderSizes,
    decoder_parameters,
    encoder_layer_parameters,
    encoder_parameters,
)


def numel(model: torch.nn.Module) -> int:
    """A tied matrix is one parameter, and counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(make: Any, config: Any, **options: Any) -> Any:
    with torch.device("meta"):
        return make(config, **options)


def their_config(sizes: EncoderSizes) -> Any:
    fields = {name: value for name, value in vars(sizes).items() if name != "name"}
    return (RobertaConfig if "roberta" in sizes.name else BertConfig)(**fields)


@pytest.mark.parametrize(
    ("sizes", "total"),
    [
        (BERT_BASE_UNCASED, 109_482_240),
        (BERT_BASE_CASED, 108_310_272),
        (BERT_BASE_CHINESE, 102_267_648),
        (BERT_LARGE_UNCASED, 335_141_888),
        (ROBERTA_BASE, 124_645_632),
        (ROBERTA_LARGE, 355_359_744),
    ],
)
def test_released_encoders(sizes: EncoderSizes, total: int) -> None:
    config = their_config(sizes)
    make = RobertaModel if isinstance(config, RobertaConfig) else BertModel
    assert sum(encoder_parameters(sizes).values()) == numel(on_meta(make, config)) == total
    without = numel(on_meta(make, config, add_pooling_layer=False))
    assert sum(encoder_parameters(sizes, pooler=False).values()) == without


def test_bert_base_part_by_part_on_paper() -> None:
    assert encoder_parameters(BERT_BASE_UNCASED) == {
        "word embeddings": 30_522 * 768,
        "position embeddings": 512 * 768,
        "type embeddings": 2 * 768,
        "embeddings LayerNorm": 2 * 768,
        "query, key, value": 12 * 1_771_776,
        "attention output": 12 * 590_592,
        "attention LayerNorm": 12 * 1_536,
        "FFN in": 12 * 2_362_368,
        "FFN out": 12 * 2_360_064,
        "FFN LayerNorm": 12 * 1_536,
        "pooler": 590_592,
    }
    assert sum(encoder_layer_parameters(BERT_BASE_UNCASED).values()) == 7_087_872


def test_each_part_is_that_of_transformers() -> None:
    model = on_meta(BertModel, BertConfig())
    layer = model.encoder.layer[0]
    theirs = {
        "query, key, value": numel(layer.attention.self),
        "attention output": numel(layer.attention.output.dense),
        "attention LayerNorm": numel(layer.attention.output.LayerNorm),
        "FFN in": numel(layer.intermediate),
        "FFN out": numel(layer.output.dense),
        "FFN LayerNorm": numel(layer.output.LayerNorm),
    }
    assert encoder_layer_parameters(BERT_BASE_UNCASED) == theirs
    parts = encoder_parameters(BERT_BASE_UNCASED)
    embeddings = model.embeddings
    assert parts["word embeddings"] == numel(embeddings.word_embeddings)
    assert parts["position embeddings"] == numel(embeddings.position_embeddings)
    assert parts["type embeddings"] == numel(embeddings.token_type_embeddings)
    assert parts["embeddings LayerNorm"] == numel(embeddings.LayerNorm)
    assert parts["pooler"] == numel(model.pooler)


@pytest.mark.parametrize(("sizes", "total"), [(BERT_BASE_UNCASED, 110_106_428), (BERT_LARGE_UNCASED, 336_226_108)])
def test_with_the_heads_of_pretraining(sizes: EncoderSizes, total: int) -> None:
    ours = sum(encoder_parameters(sizes, pretraining_heads=True).values())
    assert ours == numel(on_meta(BertForPreTraining, their_config(sizes))) == total


def test_the_next_sentence_head_needs_the_pooler() -> None:
    with pytest.raises(ValueError, match="pooler must be True with pretraining_heads"):
        encoder_parameters(BERT_BASE_UNCASED, pooler=False, pretraining_heads=True)


def test_heads_add_no_parameters() -> None:
    for heads in (1, 6, 768):
        assert encoder_parameters(replace(BERT_BASE_UNCASED, num_attention_heads=heads)) == encoder_parameters(
            BERT_BASE_UNCASED
        )
    assert len({sizes.name for sizes in ENCODERS}) == 6


SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("make", "config", "options"),
    [
        (LlamaForCausalLM, LlamaConfig, {}),
        (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 6}),
        (LlamaForCausalLM, LlamaConfig, {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
        (Qwen2ForCausalLM, Qwen2Config, {}),
        (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16}),
    ],
)
def test_decoders_equal_transformers_and_ours(make: Any, config: Any, options: dict[str, Any], tied: bool) -> None:
    theirs = config(**{**SIZES, **options, "tie_word_embeddings": tied})
    ours = ModelConfig.from_huggingface(theirs.to_dict())
    total = sum(decoder_parameters(ours).values())
    assert total == numel(on_meta(make, theirs)) == numel(on_meta(DecoderLM, ours))


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({}, 6_738_415_616),  # Llama 2 7B: LlamaConfig's defaults
        (
            {
                "vocab_size": 128_256,
                "hidden_size": 4096,
                "intermediate_size": 14_336,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
            },
            8_030_261_248,  # Llama 3 8B
        ),
    ],
)
def test_decoders_of_released_sizes(options: dict[str, Any], total: int) -> None:
    config = LlamaConfig(**options)
    parts = decoder_parameters(ModelConfig.from_huggingface(config.to_dict()))
    assert sum(parts.values()) == numel(on_meta(LlamaForCausalLM, config)) == total
    assert parts["output head"] == parts["word embeddings"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"hidden_size": 1.5}, "hidden_size"),
        ({"type_vocab_size": True}, "type_vocab_size"),
        ({"num_attention_heads": 7}, "multiple of num_attention_heads"),
    ],
)
def test_refuses_impossible_sizes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderSizes(**{"name": "", "vocab_size": 10, **options})
