"""Three small causal language models that differ in how positions meet: attention, recurrence, dilated convolutions.

Each is an embedding, layers, a norm and a linear head: tokens [B, T] to logits [B, T, V], as ``kb.lm.DecoderLM``. The
attention model alone has an embedding of positions, since it alone cannot see order otherwise.

Sources: Vaswani et al. 2017 with the norm first (attention); Cho et al. 2014 (GRU); van den Oord et al. 2016, section
2.1, and Bai et al. 2018, arXiv 1803.01271, sections 3.2 to 3.4 (residual dilated causal convolutions).
Shapes: B sequences, T tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from kb.arguments import is_integer, require_count
from kb.nn import GRU, CausalConv1d, EncoderLayer, TransformerLayerConfig, causal_mask, receptive_field


class _SequenceModel(nn.Module):
    """What the three share; a subclass makes its layers, says what they do, and draws its numbers."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        require_count("vocab_size", vocab_size)
        require_count("width", width)
        self.embed_tokens = nn.Embedding(vocab_size, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits at every token, given it and those before it, [B, T, V].

        Raises:
            ValueError: the ids are not a non-empty [B, T] of int64 or int32 within the vocabulary, or too many.
        """
        if tokens_BT.dim() != 2 or tokens_BT.numel() == 0 or tokens_BT.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"tokens must be a non-empty [B, T] of int64 or int32, got {tuple(tokens_BT.shape)} {tokens_BT.dtype}"
            )
        try:
            x_BTD = self.embed_tokens(tokens_BT)
        except IndexError as error:
            vocab = self.embed_tokens.num_embeddings
            raise ValueError(f"token ids must be in 0 to {vocab - 1}, got {tokens_BT}") from error
        logits: Tensor = self.head(self.norm(self.mix(x_BTD)))
        return logits

    def mix(self, x_BTD: Tensor) -> Tensor:
        """The layers: [B, T, D] to [B, T, D]."""
        raise NotImplementedError

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        """Matrices normal with variance 1 / inputs, from a generator of their own; biases 0, scales of norms 1."""
        if not is_integer(seed):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in sorted(self.named_parameters()):
            if parameter.ndim > 1:
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn * parameter[0].numel() ** -0.5)
            else:
                parameter.fill_(0.0 if "bias" in name else 1.0)


class AttentionModel(_SequenceModel):
    """Causal self-attention and a feed-forward network in every layer, each behind a norm.

    Args:
        vocab_size: V.
        width: D.
        layers: How many.
        heads: In each layer; they divide D.
        max_length: Most tokens of a sequence.
        seed: The same seed gives the same weights.

    Raises:
        ValueError: a size is not a positive integer, the heads do not divide D, or the seed is no integer.
    """

    def __init__(
        self, vocab_size: int, width: int, *, layers: int = 2, heads: int = 2, max_length: int, seed: int = 0
    ) -> None:
        super().__init__(vocab_size, width)
        require_count("layers", layers)
        require_count("max_length", max_length)
        config = TransformerLayerConfig(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.embed_positions = nn.Embedding(max_length, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(layers))
        self._draw(seed)

    def mix(self, x_BTD: Tensor) -> Tensor:
        """Positions, then the layers under a causal mask."""
        T, most = x_BTD.shape[1], self.embed_positions.num_embeddings
        if most < T:
            raise ValueError(f"tokens must be at most {most} long, got {T}")
        x_BTD = x_BTD + self.embed_positions.weight[:T]
        mask_TT = causal_mask(T, device=x_BTD.device)
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask_TT)
        return x_BTD


class RecurrentModel(_SequenceModel):
    """A GRU; all that it knows of the past is one vector [D] a layer.

    Args:
        vocab_size: V.
        width: D.
        layers: How many.
        fused: Whether the layers are ``torch.nn.GRU``, with the same weights and answers, and faster than our loop.
        seed: The same seed gives the same weights.

    Raises:
        ValueError: a size is not a positive integer, or the seed is no integer.
    """

    def __init__(self, vocab_size: int, width: int, *, layers: int = 1, fused: bool = False, seed: int = 0) -> None:
        super().__init__(vocab_size, width)
        require_count("layers", layers)
        kind = nn.GRU if fused else GRU
        self.recurrence = kind(width, width, layers, batch_first=True)
        self._draw(seed)

    def mix(self, x_BTD: Tensor) -> Tensor:
        """The outputs of the last layer."""
        out_BTD, _ = self.recurrence(x_BTD)
        return out_BTD


class ConvolutionModel(_SequenceModel):
    """A stack of dilated causal convolutions, each with ReLU and added to its input.

    Args:
        vocab_size: V.
        width: D.
        kernel: Width of every kernel.
        dilations: One a layer; :func:`kb.lm.sequence_layers.exponential_dilations` finds those that reach far enough.
        seed: The same seed gives the same weights.

    Attributes:
        receptive_field: How many tokens a logit depends on, its own included.

    Raises:
        ValueError: a size is not a positive integer, there is no dilation, or the seed is no integer.
    """

    def __init__(
        self, vocab_size: int, width: int, *, kernel: int = 2, dilations: Iterable[int], seed: int = 0
    ) -> None:
        super().__init__(vocab_size, width)
        dilations = tuple(dilations)
        if not dilations:
            raise ValueError("dilations must hold one integer a layer, got none")
        self.receptive_field = receptive_field(kernel, dilations)
        self.layers = nn.ModuleList(CausalConv1d(width, width, kernel, dilation) for dilation in dilations)
        self._draw(seed)

    def mix(self, x_BTD: Tensor) -> Tensor:
        """Layer after layer, the channels before the steps."""
        x_BDT = x_BTD.transpose(1, 2)
        for layer in self.layers:
            x_BDT = x_BDT + torch.relu(layer(x_BDT))
        return x_BDT.transpose(1, 2)


def nearest_width(make: Callable[[int], nn.Module], parameters: int, widths: Iterable[int]) -> int:
    """Of the widths, the one whose model's number of parameters is nearest to ``parameters``; the first of equals.

    Args:
        make: A model of a width. Only its shapes matter: it is called on the device ``meta``, where tensors have no
            numbers.
        parameters: How many are wanted.
        widths: To choose from.

    Raises:
        ValueError: ``parameters`` is not a positive integer, or there is no width.
    """
    require_count("parameters", parameters)
    candidates = list(widths)
    if not candidates:
        raise ValueError("widths must hold at least one width, got none")

    def off(width: int) -> int:
        return abs(sum(one.numel() for one in make(width).parameters()) - parameters)

    with torch.device("meta"):
        return min(candidates, key=off)
