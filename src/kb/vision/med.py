"""BLIP's mixture of encoder and decoder: one stack of text layers that works in three ways.

Alone it encodes a text; with attention to an image it encodes the pair; with causal self-attention in the place of the
bidirectional one it writes a caption. Everything but self-attention is shared between the last two.

Source: Li et al. 2022, BLIP, section 3.1 and 3.2, figure 2.
Shapes: B pairs, T tokens, P patches, D width, E image width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.nn import causal_mask
from kb.vision.blocks import Attended, FedForward, load_renamed

MODES = ("text", "pair", "caption")


@dataclass(frozen=True)
class MEDConfig:
    """Sizes, as of BERT; ``image_width`` is E.

    Raises:
        ValueError: a size is not a positive integer.
    """

    vocab: int
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    image_width: int = 768
    length: int = 512

    def __post_init__(self) -> None:
        for name in ("vocab", "width", "layers", "heads", "inner", "image_width", "length"):
            require_count(name, getattr(self, name))


class MEDLayer(nn.Module):
    """Self-attention (of two, by mode), attention to the image, feed-forward network; norms as in BERT."""

    def __init__(self, config: MEDConfig) -> None:
        super().__init__()
        D, N = config.width, config.heads
        self.bidirectional, self.causal = Attended(D, N), Attended(D, N)
        self.cross = Attended(D, N, config.image_width)
        self.feed_forward = FedForward(D, config.inner)

    def forward(self, x_BTD: Tensor, image_BPE: Tensor | None, mode: str, pad_BT: Tensor) -> Tensor:
        """[B, T, D]."""
        if mode == "caption":
            hidden = causal_mask(x_BTD.shape[1], device=x_BTD.device)
            x_BTD = self.causal(x_BTD, hidden=hidden, pad=pad_BT)
        else:
            x_BTD = self.bidirectional(x_BTD, pad=pad_BT)
        if image_BPE is not None:
            x_BTD = self.cross(x_BTD, image_BPE)
        out: Tensor = self.feed_forward(x_BTD)
        return out


class MED(nn.Module):
    """Tokens [B, T], and patches of an image, to vectors [B, T, D]."""

    def __init__(self, config: MEDConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.length, config.width))
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(MEDLayer(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width, config.vocab)

    def forward(
        self, tokens_BT: Tensor, image_BPE: Tensor | None = None, *, mode: str = "text", pad_BT: Tensor | None = None
    ) -> Tensor:
        """[B, T, D].

        Args:
            tokens_BT: Integer ids.
            image_BPE: Patches; wanted in the modes "pair" and "caption", and only there.
            mode: One of :data:`MODES`.
            pad_BT: True where a token is padding; none if not given.

        Raises:
            ValueError: the mode is not known, or does not fit what was given, or a text is longer than the positions.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if (image_BPE is None) != (mode == "text"):
            raise ValueError(f"mode {mode!r} {'wants' if image_BPE is None else 'takes no'} image_BPE")
        if tokens_BT.dim() != 2 or tokens_BT.shape[1] > self.config.length:
            raise ValueError(f"tokens must be [B, T], T to {self.config.length}, got {tuple(tokens_BT.shape)}")
        pad_BT = torch.zeros_like(tokens_BT, dtype=torch.bool) if pad_BT is None else pad_BT
        x_BTD = self.norm(self.embed_tokens(tokens_BT) + self.positions[: tokens_BT.shape[1]])
        for layer in self.layers:
            x_BTD = layer(x_BTD, image_BPE, mode, pad_BT)
        return x_BTD

    def logits(self, tokens_BT: Tensor, image_BPE: Tensor, pad_BT: Tensor | None = None) -> Tensor:
        """Of the token after each, given the image: [B, T, V]."""
        out: Tensor = self.head(self(tokens_BT, image_BPE, mode="caption", pad_BT=pad_BT))
        return out

    def load_transformers(self, tensors: Mapping[str, Tensor], mode: str) -> None:
        """Take the tensors of transformers' BlipTextModel for a mode; those of the other self-attention stay.

        There encoder and decoder are two models; in the paper they share all but self-attention.

        Raises:
            ValueError: as :func:`load_renamed`.
        """
        attention = "causal" if mode == "caption" else "bidirectional"
        kept = {name: tensor for name, tensor in self.state_dict().items() if _is_of_ours(name, attention)}
        rules = [
            (r"^embeddings\.word_embeddings", "embed_tokens"),
            (r"^embeddings\.position_embeddings\.weight", "positions"),
            (r"^embeddings\.LayerNorm", "norm"),
            *attention_rules("attention", attention),
            *attention_rules("crossattention", "cross"),
            *feed_forward_rules("intermediate", "output", "feed_forward"),
        ]
        load_renamed(self, {**tensors, **{key: one for name in kept for key, one in _apart(name, kept[name])}}, rules)


def attention_rules(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Renames BERT's attention sublayer in transformers to :class:`Attended`."""
    start = rf"^encoder\.layer\.(\d+)\.{theirs}\."
    inputs = [
        (start + rf"(?:self|attention)\.{long}\.", rf"layers.\1.{ours}.attn.{long[0]}_proj.")
        for long in ("query", "key", "value")
    ]
    return [
        *inputs,
        (start + r"output\.dense", rf"layers.\1.{ours}.attn.out_proj"),
        (start + r"output\.LayerNorm", rf"layers.\1.{ours}.norm"),
    ]


def feed_forward_rules(up: str, down: str, ours: str) -> list[tuple[str, str]]:
    """Renames BERT's feed-forward sublayer in transformers to :class:`FedForward`."""
    start = r"^encoder\.layer\.(\d+)\."
    return [
        (start + rf"{up}\.dense", rf"layers.\1.{ours}.up"),
        (start + rf"{down}\.dense", rf"layers.\1.{ours}.down"),
        (start + rf"{down}\.LayerNorm", rf"layers.\1.{ours}.norm"),
    ]


def _is_of_ours(name: str, attention: str) -> bool:
    other = "bidirectional" if attention == "causal" else "causal"
    return name.startswith("head.") or f".{other}." in name


def _apart(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """A packed tensor of ours as the three of which load_renamed makes it."""
    for kind in ("weight", "bias"):
        if name.endswith(f"in_proj_{kind}"):
            start = name.removesuffix(f"in_proj_{kind}")
            return [(f"{start}{one}_proj.{kind}", part) for one, part in zip("qkv", tensor.chunk(3), strict=True)]
    return [(name, tensor)]
