"""Attention with several heads, as one module: projections, weights, masks; the interface of ``torch.nn``.

Unusual: where nobody asks for the weights they are not kept, and a query that may look at no key gets zeros; where they
are wanted, such a row of weights is 0 / 0, and so is what comes of it. Both are torch's ways.

Source: Vaswani et al. 2017, Attention Is All You Need, section 3.2.2; torch's documentation, for names and state.
Shapes: B sequences, Q queries, K keys, E width of the model, N heads, H head width.
"""

import math
from typing import Any

import numpy as np

from kb.arguments import require_count
from kb.autograd import backend, ops
from kb.autograd import functional as F
from kb.autograd.arguments import array_in, require_floating, require_real
from kb.autograd.nn import init
from kb.autograd.nn.linear import Linear
from kb.autograd.nn.module import Module
from kb.autograd.nn.new import new_parameter
from kb.autograd.tensor import Parameter


class MultiheadAttention(Module):
    """softmax(q k^T / sqrt(H) + masks) v in N heads, of projected queries, keys and values, and projected again.

    Args:
        embed_dim: E, of queries and of the output.
        num_heads: N, which divides E.
        dropout: Probability that a weight is left out in training.
        bias: Whether the projections have one.
        kdim: Width of the keys; E if not given.
        vdim: Width of the values; E if not given.
        batch_first: Whether the axis of sequences comes before that of their elements.
        dtype: Floating, of NumPy; float32 if not given.
        generator: Of NumPy; where the initial values, and then what is left out, come from.

    Attributes:
        in_proj_weight: The weights of queries, keys and values, one below the other, [3 E, E]; None where the widths
            differ. Then they are ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight``.
        in_proj_bias: Their biases, [3 E], or None.
        out_proj: The last projection, a linear layer.

    Raises:
        TypeError: the dtype is not floating, or the generator none of NumPy.
        ValueError: a size is not a positive integer, E does not divide by N, or ``dropout`` is not from 0 to 1.
    """

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
        dtype: Any = None,
        generator: init.Generator = None,
    ) -> None:
        super().__init__()
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        sizes = {"embed_dim": embed_dim, "num_heads": num_heads, "kdim": self.kdim, "vdim": self.vdim}
        for name, size in sizes.items():
            require_count(name, size)
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}")
        require_real("dropout", dropout, least=0, most=1)
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight: Parameter | None = new_parameter((3 * embed_dim, embed_dim), dtype)
        else:
            self.in_proj_weight = None
            self.q_proj_weight = new_parameter((embed_dim, embed_dim), dtype)
            self.k_proj_weight = new_parameter((embed_dim, self.kdim), dtype)
            self.v_proj_weight = new_parameter((embed_dim, self.vdim), dtype)
        self.in_proj_bias = new_parameter((3 * embed_dim,), dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype, generator=generator)
        self.generator = np.random.default_rng() if generator is None else generator
        self.reset_parameters(generator)

    def reset_parameters(self, generator: init.Generator = None) -> None:
        """Draw the initial values anew: weights by Xavier, biases of zeros; the last projection's as of a layer."""
        self.out_proj.reset_parameters(generator)
        for name, parameter in self.named_parameters(recurse=False):
            if name != "in_proj_bias":
                init.xavier_uniform_(parameter, generator=generator)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """The output, and the weights that made it.

        Args:
            query: [Q, B, E], [B, Q, E] with ``batch_first``, or [Q, E] of one sequence.
            key: [K, B, kdim], [B, K, kdim] or [K, kdim].
            value: [K, B, vdim], [B, K, vdim] or [K, vdim].
            key_padding_mask: [B, K], or [K] of one sequence: booleans, True for a key that is not looked at, or numbers
                that are added.
            need_weights: Whether the weights are wanted.
            attn_mask: [Q, K], or [B * N, Q, K], one for each head of each sequence: booleans, True where a query may
                not look, or numbers that are added.
            average_attn_weights: Whether the mean of the heads' weights is wanted, not each.
            is_causal: A hint that ``attn_mask``, which has to be there, is causal; nothing depends on it.

        Returns:
            The output, as ``query``; the weights, [B, Q, K] or [B, N, Q, K] after dropout, without B of one sequence;
            or None.

        Raises:
            TypeError: the tensors and masks are not of one library and floating dtype, or a mask neither that nor
                boolean.
            ValueError: the shapes do not fit, or ``is_causal`` comes without a mask.
        """
        self._check(query, key, value)
        if is_causal and attn_mask is None:
            raise ValueError("is_causal=True says of attn_mask that it is causal: give the mask too")
        alone = len(query.shape) == 2
        mask = self._mask(query, key, key_padding_mask, attn_mask, alone)
        q_BNQH, k_BNKH, v_BNKH = self._projected(*(self._by_sequence(one, alone) for one in (query, key, value)))
        mixed_BNQH, weights = self._mixed(q_BNQH, k_BNKH, v_BNKH, mask, need_weights)
        if average_attn_weights and weights is not None:
            weights = ops.mean(weights, axis=1)
        B, N, Q, H = mixed_BNQH.shape
        out = self.out_proj(ops.reshape(ops.transposed(mixed_BNQH, 1, 2), to=(B, Q, N * H)))
        if alone:
            return out[0], None if weights is None else weights[0]
        return out if self.batch_first else ops.transposed(out, 0, 1), weights

    def _check(self, query: Any, key: Any, value: Any) -> None:
        require_floating(query=query, key=key, value=value, weight=self.out_proj.weight)
        shapes = [tuple(one.shape) for one in (query, key, value)]
        widths = [shape[-1] if shape else None for shape in shapes]
        if {len(shape) for shape in shapes} not in ({2}, {3}) or widths != [self.embed_dim, self.kdim, self.vdim]:
            wanted = f"{self.embed_dim}, {self.kdim} and {self.vdim}"
            raise ValueError(f"query, key and value must have 2 axes, or 3, and widths {wanted}, got {shapes}")
        sequences = {shape[0 if self.batch_first else 1] for shape in shapes if len(shape) == 3}
        if len(sequences) > 1 or shapes[1][:-1] != shapes[2][:-1]:
            raise ValueError(f"query, key and value must be of as many sequences, key and value as long, got {shapes}")

    def _by_sequence(self, x: Any, alone: bool) -> Any:
        """[B, T, width]."""
        if alone:
            return ops.unsqueezed(x, 0)
        return x if self.batch_first else ops.transposed(x, 0, 1)

    def _projected(self, *inputs: Any) -> list[Any]:
        """Queries, keys and values, [B, N, T, H] each."""
        E, N = self.embed_dim, self.num_heads
        packed = self.in_proj_weight
        weights = (
            packed.split(E) if packed is not None else [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        )
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.split(E)
        wide = [F.linear(x_BTD, *pair) for x_BTD, *pair in zip(inputs, weights, biases, strict=True)]
        return [ops.transposed(ops.reshape(x, to=(*x.shape[:2], N, E // N)), 1, 2) for x in wide]

    def _mixed(self, q_BNQH: Any, k_BNKH: Any, v_BNKH: Any, mask: Any, need_weights: bool) -> tuple[Any, Any]:
        """The values that each query gets, [B, N, Q, H], and the weights, [B, N, Q, K], or None."""
        p = self.dropout if self.training else 0.0
        if not need_weights:
            found = F.scaled_dot_product_attention(q_BNQH, k_BNKH, v_BNKH, mask, p, generator=self.generator)
            return found, None
        scores = ops.matmul(q_BNQH * (1 / math.sqrt(q_BNQH.shape[-1])), ops.transposed(k_BNKH, -2, -1))
        weights = ops.softmax(scores if mask is None else scores + mask, axis=-1)
        weights = F.dropout(weights, p, generator=self.generator)
        return ops.matmul(weights, v_BNKH), weights

    def _mask(self, query: Any, key: Any, padding: Any, mask: Any, alone: bool) -> Any:
        """What is added to the scores, broadcast to [B, N, Q, K]; None for nothing."""
        time, N = 1 if self.batch_first and not alone else 0, self.num_heads
        B, Q, K = 1 if alone else query.shape[1 - time], query.shape[time], key.shape[time]
        found = None
        if mask is not None:
            found = _added("attn_mask", mask, query, {(Q, K): (1, 1, Q, K), (B * N, Q, K): (B, N, Q, K)})
        if padding is not None:
            padding = _added("key_padding_mask", padding, query, {(K,) if alone else (B, K): (B, 1, 1, K)})
            found = padding if found is None else found + padding
        return found


def _added(name: str, mask: Any, query: Any, shapes: dict[tuple[int, ...], tuple[int, ...]]) -> Any:
    """A mask of one of the shapes, as numbers that are added, in the shape that belongs to it."""
    array, like = array_in(name, mask), array_in("query", query)
    xp = backend.namespace(array, like)
    if tuple(array.shape) not in shapes:
        raise ValueError(f"{name} must be {' or '.join(map(str, shapes))}, got {tuple(array.shape)}")
    if xp.isdtype(array.dtype, "bool"):
        mask = xp.where(array, xp.asarray(-math.inf, dtype=like.dtype, device=backend.device(like)), 0.0)
    else:
        require_floating(**{"query": query, name: mask})
    return ops.reshape(mask, to=shapes[tuple(array.shape)])
