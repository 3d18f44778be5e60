"""Positions that enter the attention scores as the distance j - i: Shaw's relative keys, T5's buckets, ALiBi's slopes.

All three leave the embeddings alone. Shaw adds a learned vector for the clipped distance to each key (and value); T5 a
learned number for the distance's bucket and the head, the same table in every layer; ALiBi a fixed number, the distance
times the head's slope. Unusual: as in ``kb.nn.attention``, T queries are the newest of S positions, so query t stands
at position S - T + t, which is what decoding from a cache needs.

Sources: Shaw et al. 2018, section 3, equations 3 and 4, and the efficient form of section 3.3; Raffel et al. 2020 (T5),
section 2.1, with the buckets of the released code; Press et al. 2022 (ALiBi), section 3, with the slopes of the
released code where the heads are no power of two.
Shapes: B sequences, T queries, S keys, N heads, H head width, R = 2k + 1 clipped distances.
"""

import math

import torch
from torch import Tensor, nn

from kb.arguments import require_count


def distances(queries: int, keys: int, device: torch.device | str | None = None) -> Tensor:
    """Key position minus query position, [T, S] int64 on a device: 0 for a query's own key, below it for the past.

    Raises:
        ValueError: a number is no positive integer, or there are more queries than keys.
    """
    require_count("queries", queries)
    require_count("keys", keys)
    if queries > keys:
        raise ValueError(f"queries must not be more than keys, got {queries} and {keys}")
    return torch.arange(keys, device=device) - torch.arange(keys - queries, keys, device=device)[:, None]


def relative_key_scores_loop(q_BTNH: Tensor, k_BSNH: Tensor, relative_RH: Tensor) -> Tensor:
    """Reference: q_i · (k_j + a_clip(j - i)) / sqrt(H), one pair of one head at a time, [B, N, T, S]."""
    clip = _check_relative(q_BTNH, k_BSNH, relative_RH)
    (B, T, N, H), S = q_BTNH.shape, k_BSNH.shape[1]
    scores = q_BTNH.new_empty(B, N, T, S)
    for b in range(B):
        for n in range(N):
            for t in range(T):
                for s in range(S):
                    distance = max(-clip, min(clip, s - (S - T + t)))
                    key = k_BSNH[b, s, n] + relative_RH[distance + clip]
                    scores[b, n, t, s] = q_BTNH[b, t, n] @ key / math.sqrt(H)
    return scores


def relative_key_scores(q_BTNH: Tensor, k_BSNH: Tensor, relative_RH: Tensor) -> Tensor:
    """Attention scores with relative keys, before any mask and softmax, [B, N, T, S].

    The sum over H is split in two, so that no [T, S, H] is made: q · k, and q · a for the R distances, looked up.

    Args:
        q_BTNH: Queries of the newest T of the S positions.
        k_BSNH: Keys.
        relative_RH: One learned vector per clipped distance, -k first, shared by all heads.

    Raises:
        ValueError: the shapes do not fit, R is even, or there are more queries than keys.
    """
    clip = _check_relative(q_BTNH, k_BSNH, relative_RH)
    content = torch.einsum("btnh,bsnh->bnts", q_BTNH, k_BSNH)
    by_distance = torch.einsum("btnh,rh->bntr", q_BTNH, relative_RH)
    index_TS = _clipped(q_BTNH.shape[1], k_BSNH.shape[1], clip).to(q_BTNH.device)
    position = by_distance.gather(-1, index_TS.expand(*content.shape))
    return (content + position) / math.sqrt(q_BTNH.shape[-1])


def relative_value_mix(weights_BNTS: Tensor, v_BSNH: Tensor, relative_RH: Tensor) -> Tensor:
    """Attention's output with relative values (equation 3): sum over j of w_ij (v_j + a_clip(j - i)), [B, T, N, H].

    The paper's ablation found them of little use beside relative keys.

    Raises:
        ValueError: the shapes do not fit, R is even, or there are more queries than keys.
    """
    B, N, T, S = weights_BNTS.shape if weights_BNTS.dim() == 4 else (0, 0, 0, 0)
    if B == 0 or v_BSNH.dim() != 4 or v_BSNH.shape[:3] != (B, S, N) or relative_RH.shape[1:] != v_BSNH.shape[3:]:
        shapes = f"weights {tuple(weights_BNTS.shape)}, v {tuple(v_BSNH.shape)}, relative {tuple(relative_RH.shape)}"
        raise ValueError(f"{shapes}: wanted [B, N, T, S], [B, S, N, H] and [R, H]")
    index_TS = _clipped(T, S, _clip_of(relative_RH)).to(v_BSNH.device)
    by_distance = weights_BNTS.new_zeros(B, N, T, relative_RH.shape[0])
    by_distance = by_distance.scatter_add(-1, index_TS.expand(B, N, T, S), weights_BNTS)
    content = torch.einsum("bnts,bsnh->btnh", weights_BNTS, v_BSNH)
    return content + torch.einsum("bntr,rh->btnh", by_distance, relative_RH)


