"""Scaled dot-product attention under any mask, three ways: a loop that can be read, einsum, and torch's fused kernel.

Unlike ``kb.nn.attention``, queries and keys may come from two sequences, and nothing is causal but by the mask.
N query heads and G key-value heads: head n reads K and V of head n // (N / G).

Unusual: a query that may look at no key has weights 0 / 0, which the loop and einsum give as NaN, as torch does where
weights are asked for; with ``zero_empty`` they give zeros, as the fused kernel does. What dropout leaves is drawn as
torch draws it, so that all three drop the same weights after the same seed (on a CPU).

Source: Vaswani et al. 2017, section 3.2.1, equation 1; Ainslie et al. 2023 (groups); Srivastava et al. 2014 (dropout).
Shapes: B sequences, T queries, S keys, N query heads, G key-value heads, M = N / G, H width of keys, V of values.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import is_number, require_count


class Attend(Protocol):
    """What the loop and einsum share; the fused way keeps no weights and gives None for them."""

    def __call__(
        self,
        q_BTNH: Tensor,
        k_BSGH: Tensor,
        v_BSGV: Tensor,
        mask: Tensor | None = None,
        *,
        dropout: float = 0.0,
        zero_empty: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Output [B, T, N, V], and the weights that made it, [B, N, T, S]."""


def causal_mask(length: int, *, device: torch.device | str | None = None) -> Tensor:
    """True where a query may not look, [T, T]: at what comes after it. As torch's modules take it.

    ``torch.nn.functional.scaled_dot_product_attention`` means the opposite by True.

    Raises:
        ValueError: ``length`` is not a positive integer.
    """
    require_count("length", length)
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


def dropped(weights_shape: tuple[int, ...], p: float, like: Tensor) -> Tensor | None:
    """What weights are multiplied by: 0 with probability p, else 1 / (1 - p); None where p is 0.

    The numbers come from torch's global generator, as they do in torch's own modules: on a CPU, after the same
    ``torch.manual_seed``, these are the weights that torch drops.
    """
    return F.dropout(like.new_ones(weights_shape), p) if p > 0 else None


def masked_attention_loop(
    q_BTNH: Tensor,
    k_BSGH: Tensor,
    v_BSGV: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    zero_empty: bool = False,
) -> tuple[Tensor, Tensor]:
    """Reference: one sequence, head, query and key at a time. Arguments and errors as for einsum."""
    B, T, N, S, G = _check(q_BTNH, k_BSGH, v_BSGV, mask, dropout)
    H = q_BTNH.shape[3]
    kept_BNTS = dropped((B, N, T, S), dropout, q_BTNH)
    out, all_weights = [], []
    for b in range(B):
        for n in range(N):
            g = n // (N // G)
            for t in range(T):
                scores = [q_BTNH[b, t, n] @ k_BSGH[b, s, g] / math.sqrt(H) for s in range(S)]
                if mask is not None:
                    row_S = mask.expand(B, N, T, S)[b, n, t]
                    scores = [scores[s] + row_S[s] for s in range(S)]
                weights = _softmax(scores, zero_empty)
                if kept_BNTS is not None:
                    weights = [weights[s] * kept_BNTS[b, n, t, s] for s in range(S)]
                out.append(sum((weights[s] * v_BSGV[b, s, g] for s in range(S)), start=v_BSGV.new_zeros(())))
                all_weights.append(torch.stack(weights))
    out_BTNV = torch.stack(out).reshape(B, N, T, -1).transpose(1, 2)
    return out_BTNV, torch.stack(all_weights).reshape(B, N, T, S)


def _softmax(scores: list[Tensor], zero_empty: bool) -> list[Tensor]:
    largest = max(score.detach() for score in scores)
    if zero_empty and largest == -math.inf:
        return [torch.zeros_like(score) for score in scores]
    powers = [torch.exp(score - largest) for score in scores]
    total = sum(powers, start=torch.zeros_like(largest))
    return [power / total for power in powers]


