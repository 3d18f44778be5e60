"""A decoder-only language model of the Llama family that runs released weights: Llama, Mistral, Qwen2, Qwen3, SmolLM.

No cross-attention: each block is causal self-attention and a feed-forward network, each behind an RMSNorm and added
to the residual stream. Unusual: where keys and values are kept is not the model's business (see ``kb.lm.cache``), and
the feed-forward network is made by a function that the caller may give. Modules carry Hugging Face's names, so that a
checkpoint's tensors load as they are.

Source: Touvron et al. 2023, LLaMA, section 2.2; Grattafiori et al. 2024, Llama 3, section 3.2 (grouped queries).
Shapes: B sequences, T tokens, D model width, N query heads, G key-value heads, H head width, P = H/2, V vocabulary.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from kb import runtime
from kb.lm.cache import Cache, NoCache
from kb.lm.config import ModelConfig
from kb.lm.weights import LoadedCheckpoint, prepared, require_fit
from kb.nn import RMSNorm, RopeParameters, SwiGLU, apply_rotary, inverse_frequencies, rotary_tables

MakeFFN = Callable[[ModelConfig, int], nn.Module]


class Attention(nn.Module):
    """Projections, optional norms of queries and keys (Qwen3), rotary positions; attention itself by the cache."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.window, self.rotates = config.window(layer), config.rotates(layer)
        query_width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=config.output_bias)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(self, x_BTD: Tensor, tables: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        """[B, T, D] to [B, T, D]; ``tables`` are cos and sin of the new tokens' positions."""
        q_BTNH = self.q_norm(self.q_proj(x_BTD).unflatten(-1, (-1, self.head_dim)))
        k_BTGH = self.k_norm(self.k_proj(x_BTD).unflatten(-1, (-1, self.head_dim)))
        v_BTGH = self.v_proj(x_BTD).unflatten(-1, (-1, self.head_dim))
        if self.rotates:
            q_BTNH, k_BTGH = apply_rotary(q_BTNH, *tables), apply_rotary(k_BTGH, *tables)
        out_BTNH = cache.attend(self.layer, q_BTNH, k_BTGH, v_BTGH, window=self.window)
        out: Tensor = self.o_proj(out_BTNH.flatten(2))
        return out


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, config: ModelConfig, layer: int, ffn: nn.Module) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = ffn

    def forward(
        self, x_BTD: Tensor, tables: tuple[Tensor, Tensor], cache: Cache, rows_R: Tensor | None = None
    ) -> Tensor:
        """[B, T, D] to [B, T, D], or to [B, R, D] of the tokens at ``rows_R`` alone; these look at all tokens."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), tables, cache)
        if rows_R is not None:
            x_BTD = x_BTD[:, rows_R]
        out: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return out


class DecoderLM(nn.Module):
    """The language model.

    Args:
        config: Its sizes and switches.
        make_ffn: Makes the feed-forward network of a layer, a module [B, T, D] to [B, T, D]; SwiGLU if not given.
    """

    def __init__(self, config: ModelConfig, make_ffn: MakeFFN | None = None) -> None:
        super().__init__()
        self.config = config
        make_ffn = make_ffn or _dense_ffn
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i, make_ffn(config, i)) for i in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    @classmethod
    def from_checkpoint(
        cls, checkpoint: LoadedCheckpoint, *, device: torch.device | str | None = None, share: bool = False
    ) -> "DecoderLM":
        """The model of a checkpoint of ``kb.checkpoints.load``, in the dtype of its weights, ready for inference.

        Args:
            checkpoint: Holds the ``config.json`` and the tensors by name.
            device: Where to put the model; where the weights are if not given.
            share: Use the checkpoint's own tensors where they lie on that device, for half the memory. A model that is
                trained then changes the checkpoint, and every other model that shares it.

        Raises:
            ValueError: the configuration is not of this family, there is no such device, or a tensor is missing,
                unknown, of another shape or of another dtype than the rest.
        """
        where = None if device is None else runtime.device(str(device))
        config, weights = prepared(checkpoint)
        with torch.device("meta"):
            model = cls(config)
        require_fit(model.state_dict(), weights)
        if not share:
            weights = {name: tensor.to(where, copy=True) for name, tensor in weights.items()}
        model.load_state_dict(weights, assign=True)
        if config.tie_embeddings:
            model.lm_head.weight = model.embed_tokens.weight
        return model.to(where).eval().requires_grad_(False)

    def forward(self, tokens_BT: Tensor, *, cache: Cache | None = None, last_only: bool = False) -> Tensor:
        """Logits of the token after each of the given ones, [B, T, V], or [B, 1, V] with ``last_only``.

        Args:
            tokens_BT: Integer ids. With a cache, only the tokens that it does not hold yet.
            cache: Where keys and values are kept between calls; None for none, as in training.
            last_only: Whether to compute the logits of the last token alone, which saves most of them in prefill.

        Raises:
            ValueError: the ids are not a non-empty [B, T] of integers, do not fit the cache, or one is outside the
                vocabulary (on CUDA that is a device assertion: to look would be to wait for the GPU).
        """
        cache = NoCache() if cache is None else cache
        x_BTD = self.hidden(tokens_BT, cache)
        logits = self.logits(x_BTD[:, -1:] if last_only else x_BTD)
        cache.advance(tokens_BT.shape[1])  # at the very end: a pass that failed has added nothing
        return logits

    def hidden(self, tokens_BT: Tensor, cache: Cache, rows_R: Tensor | None = None) -> Tensor:
        """What the last layer gives for each token, [B, T, D], for :meth:`logits` of those that matter.

        The caller tells the cache to advance once nothing can fail any more; arguments and errors as in a call.
        With ``rows_R``, int64 indices of tokens, [B, R, D] of these alone, which saves the others the end of the last
        layer; all keys and values are in the cache nevertheless.
        """
        if tokens_BT.dim() != 2 or tokens_BT.numel() == 0 or tokens_BT.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"tokens must be a non-empty [B, T] of int64 or int32, got {tuple(tokens_BT.shape)} {tokens_BT.dtype}"
            )
        B, T = tokens_BT.shape
        positions_BT = cache.positions(B, T, tokens_BT.device)
        try:
            x_BTD: Tensor = self.embed_tokens(tokens_BT)
        except IndexError as error:
            raise ValueError(f"token ids must be in 0 to {self.config.vocab_size - 1}, got {tokens_BT}") from error
        tables = self._rotary_tables(positions_BT, x_BTD.dtype)
        for i, block in enumerate(self.layers, start=1):
            x_BTD = block(x_BTD, tables, cache, rows_R if i == len(self.layers) else None)
        return x_BTD

    def logits(self, x_D: Tensor) -> Tensor:
        """Final norm and output head of hidden states [..., D]: logits [..., V]."""
        logits: Tensor = self.lm_head(self.norm(x_D))
        return logits

    def _rotary_tables(self, positions_BT: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        rope = self.config.rope
        length = int(positions_BT.max()) + 1 if rope.varies_with_length else 0  # a wait for the GPU: only if needed
        cos_BTP, sin_BTP = rotary_tables(
            positions_BT, *_frequencies(rope, self.config.head_dim, length, positions_BT.device)
        )
        return cos_BTP.to(dtype), sin_BTP.to(dtype)


@lru_cache(maxsize=64)
def _frequencies(rope: RopeParameters, head_dim: int, length: int, device: torch.device) -> tuple[Tensor, float]:
    # Not a buffer of the module: model.to(torch.bfloat16) would round it. Kept, so that no step copies it to the GPU
    # again; and made outside inference mode, so that a later training step may use it.
    with torch.inference_mode(False):
        frequencies, factor = inverse_frequencies(rope, head_dim, length=length)
        return frequencies.to(device), factor


def _dense_ffn(config: ModelConfig, layer: int) -> nn.Module:
    return SwiGLU(config.hidden_size, config.intermediate_size, bias=config.ffn_bias, activation=config.activation)