def t5_bucket_loop(distance: int, *, bidirectional: bool = True, num_buckets: int = 32, max_distance: int = 128) -> int:
    """Reference: the bucket of one distance, by comparing it with where each bucket begins; no logarithm.

    Of a direction's n buckets the first n/2 hold one distance each. The later ones begin at m (max_distance / m)^(i/m)
    for i = 0, 1, …, m - 1 with m = n/2, rounded up: at equal steps of the logarithm.
    """
    _check_buckets(bidirectional, num_buckets, max_distance)
    offset, buckets = 0, num_buckets
    if bidirectional:
        buckets //= 2
        offset = buckets if distance > 0 else 0
        distance = -abs(distance)
    back = max(0, -distance)
    exact = buckets // 2
    if back < exact:
        return offset + back
    # d^m ≥ exact^(m - i) max_distance^i in integers: nothing is rounded.
    wide = buckets - exact
    passed = sum(back**wide >= exact ** (wide - i) * max_distance**i for i in range(1, wide))
    return offset + exact + passed


def t5_buckets(
    distance: Tensor, *, bidirectional: bool = True, num_buckets: int = 32, max_distance: int = 128
) -> Tensor:
    """The bucket of each distance j - i, int64 of the same shape, as in the released code.

    Args:
        distance: Integers of any shape.
        bidirectional: Whether half of the buckets are for the future (an encoder); else the future is bucket 0.
        num_buckets: In all; 32 in T5.
        max_distance: From here on all distances share the last bucket; 128 in T5.

    Raises:
        TypeError: the distances are not integers.
        ValueError: there are too few buckets to have exact and wide ones, or ``max_distance`` is not beyond the exact.
    """
    if distance.is_floating_point() or distance.dtype == torch.bool or distance.is_complex():
        raise TypeError(f"distance must hold integers, got {distance.dtype}")
    _check_buckets(bidirectional, num_buckets, max_distance)
    # Wide before any sign changes: uint8 has no minus, and int8 no 128. Beyond max_distance all is one bucket.
    distance = distance.long().clamp(-max_distance, max_distance)
    offset = torch.zeros_like(distance)
    back, buckets = (-distance).clamp(min=0), num_buckets
    if bidirectional:
        buckets //= 2
        offset, back = (distance > 0).long() * buckets, distance.abs()
    exact = buckets // 2
    # float32 and this order of operations, as T5 was trained; the clamp keeps log(0) out of the integers.
    scaled = torch.log(back.clamp(min=exact).float() / exact) / math.log(max_distance / exact) * (buckets - exact)
    wide = (exact + scaled.long()).clamp(max=buckets - 1)
    return offset + torch.where(back < exact, back, wide)


class T5RelativeBias(nn.Module):
    """T5's learned bias of the attention scores, [1, N, T, S]; the parameter has the name of transformers' T5.

    Args:
        num_heads: N.
        num_buckets: In all.
        max_distance: From here on all distances share a bucket.
        bidirectional: True in an encoder, False in a decoder.

    Raises:
        ValueError: as of :func:`t5_buckets`.
    """

    def __init__(
        self, num_heads: int, *, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
    ) -> None:
        super().__init__()
        require_count("num_heads", num_heads)
        _check_buckets(bidirectional, num_buckets, max_distance)
        self.num_buckets, self.max_distance, self.bidirectional = num_buckets, max_distance, bidirectional
        self.relative_attention_bias = nn.Embedding(num_buckets, num_heads)

    def forward(self, queries: int, keys: int) -> Tensor:
        """The bias of the newest ``queries`` of ``keys`` positions; errors as of :func:`distances`."""
        buckets_TS = t5_buckets(
            distances(queries, keys, self.relative_attention_bias.weight.device),
            bidirectional=self.bidirectional,
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
        )
        bias_TSN: Tensor = self.relative_attention_bias(buckets_TS)
        return bias_TSN.permute(2, 0, 1)[None]


def _clipped(queries: int, keys: int, clip: int) -> Tensor:
    return distances(queries, keys).clamp(-clip, clip) + clip


def _clip_of(relative_RH: Tensor) -> int:
    if relative_RH.dim() != 2 or relative_RH.shape[0] % 2 == 0:
        raise ValueError(f"relative {tuple(relative_RH.shape)}: wanted [2k + 1, H], a vector for each of -k to k")
    return relative_RH.shape[0] // 2


def _check_relative(q_BTNH: Tensor, k_BSNH: Tensor, relative_RH: Tensor) -> int:
    shapes = f"q {tuple(q_BTNH.shape)}, k {tuple(k_BSNH.shape)}, relative {tuple(relative_RH.shape)}"
    clip = _clip_of(relative_RH)
    fits = q_BTNH.dim() == k_BSNH.dim() == 4 and relative_RH.shape[1] == q_BTNH.shape[3]
    if not (fits and q_BTNH.shape[0] == k_BSNH.shape[0] and q_BTNH.shape[2:] == k_BSNH.shape[2:]):
        raise ValueError(f"{shapes}: wanted [B, T, N, H], [B, S, N, H] and [2k + 1, H]")
    distances(q_BTNH.shape[1], k_BSNH.shape[1])
    return clip


def _check_buckets(bidirectional: bool, num_buckets: int, max_distance: int) -> None:
    require_count("num_buckets", num_buckets)
    require_count("max_distance", max_distance)
    directions = 2 if bidirectional else 1
    if num_buckets < 2 * directions or num_buckets % (2 * directions):
        raise ValueError(f"num_buckets must be a multiple of {2 * directions}, got {num_buckets}")
    if max_distance <= num_buckets // directions // 2:
        raise ValueError(
            f"max_distance must be above the {num_buckets // directions // 2} exact distances, got {max_distance}"
        )
