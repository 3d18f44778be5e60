"""The cost formulas equal what is counted while the model runs, to the last operation and byte."""

from typing import Any

import pytest
import torch
from transformers import DeepseekV3Config, FalconConfig, LlamaConfig, MistralConfig

from kb.counting import count
from kb.lm import KVCache
from kb.lm.cache_size import RELEASED, CacheShape
from kb.lm.cost import forward_flops, forward_traffic, forward_work, matrix_parameters


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize(("batch", "new", "cached"), [(1, 1, 0), (1, 7, 0), (1, 1, 11), (3, 5, 0), (2, 1, 6)])
def test_formula_equals_count(tiny: Any, batch: int, new: int, cached: int, inference: bool) -> None:
    config = tiny.ours.config
    cache = KVCache(config, batch=batch, capacity=new + cached)
    cache.advance(cached)
    cache.keys_LBCGH.zero_()
    cache.values_LBCGH.zero_()
    with torch.inference_mode(inference):
        counted = count(lambda: tiny.ours(tiny.tokens(batch, new), cache=cache, last_only=True))
    assert counted == forward_work(config, new=new, total=new + cached, batch=batch, itemsize=4)


def test_matrix_parameters_are_those_of_the_model(tiny: Any) -> None:
    matrices = [p.numel() for name, p in tiny.ours.named_parameters() if p.dim() == 2 and "embed" not in name]
    assert matrix_parameters(tiny.ours.config) == sum(matrices)


def test_a_decode_step_needs_more_traffic_but_no_more_weights_as_the_context_grows(tiny: Any) -> None:
    short = forward_traffic(tiny.ours.config, new=1, total=10)
    long = forward_traffic(tiny.ours.config, new=1, total=20)
    assert (short.weights, short.activations) == (long.weights, long.activations)
    assert long.cache == 2 * short.cache


@pytest.mark.parametrize("size", [{"new": 0, "total": 3}, {"new": 4, "total": 3}, {"new": 1, "total": 3, "batch": 0}])
def test_refuses_impossible_sizes(tiny: Any, size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="wanted 1 <= new <= total"):
        forward_flops(tiny.ours.config, **size)


def released(name: str) -> CacheShape:
    return next(shape for shape in RELEASED if shape.name == name)


def test_sizes_of_the_four_kinds_are_the_table_of_deepseek_v2() -> None:
    # DeepSeek-V2, table 1: 2 n_h d_h l, 2 n_g d_h l, 2 d_h l, and (d_c + d_h^R) l = 4.5 d_h l.
    sizes = {"layers": 60, "heads": 128, "head_dim": 128}
    assert CacheShape("", kv_heads=128, **sizes).per_token == 2 * 128 * 128 * 60
    assert CacheShape("", kv_heads=8, **sizes).per_token == 2 * 8 * 128 * 60
    assert CacheShape("", kv_heads=1, **sizes).per_token == 2 * 128 * 60
    assert released("DeepSeek-V2").per_token == 4.5 * 128 * 60


def test_deepseek_v2_saves_the_93_percent_of_its_abstract() -> None:
    # Against DeepSeek 67B in 16 bits, with the latent quantised to 6 bits on average (section 3.2.3).
    saved = 1 - released("DeepSeek-V2").nbytes(itemsize=6 / 8) / released("DeepSeek 67B").nbytes(itemsize=2)
    assert saved == pytest.approx(0.933, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "config"),
    [("Llama 2 7B", LlamaConfig()), ("Mistral 7B", MistralConfig())],
)
def test_released_shapes_are_those_of_the_configurations(name: str, config: Any) -> None:
    shape = released(name)
    heads = (config.num_attention_heads, config.num_key_value_heads)
    assert (shape.layers, shape.heads, shape.kv_heads) == (config.num_hidden_layers, *heads)
    assert shape.head_dim == config.hidden_size // config.num_attention_heads


def test_released_shapes_of_falcon_and_deepseek_are_those_of_the_configurations() -> None:
    falcon, config = released("Falcon 7B"), FalconConfig()
    assert config.multi_query
    assert (falcon.layers, falcon.heads, falcon.kind) == (config.num_hidden_layers, config.num_attention_heads, "MQA")
    deepseek, latent = released("DeepSeek-V3"), DeepseekV3Config()
    assert (deepseek.layers, deepseek.latent, deepseek.rotary) == (
        latent.num_hidden_layers,
        latent.kv_lora_rank,
        latent.qk_rope_head_dim,
    )


def test_kinds() -> None:
    kinds = {shape.name: shape.kind for shape in RELEASED}
    assert (kinds["GPT-3 175B"], kinds["PaLM 540B"], kinds["Llama 3 8B"]) == ("MHA", "MQA", "GQA")
    assert kinds["DeepSeek-V3"] == "MLA"


def test_size_agrees_with_a_real_cache(tiny: Any) -> None:
    config = tiny.ours.config
    shape = CacheShape("tiny", config.num_layers, config.num_heads, config.num_kv_heads, config.head_dim)
    assert shape.nbytes(9, itemsize=4, batch=2) == KVCache(config, batch=2, capacity=9).nbytes
    assert shape.per_token == config.kv_elements_per_token


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers"),
        ({"kv_heads": 3}, "multiple"),
        ({"latent": 5}, "both"),
        ({"rotary": -1}, "rotary"),
        ({"layers": 1.5}, "layers"),
        ({"heads": float("nan")}, "heads"),
        ({"kv_heads": True}, "kv_heads"),
    ],
)
def test_refuses_impossible_shapes(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CacheShape(**{"name": "", "layers": 1, "heads": 4, "kv_heads": 2, "head_dim": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"tokens": -1}, {"tokens": 1.5}, {"batch": 0}, {"itemsize": 0}])
def test_refuses_impossible_caches(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RELEASED[0].nbytes(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"new": 1.5, "total": 2}, TypeError),
        ({"new": 1, "total": float("inf")}, TypeError),
        ({"new": 1, "total": 1, "batch": True}, TypeError),
        ({"new": 1, "total": 1, "itemsize": -1}, ValueError),
    ],
)
def test_refuses_passes_that_cannot_be(options: dict[str, Any], error: type[Exception], tiny: Any) -> None:
    with pytest.raises(error):
        forward_work(tiny.ours.config, **options)
