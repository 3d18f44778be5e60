"""The switched decoder equals DecoderLM, torch's encoder and transformers' GPT-2, and its counts are exact."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from kb.counting import count
from kb.lm import DecoderLM, ModelConfig
from kb.lm.ablation import AblationLM, _alibi_mask
from kb.lm.ablation_config import (
    BIASES,
    FFNS,
    NORM_PLACES,
    NORMS,
    POSITIONS,
    AblationConfig,
    count_parameters,
    forward_flops,
    vaswani,
)
from kb.nn import masked_attention_fused, sinusoidal_positions
from kb.training import TrainConfig, initialize, next_token_loss, train

SIZES: dict[str, Any] = {"vocab_size": 37, "width": 24, "layers": 2, "heads": 4, "max_positions": 16}
LLAMA = AblationConfig(**SIZES)
GPT2 = replace(LLAMA, norm="layer", position="learned", ffn="gelu", bias="all", tie_embeddings=True)

GEMMA_NAMES = {
    "attention_output_layernorm.weight": "post_attention_layernorm.weight",
    "post_attention_layernorm.weight": "pre_feedforward_layernorm.weight",
    "mlp_output_layernorm.weight": "post_feedforward_layernorm.weight",
}


def scrambled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights far from their initialisation, at which norms and biases do nothing that could be wrong."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def tokens(B: int = 2, T: int = 9) -> Tensor:
    return torch.randint(0, SIZES["vocab_size"], (B, T), generator=torch.Generator().manual_seed(1))


def assert_same(ours: nn.Module, theirs: nn.Module, pairs: list[tuple[Tensor, Tensor]], run: Any) -> None:
    """Logits agree within 1e-5 of the largest, as sums are taken in another order; so do all gradients."""
    mine, wanted = ours(tokens()), run(tokens())
    torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-5 * float(wanted.detach().abs().max()))
    cotangent = torch.randn(mine.shape, generator=torch.Generator().manual_seed(2))
    (mine * cotangent).sum().backward()
    (wanted * cotangent).sum().backward()
    for parameter, other in pairs:
        assert parameter.grad is not None
        assert other.grad is not None
        scale = float(other.grad.abs().max())
        torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize(
    "change", [{}, {"kv_heads": 2}, {"kv_heads": 1, "tie_embeddings": True}, {"bias": "qkv"}, {"bias": "all"}]
)
def test_at_llamas_setting_it_is_the_books_decoder(change: dict[str, Any]) -> None:
    config = replace(LLAMA, multiple_of=8, **change)
    ours = scrambled(AblationLM(config))
    theirs = DecoderLM(
        ModelConfig(
            vocab_size=37,
            hidden_size=24,
            intermediate_size=config.ffn_width,
            num_layers=2,
            num_heads=4,
            num_kv_heads=config.groups,
            head_dim=6,
            max_positions=16,
            tie_embeddings=config.tie_embeddings,
            qkv_bias=config.bias != "none",
            output_bias=config.bias == "all",
            ffn_bias=config.bias == "all",
        )
    )
    theirs.load_state_dict(ours.state_dict())
    other = dict(theirs.named_parameters())
    assert_same(ours, theirs, [(p, other[name]) for name, p in ours.named_parameters()], theirs)


def load_attention(torchs: Any, attention: Any) -> None:
    for part in ("weight", "bias"):
        rows = torch.cat([getattr(getattr(attention, f"{name}_proj"), part) for name in "qkv"])
        getattr(torchs, f"in_proj_{part}").copy_(rows)
        getattr(torchs.out_proj, part).copy_(getattr(attention.o_proj, part))


@pytest.mark.parametrize(("place", "activation"), [("post", "relu"), ("pre", "relu"), ("post", "gelu")])
def test_at_the_setting_of_2017_it_is_torchs_encoder_under_a_causal_mask(place: str, activation: str) -> None:
    config = replace(vaswani(LLAMA), norm_place=place, ffn=activation)
    ours: Any = scrambled(AblationLM(config))
    layer = nn.TransformerEncoderLayer(
        24, 4, 96, dropout=0.0, activation=activation, batch_first=True, norm_first=place == "pre"
    )
    final = nn.LayerNorm(24) if place == "pre" else None
    theirs: Any = nn.TransformerEncoder(layer, 2, norm=final, enable_nested_tensor=False)
    table = nn.Parameter(ours.embed_tokens.weight.detach().clone())
    with torch.no_grad():
        for mine, block in zip(ours.layers, theirs.layers, strict=True):
            load_attention(block.self_attn, mine.self_attn)
            for theirs_part, part in (
                (block.linear1, mine.mlp.up_proj),
                (block.linear2, mine.mlp.down_proj),
                (block.norm1, mine.input_layernorm),
                (block.norm2, mine.post_attention_layernorm),
            ):
                theirs_part.load_state_dict(part.state_dict())
        if final is not None:
            theirs.norm.load_state_dict(ours.norm.state_dict())

    def run(ids_BT: Tensor) -> Tensor:
        T = ids_BT.shape[1]
        x_BTD = table[ids_BT] * math.sqrt(24) + sinusoidal_positions(T, 24)
        mask_TT = nn.Transformer.generate_square_subsequent_mask(T)
        hidden: Tensor = theirs(x_BTD, mask=mask_TT, is_causal=True)
        return hidden @ table.T

    pairs = [(ours.embed_tokens.weight, table)]
    for mine, block in zip(ours.layers, theirs.layers, strict=True):
        pairs += [(mine.self_attn.o_proj.weight, block.self_attn.out_proj.weight)]
        pairs += [(mine.mlp.up_proj.bias, block.linear1.bias), (mine.input_layernorm.weight, block.norm1.weight)]
    assert_same(ours, theirs, pairs, run)


def test_at_gpt2s_setting_it_is_transformers_gpt2() -> None:
    ours: Any = scrambled(AblationLM(GPT2))
    config = GPT2Config(
        vocab_size=37,
        n_positions=16,
        n_embd=24,
        n_layer=2,
        n_head=4,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    theirs: Any = GPT2LMHeadModel(config)
    body = theirs.transformer
    with torch.no_grad():
        body.wte.weight.copy_(ours.embed_tokens.weight)
        body.wpe.weight.copy_(ours.embed_positions.weight)
        body.ln_f.load_state_dict(ours.norm.state_dict())
        for mine, block in zip(ours.layers, body.h, strict=True):
            block.ln_1.load_state_dict(mine.input_layernorm.state_dict())
            block.ln_2.load_state_dict(mine.post_attention_layernorm.state_dict())
            projections = [mine.self_attn.q_proj, mine.self_attn.k_proj, mine.self_attn.v_proj]
            block.attn.c_attn.weight.copy_(torch.cat([p.weight for p in projections]).T)  # stored [in, out] there
            block.attn.c_attn.bias.copy_(torch.cat([p.bias for p in projections]))
            for part, layer in (
                (block.attn.c_proj, mine.self_attn.o_proj),
                (block.mlp.c_fc, mine.mlp.up_proj),
                (block.mlp.c_proj, mine.mlp.down_proj),
            ):
                part.weight.copy_(layer.weight.T)
                part.bias.copy_(layer.bias)
    pairs = [(ours.embed_tokens.weight, body.wte.weight), (ours.norm.bias, body.ln_f.bias)]
    pairs += [(ours.layers[0].mlp.up_proj.bias, body.h[0].mlp.c_fc.bias)]
    assert_same(ours, theirs, pairs, lambda ids_BT: theirs(ids_BT).logits)
    torch.testing.assert_close(ours.embed_positions.weight.grad[:9], body.wpe.weight.grad[:9], rtol=1e-3, atol=1e-4)


def test_with_norms_on_both_sides_it_is_transformers_gemma2() -> None:
    """Without soft caps and windows, and with the SiLU of LLaMA; Gemma's gain is 1 + w."""
    ours: Any = scrambled(
        AblationLM(replace(LLAMA, norm_place="sandwich", kv_heads=2, tie_embeddings=True, scale_embeddings=True))
    )
    config = Gemma2Config(
        vocab_size=37,
        hidden_size=24,
        intermediate_size=ours.config.ffn_width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        query_pre_attn_scalar=6,
        hidden_activation="silu",
        rms_norm_eps=1e-5,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        pad_token_id=None,
        attn_implementation="eager",
    )
    theirs: Any = Gemma2ForCausalLM(config)
    body = theirs.model
    pairs = [(ours.embed_tokens.weight, body.embed_tokens.weight), (ours.norm.weight, body.norm.weight)]
    for mine, block in zip(ours.layers, body.layers, strict=True):
        other = dict(block.named_parameters())
        for name, parameter in mine.named_parameters():
            pairs.append((parameter, other[GEMMA_NAMES.get(name, name)]))
    with torch.no_grad():
        for parameter, wanted in pairs:
            wanted.copy_(parameter - 1 if parameter.dim() == 1 else parameter)
    assert_same(ours, theirs, pairs, lambda ids_BT: theirs(ids_BT).logits)


