"""A small decoder in which every difference between the Transformer of 2017 and LLaMA can be switched by itself.

At LLaMA's setting it is :class:`kb.lm.DecoderLM` and takes its tensors by name; at the setting of 2017 it is a stack of
``torch.nn.TransformerEncoderLayer`` under a causal mask: a decoder without the attention to an encoder. Between them
lies GPT-2 (pre-norm, learned positions, GELU). Unusual: no dropout, which all of them were trained with but LLaMA, and
no cache; it is made to be trained for seconds and compared.

Sources: Vaswani et al. 2017, sections 3.1 to 3.5; Radford et al. 2019, section 2.3; Touvron et al. 2023, section 2.2;
Press et al. 2022, ALiBi, section 3; Gemma Team 2024, Gemma 2, section 2 (norms before and after each sublayer).
Shapes: B sequences, T tokens, D model width, N query heads, G key-value heads, H head width, P = H/2, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from kb.lm.ablation_config import AblationConfig
from kb.nn import (
    ACTIVATIONS,
    RMSNorm,
    RopeParameters,
    SwiGLU,
    alibi_bias,
    alibi_slopes,
    apply_rotary,
    causal_mask,
    grouped_query_attention,
    inverse_frequencies,
    masked_attention_fused,
    rotary_tables,
    sinusoidal_positions,
)


def _alibi_mask(T: int, heads: int, x_BTD: Tensor) -> Tensor:
    """What ALiBi adds to the scores of every layer, [N, T, T] where ``x_BTD`` is: -slope · distance, -inf ahead."""
    bias_NTT = alibi_bias(alibi_slopes(heads).to(x_BTD), T, T)
    return bias_NTT.masked_fill(causal_mask(T, device=x_BTD.device), -math.inf)


class _FeedForward(nn.Module):
    """down(activation(up(x))): the two matrices of 2017."""

    def __init__(self, width: int, inner: int, *, bias: bool, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        out: Tensor = self.down_proj(self.activation(self.up_proj(x)))
        return out


class _Attention(nn.Module):
    """Causal attention of grouped heads, turned by position or biased by distance where the switch says so."""

    def __init__(self, config: AblationConfig) -> None:
        super().__init__()
        D, kv_width, bias = config.width, config.groups * config.head_dim, config.bias != "none"
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(D, D, bias=bias)
        self.k_proj = nn.Linear(D, kv_width, bias=bias)
        self.v_proj = nn.Linear(D, kv_width, bias=bias)
        self.o_proj = nn.Linear(D, D, bias=config.bias == "all")

    def forward(self, x_BTD: Tensor, tables: tuple[Tensor, Tensor] | None, alibi_NTT: Tensor | None) -> Tensor:
        """[B, T, D] to [B, T, D]; ``tables`` are cos and sin for RoPE, [1, T, P], ``alibi_NTT`` is ALiBi's mask."""
        q_BTNH, k_BTGH, v_BTGH = (
            project(x_BTD).unflatten(-1, (-1, self.head_dim)) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if tables is not None:
            q_BTNH, k_BTGH = apply_rotary(q_BTNH, *tables), apply_rotary(k_BTGH, *tables)
        if alibi_NTT is None:
            mixed_BTNH = grouped_query_attention(q_BTNH, k_BTGH, v_BTGH)
        else:
            mixed_BTNH, _ = masked_attention_fused(q_BTNH, k_BTGH, v_BTGH, alibi_NTT)
        out: Tensor = self.o_proj(mixed_BTNH.flatten(2))
        return out


class _Block(nn.Module):
    """One layer, with its norms before the sublayers, before and after them, or after the sums."""

    def __init__(self, config: AblationConfig) -> None:
        super().__init__()
        self.norms_first = config.norm_place != "post"
        sandwich = config.norm_place == "sandwich"
        self.input_layernorm = _norm(config)
        self.self_attn = _Attention(config)
        self.attention_output_layernorm = _norm(config) if sandwich else nn.Identity()
        self.post_attention_layernorm = _norm(config)
        self.mlp = _feed_forward(config)
        self.mlp_output_layernorm = _norm(config) if sandwich else nn.Identity()

    def forward(self, x_BTD: Tensor, tables: tuple[Tensor, Tensor] | None, alibi_NTT: Tensor | None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        if self.norms_first:
            mixed_BTD = self.self_attn(self.input_layernorm(x_BTD), tables, alibi_NTT)
            x_BTD = x_BTD + self.attention_output_layernorm(mixed_BTD)
            x_BTD = x_BTD + self.mlp_output_layernorm(self.mlp(self.post_attention_layernorm(x_BTD)))
        else:
            x_BTD = self.input_layernorm(x_BTD + self.self_attn(x_BTD, tables, alibi_NTT))
            x_BTD = self.post_attention_layernorm(x_BTD + self.mlp(x_BTD))
        return x_BTD


class AblationLM(nn.Module):
    """The language model; its modules have the names of :class:`kb.lm.DecoderLM`, whatever the switches.

    For ``kb.training``: ``initialize`` knows the names, ``next_token_loss`` the call.

    Args:
        config: Its sizes and switches.
    """

    def __init__(self, config: AblationConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        learned = config.position == "learned"
        self.embed_positions = nn.Embedding(config.max_positions, config.width) if learned else None
        self.layers = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.Identity() if config.norm_place == "post" else _norm(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits of the token after each of the given ones, [B, T, V].

        Raises:
            ValueError: the ids are not a non-empty [B, T] of integers, one is outside the vocabulary (on CUDA that is a
                device assertion), or there are more tokens than learned positions.
        """
        config = self.config
        if tokens_BT.dim() != 2 or tokens_BT.numel() == 0 or tokens_BT.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"tokens must be a non-empty [B, T] of int64 or int32, got {tuple(tokens_BT.shape)} {tokens_BT.dtype}"
            )
        T = tokens_BT.shape[1]
        if self.embed_positions is not None and config.max_positions < T:
            raise ValueError(f"tokens: {T} in a sequence, but only {config.max_positions} positions were learned")
        try:
            x_BTD: Tensor = self.embed_tokens(tokens_BT)
        except IndexError as error:
            raise ValueError(f"token ids must be in 0 to {config.vocab_size - 1}, got {tokens_BT}") from error
        if config.scale_embeddings:
            x_BTD = x_BTD * math.sqrt(config.width)
        if self.embed_positions is not None:
            x_BTD = x_BTD + self.embed_positions.weight[:T]
        elif config.position == "sinusoidal":
            x_BTD = x_BTD + sinusoidal_positions(T, config.width, device=x_BTD.device).to(x_BTD.dtype)
        tables = self._rotary_tables(T, x_BTD) if config.position == "rope" else None
        alibi_NTT = _alibi_mask(T, config.heads, x_BTD) if config.position == "alibi" else None
        for block in self.layers:
            x_BTD = block(x_BTD, tables, alibi_NTT)
        logits: Tensor = self.lm_head(self.norm(x_BTD))
        return logits

    def _rotary_tables(self, T: int, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        rope = RopeParameters(theta=self.config.rope_theta)
        frequencies_P, factor = inverse_frequencies(rope, self.config.head_dim)
        positions_1T = torch.arange(T, device=x_BTD.device)[None]
        cos_1TP, sin_1TP = rotary_tables(positions_1T, frequencies_P.to(x_BTD.device), factor)
        return cos_1TP.to(x_BTD.dtype), sin_1TP.to(x_BTD.dtype)


def _norm(config: AblationConfig) -> nn.Module:
    kind = nn.LayerNorm if config.norm == "layer" else RMSNorm
    return kind(config.width, config.norm_eps)


def _feed_forward(config: AblationConfig) -> nn.Module:
    bias = config.bias == "all"
    if config.ffn == "swiglu":
        return SwiGLU(config.width, config.ffn_width, bias=bias)
    return _FeedForward(config.width, config.ffn_width, bias=bias, activation=config.ffn)
