"""A causal text transformer: pooled at the end token it is CLIP's text encoder, with a head a small language model.

Unusual: one class is both, as both are the same blocks under the same mask. It also takes embeddings instead of
tokens, so that a frozen one can be prompted by vectors that are no words.

Source: Radford et al. 2021, section 2.4; Li et al. 2023, BLIP-2, section 3.3 (soft visual prompts).
Shapes: B texts, T tokens, D width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.nn import causal_mask
from kb.vision.blocks import activation_of, encoder_layer, load_renamed
from kb.vision.vit import BLOCK_RULES


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text transformer; the defaults are those of CLIP with ViT-B.

    Args:
        vocab: V.
        length: Longest text, start and end included.
        width: D.
        layers: Blocks.
        heads: Of attention.
        inner: Width inside the feed-forward networks.
        end: The token at which a text is pooled.
        activation: As in Hugging Face configurations.

    Raises:
        ValueError: a size is not a positive integer, the end no token, or the activation not known.
    """

    vocab: int = 49_408
    length: int = 77
    width: int = 512
    layers: int = 12
    heads: int = 8
    inner: int = 2048
    end: int = 49_407
    activation: str = "quick_gelu"

    def __post_init__(self) -> None:
        for name in ("vocab", "length", "width", "layers", "heads", "inner"):
            require_count(name, getattr(self, name))
        require_count("end", self.end, least=0)
        if self.end >= self.vocab:
            raise ValueError(f"end must be below the vocabulary of {self.vocab}, got {self.end}")
        activation_of(self.activation)


class TextTransformer(nn.Module):
    """Texts [B, T] to one vector each, [B, D]."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.width)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.positions = nn.Parameter(0.01 * torch.randn(config.length, config.width))
        self.layers = nn.ModuleList(
            encoder_layer(config.width, config.heads, config.inner, config.activation) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def hidden(self, x_BTD: Tensor) -> Tensor:
        """What the last block and norm make of embeddings, [B, T, D]; positions are added here.

        Raises:
            ValueError: not three axes of the model's width, or more tokens than positions.
        """
        config = self.config
        if x_BTD.dim() != 3 or x_BTD.shape[2] != config.width or not 0 < x_BTD.shape[1] <= config.length:
            raise ValueError(f"x must be [B, T, {config.width}], T to {config.length}, got {tuple(x_BTD.shape)}")
        T = x_BTD.shape[1]
        hidden = causal_mask(T, device=x_BTD.device)
        x_BTD = x_BTD + self.positions[:T]
        for layer in self.layers:
            x_BTD = layer(x_BTD, hidden)
        out: Tensor = self.norm(x_BTD)
        return out

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Of the token after each embedding, [B, T, V]; the head is the embedding."""
        return self.hidden(x_BTD) @ self.embed_tokens.weight.T

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """The vector at the first end token of each text, [B, D]; the mask hides what comes after it.

        Raises:
            ValueError: the tokens are not [B, T] of integers, or a text has no end token.
        """
        if tokens_BT.dim() != 2 or tokens_BT.is_floating_point():
            raise ValueError(f"tokens must be [B, T] of integers, got {tuple(tokens_BT.shape)} {tokens_BT.dtype}")
        is_end = tokens_BT == self.config.end
        if not bool(is_end.any(1).all()):
            raise ValueError(f"tokens must hold the end token {self.config.end} in every row")
        x_BTD = self.hidden(self.embed_tokens(tokens_BT))
        return x_BTD[torch.arange(len(x_BTD), device=x_BTD.device), is_end.int().argmax(1)]

    def load_transformers(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors of transformers' CLIPTextModel; errors as of :func:`load_renamed`."""
        load_renamed(self, tensors, _RULES)


_RULES = [
    *BLOCK_RULES,
    (r"^(.*\.)?embeddings\.token_embedding", "embed_tokens"),
    (r"^(.*\.)?embeddings\.position_embedding\.weight", "positions"),
    (r"^(.*\.)?final_layer_norm", "norm"),
]