def masked_attention_einsum(
    q_BTNH: Tensor,
    k_BSGH: Tensor,
    v_BSGV: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    zero_empty: bool = False,
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(H) + mask) v, with all weights in memory.

    Args:
        q_BTNH: Queries.
        k_BSGH: Keys; N must be a multiple of G.
        v_BSGV: Values.
        mask: Numbers that are added to the scores, broadcast to [B, N, T, S]; -inf forbids.
        dropout: Probability that a weight is left out.
        zero_empty: Whether a query that may look at no key gets zeros, not NaN.

    Returns:
        [B, T, N, V] and, after dropout, the weights, [B, N, T, S].

    Raises:
        TypeError: the tensors are not of one floating dtype.
        ValueError: the shapes do not fit, there is no key, or ``dropout`` is not a number from 0 to 1.
    """
    B, T, N, S, G = _check(q_BTNH, k_BSGH, v_BSGV, mask, dropout)
    q_BTGMH = q_BTNH.unflatten(2, (G, N // G))
    scores_BGMTS = torch.einsum("btgmh,bsgh->bgmts", q_BTGMH, k_BSGH) / math.sqrt(q_BTNH.shape[3])
    scores_BNTS = scores_BGMTS.flatten(1, 2)
    if mask is not None:
        scores_BNTS = scores_BNTS + mask
    if zero_empty:
        # Before the softmax as well: what is 0 / 0 has no gradient that a later zero could save.
        empty_BNT1 = (scores_BNTS == -math.inf).all(-1, keepdim=True)
        weights_BNTS = scores_BNTS.masked_fill(empty_BNT1, 0.0).softmax(-1).masked_fill(empty_BNT1, 0.0)
    else:
        weights_BNTS = scores_BNTS.softmax(-1)
    kept_BNTS = dropped((B, N, T, S), dropout, q_BTNH)
    if kept_BNTS is not None:
        weights_BNTS = weights_BNTS * kept_BNTS
    out_BTGMV = torch.einsum("bgmts,bsgv->btgmv", weights_BNTS.unflatten(1, (G, N // G)), v_BSGV)
    return out_BTGMV.flatten(2, 3), weights_BNTS


def masked_attention_fused(
    q_BTNH: Tensor,
    k_BSGH: Tensor,
    v_BSGV: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    zero_empty: bool = True,
) -> tuple[Tensor, None]:
    """The same output by torch's fused kernel, which keeps no weights. Arguments and errors as for einsum.

    Raises:
        ValueError: ``zero_empty`` is False: the kernel does nothing else.
    """
    *_, N, _, G = _check(q_BTNH, k_BSGH, v_BSGV, mask, dropout)
    if not zero_empty:
        raise ValueError("zero_empty must be True: the fused kernel gives zeros to a query that may look at no key")
    out_BNTV = F.scaled_dot_product_attention(
        q_BTNH.transpose(1, 2),
        k_BSGH.transpose(1, 2),
        v_BSGV.transpose(1, 2),
        attn_mask=mask,
        dropout_p=dropout,
        enable_gqa=N != G,
    )
    return out_BNTV.transpose(1, 2), None


def _check(
    q_BTNH: Tensor, k_BSGH: Tensor, v_BSGV: Tensor, mask: Tensor | None, dropout: float
) -> tuple[int, int, int, int, int]:
    shapes = f"q {tuple(q_BTNH.shape)}, k {tuple(k_BSGH.shape)}, v {tuple(v_BSGV.shape)}"
    if not q_BTNH.dim() == k_BSGH.dim() == v_BSGV.dim() == 4 or k_BSGH.shape[:3] != v_BSGV.shape[:3]:
        raise ValueError(f"{shapes}: wanted q [B, T, N, H], k [B, S, G, H] and v [B, S, G, V]")
    (B, T, N, H), (batch, S, G, width) = q_BTNH.shape, k_BSGH.shape
    if batch != B or width != H:
        raise ValueError(f"{shapes}: batch of q, k and v and head width of q and k must be equal")
    if G == 0 or N % G:
        raise ValueError(f"{shapes}: {N} query heads cannot share {G} key-value heads equally")
    if S == 0:
        raise ValueError(f"{shapes}: there must be at least one key")
    dtypes = {one.dtype for one in (q_BTNH, k_BSGH, v_BSGV, *(() if mask is None else (mask,)))}
    if len(dtypes) > 1 or not q_BTNH.is_floating_point():
        raise TypeError(f"q, k, v and mask must be of one floating dtype, got {', '.join(sorted(map(str, dtypes)))}")
    if mask is not None:
        wanted = (B, N, T, S)
        fits = mask.dim() <= 4 and all(
            have in (1, want) for have, want in zip(reversed(mask.shape), reversed(wanted), strict=False)
        )
        if not fits:
            raise ValueError(f"mask {tuple(mask.shape)} does not broadcast to [B, N, T, S] = {list(wanted)}")
    if not (is_number(dropout) and 0 <= dropout <= 1):
        raise ValueError(f"dropout must be a number from 0 to 1, got {dropout!r}")
    return B, T, N, S, G