def test_alibi_attention_is_the_loop() -> None:
    q, k, v = (torch.randn(1, 5, heads, 6, generator=torch.Generator().manual_seed(heads)) for heads in (4, 2, 3))
    v = v[:, :, :2]
    out, _ = masked_attention_fused(q, k, v, _alibi_mask(5, 4, q))
    for n, slope in enumerate([2**-2, 2**-4, 2**-6, 2**-8]):
        for t in range(5):
            scores = torch.stack([q[0, t, n] @ k[0, s, n // 2] / math.sqrt(6) - slope * (t - s) for s in range(t + 1)])
            torch.testing.assert_close(out[0, t, n], scores.softmax(0) @ v[0, : t + 1, n // 2])


configs = st.builds(
    AblationConfig,
    vocab_size=st.integers(2, 20),
    width=st.sampled_from([8, 16]),
    layers=st.integers(1, 2),
    heads=st.sampled_from([2, 4]),
    kv_heads=st.sampled_from([None, 1, 2]),
    inner=st.sampled_from([None, 5, 24]),
    multiple_of=st.sampled_from([1, 4]),
    max_positions=st.just(8),
    norm=st.sampled_from(NORMS),
    norm_place=st.sampled_from(NORM_PLACES),
    position=st.sampled_from(POSITIONS),
    ffn=st.sampled_from(FFNS),
    bias=st.sampled_from(BIASES),
    tie_embeddings=st.booleans(),
    scale_embeddings=st.booleans(),
)


@settings(max_examples=25)
@given(config=configs, length=st.integers(1, 7))
def test_every_setting_counts_exactly_and_looks_only_back(config: AblationConfig, length: int) -> None:
    model = AblationLM(config)
    assert count_parameters(config).total == sum(parameter.numel() for parameter in model.parameters())
    ids_BT = torch.arange(2 * length).reshape(2, length) % config.vocab_size
    with torch.no_grad():
        counted = count(lambda: model(ids_BT))
        assert counted.flops == forward_flops(config, length=length, batch=2)
        longer = torch.cat([ids_BT, ids_BT[:, :1]], dim=1)
        torch.testing.assert_close(model(longer)[:, :length], model(ids_BT))


@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_relative_positions_do_not_see_where_a_sequence_begins(position: str) -> None:
    """One layer, the same token over and over: only the distance could tell places apart, and no value differs."""
    model = scrambled(AblationLM(replace(LLAMA, position=position)))
    logits = model(torch.full((1, 6), 5))
    torch.testing.assert_close(logits[0, 0].expand(6, -1), logits[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("position", ["sinusoidal", "learned"])
def test_absolute_positions_do(position: str) -> None:
    logits = scrambled(AblationLM(replace(LLAMA, position=position)))(torch.full((1, 6), 5))
    assert float((logits[0, 0] - logits[0, 5]).detach().abs().max()) > 0.1


@pytest.mark.parametrize("config", [LLAMA, vaswani(LLAMA), replace(LLAMA, norm_place="sandwich")])
def test_it_can_be_trained_by_the_books_loop(config: AblationConfig) -> None:
    model = AblationLM(config)
    initialize(model, seed=0)
    batch = (torch.arange(64).reshape(4, 16) % 7).long()
    steps = train(model, [batch] * 30, next_token_loss, TrainConfig(steps=30, warmup=5, learning_rate=1e-2))
    assert steps[-1].loss < steps[0].loss / 2


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "non-empty"),
        (torch.zeros(1, 0, dtype=torch.int64), "non-empty"),
        (torch.zeros(1, 3), "int64"),
        (torch.full((1, 3), 37), "0 to 36"),
        (torch.zeros(1, 17, dtype=torch.int64), "17 in a sequence"),
    ],
)
def test_refuses_tokens_that_do_not_fit(ids: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AblationLM(GPT2)(ids)
