"""Causal attention in which groups of query heads share one key and value head.

N query heads and G key-value heads: head n reads K and V of head n // (N / G). G = N is multi-head attention,
G = 1 multi-query. Unusual: queries may be fewer than keys; they are then the newest of them, as in decoding from a
cache, and query t sees the keys up to its own position. torch's ``is_causal`` aligns the other way round, to the
oldest keys, which is why a mask is built here for that case.

Sources: Vaswani et al. 2017, section 3.2.1; Shazeer 2019 (G = 1); Ainslie et al. 2023 (groups).
Shapes: B sequences, T queries, S ≥ T keys, N query heads, G key-value heads, H head width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import is_integer


def grouped_query_attention_loop(
    q_BTNH: Tensor, k_BSGH: Tensor, v_BSGH: Tensor, *, window: int | None = None
) -> Tensor:
    """Reference: softmax(q · k / sqrt(H)) v, one query of one head at a time."""
    _check(q_BTNH, k_BSGH, v_BSGH, window)
    (B, T, N, H), (S, G) = q_BTNH.shape, k_BSGH.shape[1:3]
    out = torch.empty_like(q_BTNH)
    for b in range(B):
        for n in range(N):
            g = n // (N // G)
            for t in range(T):
                newest = S - T + t
                oldest = 0 if window is None else max(0, newest - window + 1)
                scores = torch.stack([q_BTNH[b, t, n] @ k_BSGH[b, s, g] for s in range(oldest, newest + 1)])
                weights = torch.exp(scores / math.sqrt(H) - scores.detach().max() / math.sqrt(H))
                weights = weights / weights.sum()
                out[b, t, n] = weights @ v_BSGH[b, oldest : newest + 1, g]
    return out


def grouped_query_attention(q_BTNH: Tensor, k_BSGH: Tensor, v_BSGH: Tensor, *, window: int | None = None) -> Tensor:
    """The same by torch's fused kernel.

    Args:
        q_BTNH: Queries of the newest T of the S positions.
        k_BSGH: Keys; N must be a multiple of G.
        v_BSGH: Values.
        window: How many keys a query sees at most, its own included; None for all.

    Returns:
        [B, T, N, H], in the dtype of the inputs.

    Raises:
        TypeError: the tensors are not of one floating dtype, or ``window`` is not an integer.
        ValueError: the shapes do not fit, there are more queries than keys, or ``window`` is under 1.
    """
    _check(q_BTNH, k_BSGH, v_BSGH, window)
    T, S = q_BTNH.shape[1], k_BSGH.shape[1]
    windowed = window is not None and window < S
    mask_TS = _mask(T, S, window, q_BTNH.device) if windowed or 1 < T < S else None
    out_BNTH = F.scaled_dot_product_attention(
        q_BTNH.transpose(1, 2),
        k_BSGH.transpose(1, 2),
        v_BSGH.transpose(1, 2),
        attn_mask=mask_TS,
        is_causal=mask_TS is None and T > 1,
        enable_gqa=q_BTNH.shape[2] != k_BSGH.shape[2],
    )
    return out_BNTH.transpose(1, 2)


def _mask(T: int, S: int, window: int | None, device: torch.device) -> Tensor:
    """True where a query may look, [T, S]."""
    query = torch.arange(S - T, S, device=device)[:, None]
    key = torch.arange(S, device=device)
    allowed = key <= query
    return allowed if window is None else allowed & (key > query - window)


def require_grouped(q_BTNH: Tensor, k_BSGH: Tensor, v_BSGH: Tensor) -> str:
    """Refuse what are no queries, keys and values of grouped heads; their shapes in words, for further refusals.

    Raises:
        TypeError: they are not of one floating dtype.
        ValueError: the shapes do not fit.
    """
    shapes = f"q {tuple(q_BTNH.shape)}, k {tuple(k_BSGH.shape)}, v {tuple(v_BSGH.shape)}"
    if q_BTNH.dim() != 4 or k_BSGH.dim() != 4 or k_BSGH.shape != v_BSGH.shape:
        raise ValueError(f"{shapes}: wanted q [B, T, N, H] and k, v [B, S, G, H]")
    (B, _, N, H), (batch, _, G, width) = q_BTNH.shape, k_BSGH.shape
    if batch != B or width != H:
        raise ValueError(f"{shapes}: batch and head width of q, k and v must be equal")
    if G == 0 or N % G:
        raise ValueError(f"{shapes}: {N} query heads cannot share {G} key-value heads equally")
    dtypes = {q_BTNH.dtype, k_BSGH.dtype, v_BSGH.dtype}
    if len(dtypes) > 1 or not q_BTNH.is_floating_point():
        raise TypeError(f"q, k and v must be of one floating dtype, got {', '.join(sorted(map(str, dtypes)))}")
    return shapes


def _check(q_BTNH: Tensor, k_BSGH: Tensor, v_BSGH: Tensor, window: int | None) -> None:
    shapes = require_grouped(q_BTNH, k_BSGH, v_BSGH)
    T, S = q_BTNH.shape[1], k_BSGH.shape[1]
    if S < T:
        raise ValueError(f"{shapes}: {T} queries but only {S} keys; each query needs its own key at least")
    if window is not None and not is_integer(window):
        raise TypeError(f"window must be an integer or None, got {window!r}")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1 or None, got {window}")
