"""The Transformer of 2017, encoder and decoder, with the interface, state and answers of ``torch.nn.Transformer``.

Each layer adds what a sublayer makes of its input to that input. The norm comes after the sum, as published ("post"),
or before the sublayer (``norm_first``, "pre"). As in torch, each of the two stacks ends in one more norm, which the
paper does not have. No embeddings and no positions: the caller adds them.

Unusual: padding is only ever hidden from queries. In inference, torch's encoder may skip it (nested tensors) and then
gives zeros where ours gives what the layers make of the padding; no other position differs.

Sources: Vaswani et al. 2017, section 3.1 and 3.3; Xiong et al. 2020, figure 1 (pre and post); torch's documentation.
Shapes: B sequences, S tokens of the source, T of the target, D model width, F inner width.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.nn.feed_forward import ACTIVATIONS
from kb.nn.multi_head_attention import MultiHeadAttention


@dataclass(frozen=True)
class TransformerLayerConfig:
    """Sizes and switches of one layer, named as torch names them; ``d_model`` is D, ``dim_feedforward`` F.

    Raises:
        ValueError: a size is not a positive integer, ``dropout`` or ``layer_norm_eps`` is out of its range, or the
            activation is not known.
    """

    d_model: int
    nhead: int
    dim_feedforward: int = 2048
    dropout: float = 0.1
    activation: str = "relu"
    layer_norm_eps: float = 1e-5
    batch_first: bool = False
    norm_first: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        for name in ("d_model", "nhead", "dim_feedforward"):
            require_count(name, getattr(self, name))
        if self.d_model % self.nhead:
            raise ValueError(f"d_model must be a multiple of nhead, got {self.d_model} and {self.nhead}")
        if not (is_number(self.dropout) and 0 <= self.dropout <= 1):
            raise ValueError(f"dropout must be a number from 0 to 1, got {self.dropout!r}")
        if not (is_number(self.layer_norm_eps) and self.layer_norm_eps > 0):
            raise ValueError(f"layer_norm_eps must be a positive number, got {self.layer_norm_eps!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is not known; wanted one of {', '.join(ACTIVATIONS)}")

    def attention(self) -> MultiHeadAttention:
        """An attention of this size."""
        return MultiHeadAttention(
            self.d_model, self.nhead, dropout=self.dropout, bias=self.bias, batch_first=self.batch_first
        )

    def norm(self) -> nn.LayerNorm:
        """A norm of this width."""
        return nn.LayerNorm(self.d_model, eps=self.layer_norm_eps, bias=self.bias)


class _Layer(nn.Module):
    """What encoder and decoder layers share: self-attention, the feed-forward network, where the norm goes."""

    def __init__(self, config: TransformerLayerConfig) -> None:
        super().__init__()
        self.config = config
        self.activation = ACTIVATIONS[config.activation]
        self.self_attn = config.attention()

    def _make_feed_forward(self) -> None:
        # Made by the subclasses, after their attention: the same seed then gives the numbers that it gives in torch.
        config = self.config
        self.linear1 = nn.Linear(config.d_model, config.dim_feedforward, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)
        self.linear2 = nn.Linear(config.dim_feedforward, config.d_model, bias=config.bias)

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return out


class EncoderLayer(_Layer):
    """Self-attention, then the feed-forward network."""

    def __init__(self, config: TransformerLayerConfig) -> None:
        super().__init__(config)
        self._make_feed_forward()
        self.norm1, self.norm2 = config.norm(), config.norm()
        self.dropout1, self.dropout2 = nn.Dropout(config.dropout), nn.Dropout(config.dropout)

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """[S, B, D] to [S, B, D] (or [B, S, D]); masks, and errors, as in :class:`MultiHeadAttention`."""

        def attended(x: Tensor) -> Tensor:
            out, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask)
            return self.dropout1(out)

        def fed_forward(x: Tensor) -> Tensor:
            return self.dropout2(self._feed_forward(x))

        x = src
        if self.config.norm_first:
            x = x + attended(self.norm1(x))
            return x + fed_forward(self.norm2(x))
        x = self.norm1(x + attended(x))
        return self.norm2(x + fed_forward(x))


class DecoderLayer(_Layer):
    """Self-attention, then attention to the encoder's output (``memory``), then the feed-forward network."""

    def __init__(self, config: TransformerLayerConfig) -> None:
        super().__init__(config)
        self.multihead_attn = config.attention()
        self._make_feed_forward()
        self.norm1, self.norm2, self.norm3 = config.norm(), config.norm(), config.norm()
        self.dropout1, self.dropout2, self.dropout3 = (nn.Dropout(config.dropout) for _ in range(3))

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """[T, B, D] and [S, B, D] to [T, B, D]; masks, and errors, as in :class:`MultiHeadAttention`.

        ``memory_mask`` [T, S] says which tokens of the source those of the target may look at.
        """

        def attended(x: Tensor) -> Tensor:
            out, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask)
            return self.dropout1(out)

        def crossed(x: Tensor) -> Tensor:
            out, _ = self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask)
            return self.dropout2(out)

        def fed_forward(x: Tensor) -> Tensor:
            return self.dropout3(self._feed_forward(x))

        x = tgt
        if self.config.norm_first:
            x = x + attended(self.norm1(x))
            x = x + crossed(self.norm2(x))
            return x + fed_forward(self.norm3(x))
        x = self.norm1(x + attended(x))
        x = self.norm2(x + crossed(x))
        return self.norm3(x + fed_forward(x))


