"""The model equals transformers on random weights: every family and switch, in value and gradient."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from kb.lm import DecoderLM, KVCache, ModelConfig

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    ("llama", {"num_key_value_heads": 6, "head_dim": 10, "hidden_act": "gelu_pytorch_tanh"}),
    ("llama", {"num_key_value_heads": 1, "rope_parameters": LLAMA3}),
    ("llama", {"rope_parameters": YARN}),
    ("llama", {"rope_parameters": LONGROPE}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, "max_position_embeddings": 16},
    ),
    ("mistral", {"sliding_window": 7}),
    ("mistral", {"sliding_window": None, "head_dim": 16}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ("qwen3", {"head_dim": 12, "tie_word_embeddings": True}),
    (
        "qwen3",
        {
            "head_dim": 16,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 6,
            "max_window_layers": 2,
        },
    ),
    ("smollm3", {}),
    ("smollm3", {"no_rope_layers": [0, 1, 0], "use_sliding_window": True, "sliding_window": 9}),
    ("smollm3", {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 4}),
]


def named(case: tuple[str, dict[str, Any]]) -> str:
    return f"{case[0]} {' '.join(case[1])}".strip()


@pytest.mark.parametrize("case", FAMILIES, ids=named)
def test_logits_equal_transformers(case: tuple[str, dict[str, Any]], make_pair: Any) -> None:
    kind, options = case
    for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        pair = make_pair(kind, dtype=dtype, **options)
        tokens = pair.tokens(2, 23)
        with torch.no_grad():
            theirs, ours = pair.theirs(tokens).logits, pair.ours(tokens)
        assert ours.dtype == dtype
        assert float(theirs.std()) > 0.1  # a comparison of zeros would prove nothing
        assert float((ours - theirs).abs().max()) <= bound * float(theirs.abs().max())


@pytest.mark.parametrize("seed", range(12))
def test_random_configurations_equal_transformers(seed: int, make_pair: Any) -> None:
    rng = random.Random(seed)
    groups = rng.choice([1, 2, 3])
    head_dim = rng.choice([4, 8, 14])
    heads = groups * rng.choice([1, 2, 4])
    kind = rng.choice(["llama", "mistral", "qwen2", "qwen3", "smollm3"])
    options = {
        "vocab_size": rng.randint(5, 200),
        "hidden_size": heads * head_dim if kind in ("qwen2", "smollm3") else 4 * heads * rng.randint(1, 6),
        "intermediate_size": rng.randint(1, 100),
        "num_hidden_layers": rng.randint(1, 5),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "rms_norm_eps": rng.choice([1e-6, 1e-5, 1e-3]),
        "tie_word_embeddings": rng.random() < 0.5,
        "rope_parameters": {"rope_type": "default", "rope_theta": rng.choice([1e3, 1e4, 1e6])},
    }
    if kind not in ("qwen2", "smollm3"):
        options["head_dim"] = head_dim
    pair = make_pair(kind, seed=seed, **options)
    tokens = pair.tokens(rng.randint(1, 4), rng.randint(1, 40), seed)
    with torch.no_grad():
        theirs, ours = pair.theirs(tokens).logits, pair.ours(tokens)
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "smollm3", "mistral"])
def test_gradients_equal_transformers(kind: str, make_pair: Any) -> None:
    pair = make_pair(kind, dtype=torch.float64, tie_word_embeddings=kind == "qwen3")
    tokens = pair.tokens(2, 9)
    pair.ours.requires_grad_(True)
    for model in (pair.ours, pair.theirs):
        output = model(tokens)
        logits = output if model is pair.ours else output.logits
        nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    theirs = {name.removeprefix("model."): value.grad for name, value in pair.theirs.named_parameters()}
    ours = {name: value.grad for name, value in pair.ours.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        scale = float(theirs[name].abs().max())
        assert scale > 0
        assert float((gradient - theirs[name]).abs().max()) <= 1e-6 * scale, name  # norms and angles are float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype: torch.dtype, make_pair: Any) -> None:
    pair = make_pair("llama")
    tokens = pair.tokens(2, 17)
    half = DecoderLM.from_checkpoint(
        SimpleNamespace(
            config=pair.checkpoint.config, weights={k: v.to(dtype) for k, v in pair.checkpoint.weights.items()}
        )
    )
    with torch.no_grad():
        exact, rounded = pair.ours(tokens), half(tokens)
    assert rounded.dtype == dtype
    # Rounding accumulates over three blocks: a handful of ulps of the largest logit.
    assert float((rounded.float() - exact).abs().max()) <= 16 * torch.finfo(dtype).eps * float(exact.abs().max())


def test_a_later_token_never_changes_an_earlier_logit(make_pair: Any) -> None:
    pair = make_pair("llama")
    tokens = pair.tokens(1, 12)
    changed = tokens.clone()
    changed[0, 8] = (tokens[0, 8] + 1) % 61
    with torch.no_grad():
        before, after = pair.ours(tokens), pair.ours(changed)
    assert torch.equal(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


def test_last_only_is_the_last_row(make_pair: Any) -> None:
    pair = make_pair("llama")
    tokens = pair.tokens(2, 6)
    with torch.no_grad():
        torch.testing.assert_close(pair.ours(tokens, last_only=True), pair.ours(tokens)[:, -1:])


def test_the_feed_forward_network_can_be_injected() -> None:
    config = ModelConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=4,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        max_positions=16,
    )
    asked: list[int] = []

    def make_ffn(given: ModelConfig, layer: int) -> nn.Module:
        asked.append(layer)
        return nn.Linear(given.hidden_size, given.hidden_size)

    model = DecoderLM(config, make_ffn)
    assert asked == [0, 1]
    assert model(torch.tensor([[1, 2, 3]])).shape == (1, 3, 11)


@pytest.mark.parametrize(
    "tokens",
    [torch.tensor([1, 2]), torch.tensor([[1.0, 2.0]]), torch.empty(1, 0, dtype=torch.long), torch.tensor([[True]])],
)
def test_refuses_tokens_that_are_not_ids(tokens: torch.Tensor, make_pair: Any) -> None:
    with pytest.raises(ValueError, match="tokens must be"):
        make_pair("llama").ours(tokens)


def test_refuses_an_id_outside_the_vocabulary(make_pair: Any) -> None:
    model = make_pair("llama").ours
    cache = KVCache(model.config, capacity=4)
    for wrong in (61, -1):
        with pytest.raises(ValueError, match="0 to 60"):
            model(torch.tensor([[1, wrong]]), cache=cache)
    assert cache.length == 0


def test_refuses_weights_of_dtypes_that_it_cannot_run(make_pair: Any) -> None:
    pair = make_pair("llama")
    weights = pair.checkpoint.weights
    whole = {name: tensor.to(torch.int8) for name, tensor in weights.items()}
    mixed = {**weights, "model.norm.weight": weights["model.norm.weight"].half()}
    for wrong, named in ((whole, "torch.int8"), (mixed, "torch.float16, torch.float32")):
        with pytest.raises(ValueError, match=f"the tensors are of {named}"):
            DecoderLM.from_checkpoint(SimpleNamespace(config=pair.checkpoint.config, weights=wrong))


@pytest.mark.parametrize("device", ["mps", "meta", "toaster"])
def test_refuses_a_device_that_is_not_there(make_pair: Any, device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        DecoderLM.from_checkpoint(make_pair("llama").checkpoint, device=device)


def test_refuses_weights_that_do_not_fit(make_pair: Any) -> None:
    pair = make_pair("llama")
    for change, message in (
        ({"model.norm.weight": None}, "norm.weight: wanted .48,., got none"),
        ({"model.extra": torch.ones(2)}, "extra: wanted none"),
        ({"model.norm.weight": torch.ones(3)}, "norm.weight: wanted .48,., got .3,."),
    ):
        weights = {k: v for k, v in {**pair.checkpoint.weights, **change}.items() if v is not None}
        with pytest.raises(ValueError, match=message):
            DecoderLM.from_checkpoint(SimpleNamespace(config=pair.checkpoint.config, weights=weights))


def test_loading_leaves_the_checkpoint_alone_and_makes_a_model_for_inference(make_pair: Any) -> None:
    pair = make_pair("llama", tie_word_embeddings=True)
    assert "lm_head.weight" not in pair.checkpoint.weights
    assert pair.ours.lm_head.weight is pair.ours.embed_tokens.weight
    assert not pair.ours.training
    assert not any(parameter.requires_grad for parameter in pair.ours.parameters())


def test_models_of_one_checkpoint_share_nothing_unless_they_are_told_to(make_pair: Any) -> None:
    pair = make_pair("llama")
    name = "model.norm.weight"
    own = DecoderLM.from_checkpoint(pair.checkpoint)
    own.norm.weight.add_(1)
    assert not torch.equal(own.norm.weight, pair.checkpoint.weights[name])
    shared = DecoderLM.from_checkpoint(pair.checkpoint, share=True)
    assert shared.norm.weight.data_ptr() == pair.checkpoint.weights[name].data_ptr()


def test_a_head_of_its_own_is_kept_though_the_configuration_ties_it(make_pair: Any) -> None:
    pair = make_pair("llama", tie_word_embeddings=False)
    config = {**pair.checkpoint.config, "tie_word_embeddings": True}
    model = DecoderLM.from_checkpoint(SimpleNamespace(config=config, weights=pair.checkpoint.weights))
    assert not model.config.tie_embeddings
    tokens = pair.tokens(1, 5)
    with torch.inference_mode():
        assert torch.equal(model(tokens), pair.ours(tokens))
    weights = {**pair.checkpoint.weights, "lm_head.weight": pair.checkpoint.weights["model.embed_tokens.weight"]}
    tied = DecoderLM.from_checkpoint(SimpleNamespace(config=config, weights=weights))
    assert tied.lm_head.weight is tied.embed_tokens.weight
