"""Multi-head attention as one module, with the interface, the state and the answers of ``torch.nn.MultiheadAttention``.

Unusual: heads of keys and values may be fewer than those of queries (``num_kv_heads``); the rows of ``in_proj_weight``
are then fewer too. How attention is computed is a function that the caller may give: a loop, einsum or the fused
kernel. Not here: ``add_bias_kv`` and ``add_zero_attn``, which no model of this book has.

A query that may look at no key: where the weights are wanted they are 0 / 0, and so is the query's output; where they
are not, it attends to nothing, and the output is the bias of ``out_proj``. So it is in torch, but for its fast path in
inference mode, which gives NaN in both cases (torch 2.13).

Source: Vaswani et al. 2017, section 3.2.2; Ainslie et al. 2023, section 2.2 (groups); torch's documentation.
Shapes: B sequences, T queries, S keys, E width of the model, N query heads, G key-value heads, H = E / N.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.nn.attention import grouped_query_attention
from kb.nn.masked_attention import Attend, masked_attention_einsum, masked_attention_fused


class AttentionCache:
    """Keys and values of the tokens that a decoding module has seen, [B, S, G, H] each; None before the first."""

    def __init__(self) -> None:
        self.k_BSGH: Tensor | None = None
        self.v_BSGH: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens kept."""
        return 0 if self.k_BSGH is None else self.k_BSGH.shape[1]

    def append(self, k_BTGH: Tensor, v_BTGH: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of T new tokens; all that are kept then.

        Raises:
            ValueError: another number of sequences or heads, or another width, than what is kept.
        """
        if self.k_BSGH is None or self.v_BSGH is None:
            self.k_BSGH, self.v_BSGH = k_BTGH, v_BTGH
        else:
            kept, new = self.k_BSGH.shape, k_BTGH.shape
            if (kept[0], *kept[2:]) != (new[0], *new[2:]):
                raise ValueError(f"cache holds keys [B, S, G, H] {tuple(kept)}, got new ones of {tuple(new)}")
            self.k_BSGH = torch.cat((self.k_BSGH, k_BTGH), dim=1)
            self.v_BSGH = torch.cat((self.v_BSGH, v_BTGH), dim=1)
        return self.k_BSGH, self.v_BSGH


class MultiHeadAttention(nn.Module):
    """softmax(q k^T / sqrt(H) + masks) v in N heads, of projected queries, keys and values, and projected again.

    Args:
        embed_dim: E, of queries and of the output.
        num_heads: N, which divides E.
        dropout: Probability that a weight is left out in training.
        bias: Whether the projections have one.
        kdim: Width of the keys; E if not given.
        vdim: Width of the values; E if not given.
        batch_first: Whether the axis of sequences comes before that of their elements.
        num_kv_heads: G, which divides N; N if not given.
        attend: How attention is computed; if not given, by einsum where the weights are wanted, else fused.
        device: Of the parameters.
        dtype: Of the parameters.

    Attributes:
        in_proj_weight: The weights of queries, keys and values, one below the other, [E + 2 G H, E]; None where the
            widths differ. Then they are ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight``.
        in_proj_bias: Their biases, [E + 2 G H], or None.
        out_proj: The last projection, a linear layer.

    Raises:
        ValueError: a size is not a positive integer, E does not divide by N or N by G, or ``dropout`` is not from 0
            to 1.
    """

    in_proj_weight: nn.Parameter | None
    in_proj_bias: nn.Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        num_kv_heads: int | None = None,
        attend: Attend | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        self.embed_dim, self.num_heads, self.batch_first, self.attend = embed_dim, num_heads, batch_first, attend
        for name in ("embed_dim", "num_heads", "kdim", "vdim", "num_kv_heads"):
            require_count(name, getattr(self, name))
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}")
        if num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads must be a multiple of num_kv_heads, got {num_heads} and {num_kv_heads}")
        if not (is_number(dropout) and 0 <= dropout <= 1):
            raise ValueError(f"dropout must be a number from 0 to 1, got {dropout!r}")
        self.dropout, self.head_dim = dropout, embed_dim // num_heads
        kv = self.num_kv_heads * self.head_dim
        self.rows = (embed_dim, kv, kv)
        widths = (embed_dim, self.kdim, self.vdim)
        packed = set(widths) == {embed_dim}
        shapes = {"in_proj_weight": (sum(self.rows), embed_dim) if packed else None}
        for name, rows, width in zip(_SEPARATE, self.rows, widths, strict=True):
            shapes[name] = None if packed else (rows, width)
        for name, shape in shapes.items():
            weight = None if shape is None else nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, weight)
        in_bias = nn.Parameter(torch.empty(sum(self.rows), device=device, dtype=dtype)) if bias else None
        self.register_parameter("in_proj_bias", in_bias)
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the input weights anew, by Xavier, and set biases to 0; ``out_proj`` keeps a linear layer's weights."""
        for name, parameter in self.named_parameters(recurse=False):
            if name != "in_proj_bias":
                nn.init.xavier_uniform_(parameter)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output, and the weights that made it.

        Args:
            query: [T, B, E], [B, T, E] with ``batch_first``, or [T, E] of one sequence.
            key: [S, B, kdim], [B, S, kdim] or [S, kdim].
            value: [S, B, vdim], [B, S, vdim] or [S, vdim].
            key_padding_mask: [B, S], or [S] of one sequence: booleans, True for a key that is not looked at, or numbers
                that are added.
            need_weights: Whether the weights are wanted.
            attn_mask: [T, S], or [B * N, T, S], one for each head of each sequence: booleans, True where a query may
                not look, or numbers that are added.
            average_attn_weights: Whether the mean of the heads' weights is wanted, not each.
            is_causal: A hint that ``attn_mask``, which has to be there, is causal; nothing depends on it.

        Returns:
            The output, as ``query``; the weights, [B, T, S] or [B, N, T, S] after dropout, without B of one sequence;
            or None.

        Raises:
            TypeError: the tensors are not of the weights' dtype, or a mask neither that nor boolean.
            ValueError: the shapes do not fit, ``is_causal`` comes without a mask, or the fused way is to give weights.
        """
        self._check(query, key, value)
        self._check_switches(need_weights, attn_mask, is_causal)
        alone = query.dim() == 2
        query, key, value = (self._by_sequence(one, alone) for one in (query, key, value))
        mask = self._mask(query, key, key_padding_mask, attn_mask, alone)
        attend = self.attend or (masked_attention_einsum if need_weights else masked_attention_fused)
        p = self.dropout if self.training else 0.0
        heads = self.project(query, key, value)
        mixed_BTNH, weights = attend(*heads, mask, dropout=p, zero_empty=not need_weights)
        out: Tensor = self.out_proj(mixed_BTNH.flatten(2))
        if not need_weights:
            weights = None
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if alone:
            return out[0], None if weights is None else weights[0]
        return out if self.batch_first else out.transpose(0, 1), weights

    def decode(self, x: Tensor, cache: AttentionCache) -> Tensor:
        """Causal self-attention of the newest tokens to all that the cache holds and to themselves.

        One call for each token gives what one call with all tokens and a causal mask gives.

        Args:
            x: The newest tokens, [T, B, E], or [B, T, E] with ``batch_first``.
            cache: Holds those before them; their own keys and values are added.

        Returns:
            As ``x``.

        Raises:
            TypeError: ``x`` is not of the weights' dtype, or ``cache`` is no cache.
            ValueError: ``x`` has not three axes, or its batch is not the cache's; or the module is in training with
                dropout.
        """
        if not isinstance(cache, AttentionCache):
            raise TypeError(f"cache must be an AttentionCache, got {type(cache).__name__}")
        self._check(x, x, x)
        if x.dim() != 3:
            raise ValueError(f"x must have 3 axes, got {tuple(x.shape)}")
        if self.training and self.dropout:
            raise ValueError("dropout must be 0 to decode: call eval() first")
        x_BTE = self._by_sequence(x, alone=False)
        q_BTNH, k_BTGH, v_BTGH = self.project(x_BTE, x_BTE, x_BTE)
        mixed_BTNH = grouped_query_attention(q_BTNH, *cache.append(k_BTGH, v_BTGH))
        out: Tensor = self.out_proj(mixed_BTNH.flatten(2))
        return out if self.batch_first else out.transpose(0, 1)

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, T, N, H], keys and values [B, S, G, H] of [B, T, E], [B, S, kdim] and [B, S, vdim]."""
        packed = self.in_proj_weight
        weights = [getattr(self, name) for name in _SEPARATE] if packed is None else packed.split(self.rows)
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.split(self.rows)
        q, k, v = (
            F.linear(x, weight, bias).unflatten(-1, (-1, self.head_dim))
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        return q, k, v

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        dtypes, wanted = {one.dtype for one in (query, key, value)}, self.out_proj.weight.dtype
        if dtypes != {wanted} and not torch.is_autocast_enabled(query.device.type):
            raise TypeError(f"query, key and value must be {wanted}, got {', '.join(sorted(map(str, dtypes)))}")
        shapes = [tuple(one.shape) for one in (query, key, value)]
        widths = [self.embed_dim, self.kdim, self.vdim]
        if {len(one) for one in shapes} not in ({2}, {3}) or [one[-1] for one in shapes] != widths:
            raise ValueError(f"query, key and value must have 2 axes, or 3, and widths {widths}, got {shapes}")
        sequences = {one[0 if self.batch_first else 1] for one in shapes if len(one) == 3}
        if len(sequences) > 1 or shapes[1][:-1] != shapes[2][:-1]:
            raise ValueError(f"query, key and value must be of as many sequences, key and value as long, got {shapes}")

    def _check_switches(self, need_weights: bool, mask: Tensor | None, is_causal: bool) -> None:
        if is_causal and mask is None:
            raise ValueError("is_causal=True says of attn_mask that it is causal: give the mask too")
        if need_weights and self.attend is masked_attention_fused:
            raise ValueError("need_weights must be False: the fused kernel keeps no weights")

    def _by_sequence(self, x: Tensor, alone: bool) -> Tensor:
        if alone:
            return x[None]
        return x if self.batch_first else x.transpose(0, 1)

    def _mask(
        self, query: Tensor, key: Tensor, padding: Tensor | None, mask: Tensor | None, alone: bool
    ) -> Tensor | None:
        """What is added to the scores, broadcast to [B, N, T, S]; None for nothing."""
        (B, T), S, N = query.shape[:2], key.shape[1], self.num_heads
        added = []
        if mask is not None:
            added.append(_added("attn_mask", mask, query.dtype, {(T, S): (1, 1, T, S), (B * N, T, S): (B, N, T, S)}))
        if padding is not None:
            shape = (S,) if alone else (B, S)
            added.append(_added("key_padding_mask", padding, query.dtype, {shape: (B, 1, 1, S)}))
        return sum(added[1:], start=added[0]) if added else None


_SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


def _added(name: str, mask: Tensor, dtype: torch.dtype, shapes: dict[tuple[int, ...], tuple[int, ...]]) -> Tensor:
    """A mask of one of the shapes, as numbers that are added, in the shape that belongs to it."""
    if tuple(mask.shape) not in shapes:
        raise ValueError(f"{name} must be {' or '.join(map(str, shapes))}, got {tuple(mask.shape)}")
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
    elif mask.dtype != dtype:
        raise TypeError(f"{name} must be boolean or {dtype}, got {mask.dtype}")
    return mask.reshape(shapes[tuple(mask.shape)])
