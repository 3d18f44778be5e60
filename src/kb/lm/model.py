"""A decoder-only language model of the Llama family that runs released weights: Llama, Mistral, Qwen2, Qwen3, SmolLM.

No cross-attention: each block is causal self-attention and a feed-forward network, each behind an RMSNorm and added
to the residual stream. Unusual: where keys and values are kept is not the model's business (see ``kb.lm.cache``), and
the feed-forward network is made by a function that the caller may give. Modules carry Hugging Face's names, so that a
checkpoint's tensors load as they are.

Source: Touvron et al. 2023, LLaMA, section 2.2; Grattafiori et al. 2024, Llama 3, section 3.2 (grouped queries).
Shapes: B sequences, T tokens, D model width, N query heads, G key-value heads, H head width, P = H/2, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn

from kb.lm.cache import Cache, NoCache
from kb.lm.config import ModelConfig
from kb.nn import RMSNorm, RopeParameters, SwiGLU, apply_rotary, inverse_frequencies, rotary_tables

MakeFFN = Callable[[ModelConfig, int], nn.Module]


class LoadedCheckpoint(Protocol):
    """What :meth:`DecoderLM.from_checkpoint` reads of ``kb.checkpoints.Checkpoint``."""

    @property
    def config(self) -> Mapping[str, object]:
        """The ``config.json``."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Tensors by Hugging Face name."""


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

    def forward(self, x_BTD: Tensor, tables: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), tables, cache)
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
            ValueError: the configuration is not of this family, or a tensor is missing, unknown or of another shape.
        """
        config = ModelConfig.from_huggingface(checkpoint.config, getattr(checkpoint, "generation", None))
        weights = {
            name.removeprefix("model."): tensor
            for name, tensor in checkpoint.weights.items()
            if not name.endswith("rotary_emb.inv_freq")  # in folders of 2023: derived, not learned
        }
        embedding, head = weights.get("embed_tokens.weight", torch.empty(0)), weights.get("lm_head.weight")
        if config.tie_embeddings and head is not None and not torch.equal(head, embedding):
            config = replace(config, tie_embeddings=False)  # a head of its own was stored: transformers keeps it, too
        elif config.tie_embeddings:
            weights["lm_head.weight"] = embedding
        with torch.device("meta"):
            model = cls(config)
        wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        if wanted != given:
            names = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
            first = names[0]
            raise ValueError(
                f"{len(names)} tensors of the checkpoint do not fit its configuration; the first is {first}: "
                f"wanted {wanted.get(first, 'none')}, got {given.get(first, 'none')}"
            )
        if not share:
            weights = {name: tensor.to(device, copy=True) for name, tensor in weights.items()}
        model.load_state_dict(weights, assign=True)
        if config.tie_embeddings:
            model.lm_head.weight = model.embed_tokens.weight
        return model.to(device).eval().requires_grad_(False)

    def forward(self, tokens_BT: Tensor, *, cache: Cache | None = None, last_only: bool = False) -> Tensor:
        """Logits of the token after each of the given ones, [B, T, V], or [B, 1, V] with ``last_only``.

        Args:
            tokens_BT: Integer ids. With a cache, only the tokens that it does not hold yet.
            cache: Where keys and values are kept between calls; None for none, as in training.
            last_only: Whether to compute the logits of the last token alone, which saves most of them in prefill.

        Raises:
            ValueError: the ids are not a non-empty [B, T] of integers, or do not fit the cache.
            IndexError: an id is outside the vocabulary (raised by torch; on CUDA, a device assertion).
        """
        if tokens_BT.dim() != 2 or tokens_BT.numel() == 0 or tokens_BT.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"tokens must be a non-empty [B, T] of int64 or int32, got {tuple(tokens_BT.shape)} {tokens_BT.dtype}"
            )
        cache = cache or NoCache()
        B, T = tokens_BT.shape
        positions_BT = cache.positions(B, T, tokens_BT.device)
        x_BTD = self.embed_tokens(tokens_BT)
        tables = self._rotary_tables(positions_BT, x_BTD.dtype)
        for block in self.layers:
            x_BTD = block(x_BTD, tables, cache)
        cache.advance(T)
        logits: Tensor = self.lm_head(self.norm(x_BTD[:, -1:] if last_only else x_BTD))
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
