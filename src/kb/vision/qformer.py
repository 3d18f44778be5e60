"""BLIP-2's Q-Former: learned queries that read an image, next to a text that they may or may not see.

Unusual: one pass over queries and text together, and the loss is chosen by the mask alone. Layers, and the tensors
that they take, are those of transformers' Blip2QFormerModel.

Source: Li et al. 2023, BLIP-2, section 3.1 and 3.2, figure 2.
Shapes: B pairs, Q queries, T tokens, L = Q + T, P patches, D width, E image width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.vision.blocks import Attended, FedForward, load_renamed
from kb.vision.med import attention_rules, feed_forward_rules

MASKS = ("apart", "together", "captioning")


def query_text_mask(kind: str, queries: int, tokens: int) -> Tensor:
    """What may not be looked at among queries and then tokens, [L, L], True where hidden.

    "apart" is the paper's uni-modal mask (contrast), "together" the bidirectional one (matching), "captioning" the
    multimodal causal one (generation): queries do not see the text, a token sees the queries and what came before it.

    Raises:
        ValueError: the kind is not known, or there are no queries.
    """
    if kind not in MASKS:
        raise ValueError(f"kind must be one of {', '.join(MASKS)}, got {kind!r}")
    require_count("queries", queries)
    require_count("tokens", tokens, least=0)
    hidden = torch.zeros(queries + tokens, queries + tokens, dtype=torch.bool)
    if kind != "together":
        hidden[:queries, queries:] = True
    if kind == "apart":
        hidden[queries:, :queries] = True
    if kind == "captioning":
        hidden[queries:, queries:] = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return hidden


@dataclass(frozen=True)
class QFormerConfig:
    """Sizes; the defaults are BLIP-2's, whose image encoder ViT-g has width 1,408.

    Args:
        vocab: V.
        queries: Q.
        width: D.
        layers: Blocks.
        heads: Of attention.
        inner: Width inside the feed-forward networks.
        image_width: E.
        every: Blocks from one attention to the image to the next.
        length: Longest text.

    Raises:
        ValueError: a size is not a positive integer.
    """

    vocab: int = 30_522
    queries: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    image_width: int = 1408
    every: int = 2
    length: int = 512

    def __post_init__(self) -> None:
        for name in ("vocab", "queries", "width", "layers", "heads", "inner", "image_width", "every", "length"):
            require_count(name, getattr(self, name))


class QFormerLayer(nn.Module):
    """Self-attention over queries and text; then queries read the image, and each kind has a network of its own."""

    def __init__(self, config: QFormerConfig, reads: bool) -> None:
        super().__init__()
        D, N = config.width, config.heads
        self.self_attention = Attended(D, N)
        self.cross = Attended(D, N, config.image_width) if reads else None
        self.for_text, self.for_queries = FedForward(D, config.inner), FedForward(D, config.inner)

    def forward(self, x_BLD: Tensor, queries: int, image_BPE: Tensor, hidden_LL: Tensor, pad_BL: Tensor) -> Tensor:
        """[B, L, D]."""
        x_BLD = self.self_attention(x_BLD, hidden=hidden_LL, pad=pad_BL)
        q_BQD, t_BTD = x_BLD[:, :queries], x_BLD[:, queries:]
        if self.cross is not None:
            q_BQD = self.cross(q_BQD, image_BPE)
        return torch.cat((self.for_queries(q_BQD), self.for_text(t_BTD)), dim=1)


class QFormer(nn.Module):
    """Image patches, and a text, to Q + T vectors."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.queries = nn.Parameter(0.02 * torch.randn(1, config.queries, config.width))
        self.embed_tokens = nn.Embedding(config.vocab, config.width)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.positions = nn.Parameter(0.02 * torch.randn(config.length, config.width))
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(QFormerLayer(config, i % config.every == 0) for i in range(config.layers))

    def forward(
        self, image_BPE: Tensor, tokens_BT: Tensor | None = None, kind: str = "apart", pad_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries [B, Q, D] and tokens [B, T, D] after the last block; no tokens, none.

        Args:
            image_BPE: Patches of the frozen encoder.
            tokens_BT: Integer ids, or None for the queries alone, as in stage 2.
            kind: Of the mask, see :func:`query_text_mask`.
            pad_BT: True where a token is padding; none if not given.

        Raises:
            ValueError: the kind is not known, the image has not the width E, or tokens are not one text an image,
                no longer than the positions.
        """
        config = self.config
        if image_BPE.dim() != 3 or image_BPE.shape[2] != config.image_width:
            raise ValueError(f"image must be [B, P, {config.image_width}], got {tuple(image_BPE.shape)}")
        B, Q = len(image_BPE), config.queries
        x_BLD = self.queries.expand(B, -1, -1)
        pad_BL = torch.zeros(B, Q, dtype=torch.bool, device=x_BLD.device)
        if tokens_BT is not None:
            if tokens_BT.dim() != 2 or len(tokens_BT) != B or tokens_BT.shape[1] > config.length:
                raise ValueError(f"tokens must be [{B}, T], T to {config.length}, got {tuple(tokens_BT.shape)}")
            text_BTD = self.embed_tokens(tokens_BT) + self.positions[: tokens_BT.shape[1]]
            x_BLD = torch.cat((x_BLD, text_BTD), dim=1)
            pad_BL = torch.cat((pad_BL, torch.zeros_like(tokens_BT).bool() if pad_BT is None else pad_BT), dim=1)
        hidden_LL = query_text_mask(kind, Q, x_BLD.shape[1] - Q).to(x_BLD.device)
        x_BLD = self.norm(x_BLD)
        for layer in self.layers:
            x_BLD = layer(x_BLD, Q, image_BPE, hidden_LL, pad_BL)
        return x_BLD[:, :Q], x_BLD[:, Q:]

    def load_transformers(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors of transformers' Blip2QFormerModel, which has no queries and no embeddings: ours stay.

        Raises:
            ValueError: as :func:`load_renamed`.
        """
        rules = [
            (r"^layernorm", "norm"),
            *attention_rules("attention", "self_attention"),
            *attention_rules("crossattention", "cross"),
            *feed_forward_rules("intermediate", "output", "for_text"),
            *feed_forward_rules("intermediate_query", "output_query", "for_queries"),
        ]
        own = {name: self.state_dict()[name] for name in ("queries", "positions", "embed_tokens.weight")}
        load_renamed(self, {**tensors, **own}, rules)
