"""Prefix tuning: keys and values of positions that no token ever had, learned for every layer of a frozen model.

The model asks its cache for attention (``kb.lm.cache``), so that a prefix is a cache that begins with them; the model
is not touched. The tokens' positions begin after the prefix, as in peft. Unusual: the prefix may start as the keys and
values of real tokens, and the tuned model then begins as the model prompted with these.

Source: Li and Liang 2021, Prefix-Tuning, sections 4.3 (the network) and 7.4 (real words as a start).
Shapes: B sequences, T tokens, P prefix, L layers, N query heads, G key-value heads, H head width, E embedding.
"""

import torch
from torch import Tensor, nn

from kb.arguments import is_integer, require_count
from kb.lm import DecoderLM, KVCache, ModelConfig
from kb.nn import grouped_query_attention


class PrefixTuning(nn.Module):
    """Keys and values [L, 2, P, G, H] as parameters, or what a small network makes of an embedding for each position.

    Args:
        config: The model's.
        length: P.
        seed: Of the start: normal numbers of deviation ``std``.
        hidden: Width of the network's inner layer; None for parameters alone. After training only the keys and values
            that it gives are needed.
        embedding: E, where there is a network.
        std: Deviation of the start; of a network's matrices ``1 / sqrt(inputs)`` instead.

    Raises:
        ValueError: a size is not a positive integer.
    """

    def __init__(
        self,
        config: ModelConfig,
        length: int,
        *,
        seed: int = 0,
        hidden: int | None = None,
        embedding: int = 64,
        std: float = 0.02,
    ) -> None:
        super().__init__()
        require_count("length", length)
        if not is_integer(seed):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        self.shape = (config.num_layers, 2, length, config.num_kv_heads, config.head_dim)
        generator = torch.Generator().manual_seed(seed)
        self.network: nn.Sequential | None = None
        if hidden is None:
            self.start = nn.Parameter(std * torch.randn(self.shape, generator=generator))
            return
        require_count("hidden", hidden)
        require_count("embedding", embedding)
        numbers = 2 * config.num_layers * config.num_kv_heads * config.head_dim
        self.start = nn.Parameter(torch.randn(length, embedding, generator=generator))
        layers = nn.Linear(embedding, hidden), nn.Linear(hidden, numbers)
        self.network = nn.Sequential(layers[0], nn.Tanh(), layers[1])
        with torch.no_grad():
            for layer in layers:
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5)
                layer.bias.zero_()

    @classmethod
    @torch.no_grad()
    def from_tokens(cls, model: DecoderLM, tokens_P: Tensor) -> "PrefixTuning":
        """The prefix that does what these tokens before every text do.

        Raises:
            ValueError: the tokens are no [P] of the model's vocabulary.
        """
        if tokens_P.ndim != 1:
            raise ValueError(f"tokens must be [P], got {tuple(tokens_P.shape)}")
        parameter = next(model.parameters())
        cache = KVCache(model.config, capacity=len(tokens_P), dtype=parameter.dtype, device=parameter.device)
        model(tokens_P[None], cache=cache)
        prefix = cls(model.config, len(tokens_P)).to(parameter.device, parameter.dtype)
        prefix.start.copy_(torch.stack([cache.keys_LBCGH[:, 0], cache.values_LBCGH[:, 0]], dim=1))
        return prefix

    def forward(self) -> Tensor:
        """Keys and values, [L, 2, P, G, H]."""
        if self.network is None:
            return self.start
        layers, two, length, heads, width = self.shape
        made: Tensor = self.network(self.start)
        return made.view(length, layers, two, heads, width).permute(1, 2, 0, 3, 4)


class PrefixCache:
    """A cache that begins with a prefix and forgets everything else, for training and for a whole text at once.

    Args:
        keys_values_L2PGH: What the prefix gives.
    """

    def __init__(self, keys_values_L2PGH: Tensor) -> None:
        self.keys_values_L2PGH = keys_values_L2PGH

    def positions(self, B: int, T: int, device: torch.device) -> Tensor:
        """P to P + T - 1 for every sequence, [B, T]."""
        P = self.keys_values_L2PGH.shape[2]
        return torch.arange(P, P + T, device=device).expand(B, T)

    def attend(
        self, layer: int, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, *, window: int | None = None
    ) -> Tensor:
        """Causal attention among the tokens and to the whole prefix.

        Raises:
            ValueError: the layer looks at a window, out of which the prefix would slide.
        """
        if window is not None:
            raise ValueError(f"layer {layer} sees a window of {window} keys, out of which a prefix would slide")
        B = len(q_BTNH)
        prefix = (one.expand(B, -1, -1, -1).to(k_BTGH.dtype) for one in self.keys_values_L2PGH[layer])
        k_BSGH, v_BSGH = (torch.cat([before, new], dim=1) for before, new in zip(prefix, (k_BTGH, v_BTGH), strict=True))
        return grouped_query_attention(q_BTNH, k_BSGH, v_BSGH)

    def advance(self, T: int) -> None:
        """Nothing is kept."""


class PrefixLM(nn.Module):
    """A frozen model and its prefix as one model, tokens to logits.

    Args:
        model: Is frozen here.
        prefix: Made for its configuration.
    """

    def __init__(self, model: DecoderLM, prefix: PrefixTuning) -> None:
        super().__init__()
        config = model.config
        if (prefix.shape[0], *prefix.shape[3:]) != (config.num_layers, config.num_kv_heads, config.head_dim):
            raise ValueError(f"prefix {prefix.shape} was not made for a model of {config.num_layers} layers like this")
        self.model, self.prefix = model.requires_grad_(False), prefix

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits [B, T, V] of the token after each, given the prefix and those before it."""
        return self.model(tokens_BT, cache=PrefixCache(self.prefix()))