class _Stack(nn.Module):
    """Layers, then a norm; ``rest`` goes to every layer."""

    def __init__(self, layers: list[nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.layers, self.norm = nn.ModuleList(layers), norm

    def forward(self, x: Tensor, *rest: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, *rest)
        out: Tensor = self.norm(x)
        return out


class EncoderDecoder(nn.Module):
    """An encoder of the source and a decoder of the target that attends to it; arguments and defaults are torch's.

    Args:
        d_model: D.
        nhead: Heads, which divide D.
        num_encoder_layers: Layers of the encoder.
        num_decoder_layers: Layers of the decoder.
        dim_feedforward: F.
        dropout: Of attention weights, of the inner units, and of what each sublayer adds.
        activation: A key of ``ACTIVATIONS``; torch knows "relu" and "gelu".
        layer_norm_eps: Added to the variance.
        batch_first: Whether the axis of sequences comes first.
        norm_first: Whether the norm goes before the sublayer.
        bias: Whether projections and norms have one.

    Raises:
        ValueError: a size is not a positive integer, or see :class:`TransformerLayerConfig`.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        *,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        require_count("num_encoder_layers", num_encoder_layers)
        require_count("num_decoder_layers", num_decoder_layers)
        config = TransformerLayerConfig(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias
        )
        self.config = config
        self.encoder = _Stack([EncoderLayer(config) for _ in range(num_encoder_layers)], config.norm())
        self.decoder = _Stack([DecoderLayer(config) for _ in range(num_decoder_layers)], config.norm())
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """What the decoder makes of the target, given the source.

        Nothing is causal by itself: a decoder that is trained to predict the next token wants ``tgt_mask``, see
        :func:`causal_mask`. And padding of the source is hidden from the decoder only by ``memory_key_padding_mask``.

        Args:
            src: [S, B, D], [B, S, D] with ``batch_first``, or [S, D] of one sequence.
            tgt: [T, B, D], [B, T, D] or [T, D].
            src_mask: [S, S] or [B * N, S, S]; True where a query may not look, or numbers that are added.
            tgt_mask: [T, T] or [B * N, T, T], likewise.
            memory_mask: [T, S], likewise.
            src_key_padding_mask: [B, S]; True for a token that is not looked at, or numbers that are added.
            tgt_key_padding_mask: [B, T], likewise.
            memory_key_padding_mask: [B, S], likewise.

        Returns:
            As ``tgt``.

        Raises:
            TypeError: a dtype is not that of the weights.
            ValueError: shapes do not fit.
        """
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        out: Tensor = self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return out
