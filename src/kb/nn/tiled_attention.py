"""FlashAttention in plain torch: exact attention, a tile of queries against a tile of keys at a time.

No tensor of all T × S scores is ever made. The forward pass walks over the keys with a running maximum and a running
sum for each query (online softmax), divides by the sum once at the end, and keeps one number of each row for later, the
logarithm of the sum of exponentials. The backward pass makes the weights of a tile again from that number. Unusual: it
is a model of the kernel and no kernel: every step is an operator of torch, so that what a GPU would keep on the chip
can be read, counted and tested, and nothing here is fast.

Sources: Dao et al. 2022, FlashAttention, section 3.1 and appendix B (tiles, recomputation); Dao 2023, FlashAttention-2,
algorithm 1 (queries outside, one division at the end, one statistic) and algorithm 2 (keys outside, D = rowsum(dO O)).
Shapes: B sequences, T queries, S keys, N query heads, G key-value heads, M = N / G, H head width, I and J the queries
and keys of one tile.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kb.arguments import require_count
from kb.nn.attention import require_grouped


def tiled_attention(
    q_BTNH: Tensor,
    k_BSGH: Tensor,
    v_BSGH: Tensor,
    *,
    causal: bool = True,
    lengths_B: Tensor | None = None,
    query_tile: int = 64,
    key_tile: int = 64,
) -> Tensor:
    """softmax(q · k / sqrt(H)) v, with gradients, in tiles of ``query_tile`` × ``key_tile`` scores.

    Args:
        q_BTNH: Queries. If ``causal``, of the newest T of the S positions; each sees the keys up to its own.
        k_BSGH: Keys; N must be a multiple of G.
        v_BSGH: Values.
        causal: Whether a query sees no key after it.
        lengths_B: How many keys of each sequence are no padding, which comes behind; int64 [B], None for all.
        query_tile: Queries of a tile.
        key_tile: Keys of a tile.

    Returns:
        [B, T, N, H], in the dtype of the inputs; sums are taken in float32 at least. A query that sees no key gets
        zeros, and passes no gradient on.

    Raises:
        TypeError: the tensors are not of one floating dtype, or the lengths no int64.
        ValueError: the shapes do not fit, a length is not in 0 to S, or a tile is under 1.
    """
    _check(q_BTNH, k_BSGH, v_BSGH, causal, lengths_B, query_tile, key_tile)
    out_BTNH: Tensor = _Tiled.apply(q_BTNH, k_BSGH, v_BSGH, causal, lengths_B, query_tile, key_tile)[0]
    return out_BTNH


def tiled_attention_forward(
    q_BGMTH: Tensor, k_BGSH: Tensor, v_BGSH: Tensor, causal: bool, lengths_B: Tensor | None, tiles: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Output [B, G, M, T, H] and log-sum-exp of the scores [B, G, M, T]; queries outside, keys inside."""
    T, S = q_BGMTH.shape[-2], k_BGSH.shape[-2]
    out_BGMTH = torch.empty_like(q_BGMTH)
    lse_BGMT = q_BGMTH.new_empty(q_BGMTH.shape[:-1])
    for rows in _slices(T, tiles[0]):
        q_BGMIH = q_BGMTH[..., rows, :]
        largest_BGMI = lse_BGMT[..., rows].fill_(-math.inf).clone()
        total_BGMI = torch.zeros_like(largest_BGMI)
        sum_BGMIH = torch.zeros_like(q_BGMIH)
        for keys in _slices(S, tiles[1]):
            if causal and keys.start > S - T + rows.stop - 1:
                break  # the whole tile comes after the newest of these queries
            scores_BGMIJ = _scores(q_BGMIH, k_BGSH, rows, keys, T, causal, lengths_B)
            new_BGMI = torch.maximum(largest_BGMI, scores_BGMIJ.amax(-1))
            finite_BGMI = new_BGMI.masked_fill(new_BGMI == -math.inf, 0)  # no key seen yet: not -inf - -inf
            weights_BGMIJ = (scores_BGMIJ - finite_BGMI[..., None]).exp()
            shrink_BGMI = (largest_BGMI - finite_BGMI).exp()  # what was summed under an older maximum
            total_BGMI = total_BGMI * shrink_BGMI + weights_BGMIJ.sum(-1)
            sum_BGMIH = sum_BGMIH * shrink_BGMI[..., None] + weights_BGMIJ @ v_BGSH[:, :, None, keys]
            largest_BGMI = new_BGMI
        out_BGMTH[..., rows, :] = sum_BGMIH / total_BGMI.masked_fill(total_BGMI == 0, 1)[..., None]
        lse_BGMT[..., rows] = largest_BGMI + total_BGMI.log()
    return out_BGMTH, lse_BGMT


def tiled_attention_backward(
    grad_BGMTH: Tensor,
    out_BGMTH: Tensor,
    lse_BGMT: Tensor,
    q_BGMTH: Tensor,
    k_BGSH: Tensor,
    v_BGSH: Tensor,
    causal: bool,
    lengths_B: Tensor | None,
    tiles: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values; keys outside, queries inside. Weights are computed again from the lse."""
    T, S, scale = q_BGMTH.shape[-2], k_BGSH.shape[-2], 1 / math.sqrt(q_BGMTH.shape[-1])
    dq_BGMTH, dk_BGSH, dv_BGSH = torch.zeros_like(q_BGMTH), torch.zeros_like(k_BGSH), torch.zeros_like(v_BGSH)
    delta_BGMT = (grad_BGMTH * out_BGMTH).sum(-1)  # D: the softmax's Jacobian needs no more of the whole row
    finite_BGMT = lse_BGMT.masked_fill(lse_BGMT == -math.inf, 0)
    for keys in _slices(S, tiles[1]):
        v_BG1JH = v_BGSH[:, :, None, keys]
        for rows in _slices(T, tiles[0]):
            if causal and keys.start > S - T + rows.stop - 1:
                continue
            q_BGMIH, do_BGMIH = q_BGMTH[..., rows, :], grad_BGMTH[..., rows, :]
            scores_BGMIJ = _scores(q_BGMIH, k_BGSH, rows, keys, T, causal, lengths_B)
            weights_BGMIJ = (scores_BGMIJ - finite_BGMT[..., rows, None]).exp()
            dv_BGSH[:, :, keys] += (weights_BGMIJ.mT @ do_BGMIH).sum(2)  # the M heads of a group share their values
            dp_BGMIJ = do_BGMIH @ v_BG1JH.mT
            ds_BGMIJ = weights_BGMIJ * (dp_BGMIJ - delta_BGMT[..., rows, None]) * scale
            dq_BGMTH[..., rows, :] += ds_BGMIJ @ k_BGSH[:, :, None, keys]
            dk_BGSH[:, :, keys] += (ds_BGMIJ.mT @ q_BGMIH).sum(2)
    return dq_BGMTH, dk_BGSH, dv_BGSH


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_BTNH: Tensor,
        k_BSGH: Tensor,
        v_BSGH: Tensor,
        causal: bool,
        lengths_B: Tensor | None,
        query_tile: int,
        key_tile: int,
    ) -> tuple[Tensor, Tensor]:
        q_BGMTH, k_BGSH, v_BGSH = _grouped(q_BTNH, k_BSGH.shape[2]), _upcast(k_BSGH), _upcast(v_BSGH)
        out_BGMTH, lse_BGMT = tiled_attention_forward(
            q_BGMTH, k_BGSH, v_BGSH, causal, lengths_B, (query_tile, key_tile)
        )
        out_BTNH = out_BGMTH.flatten(1, 2).transpose(1, 2).to(q_BTNH.dtype)
        ctx.save_for_backward(q_BTNH, k_BSGH, v_BSGH, out_BTNH, lse_BGMT, lengths_B)
        ctx.causal, ctx.tiles = causal, (query_tile, key_tile)
        ctx.mark_non_differentiable(lse_BGMT)
        return out_BTNH, lse_BGMT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTNH: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q_BTNH, k_BSGH, v_BSGH, out_BTNH, lse_BGMT, lengths_B = ctx.saved_tensors
        G = k_BSGH.shape[2]
        dq, dk, dv = tiled_attention_backward(
            _grouped(grad_BTNH, G),
            _grouped(out_BTNH, G),
            lse_BGMT,
            _grouped(q_BTNH, G),
            _upcast(k_BSGH),
            _upcast(v_BSGH),
            ctx.causal,
            lengths_B,
            ctx.tiles,
        )
        dq_BTNH = dq.flatten(1, 2).transpose(1, 2).to(q_BTNH.dtype)
        return dq_BTNH, dk.transpose(1, 2).to(k_BSGH.dtype), dv.transpose(1, 2).to(v_BSGH.dtype), None, None, None, None


def _upcast(x_BSGH: Tensor) -> Tensor:
    """[B, S, G, H] to [B, G, S, H], float32 at least."""
    return x_BSGH.transpose(1, 2).to(torch.promote_types(x_BSGH.dtype, torch.float32))


def _grouped(x_BTNH: Tensor, G: int) -> Tensor:
    """[B, T, N, H] to [B, G, M, T, H], float32 at least."""
    return _upcast(x_BTNH).unflatten(1, (G, x_BTNH.shape[2] // G))


def _slices(length: int, tile: int) -> Iterator[slice]:
    return (slice(start, min(start + tile, length)) for start in range(0, length, tile))


def _scores(
    q_BGMIH: Tensor, k_BGSH: Tensor, rows: slice, keys: slice, T: int, causal: bool, lengths_B: Tensor | None
) -> Tensor:
    """Scores of one tile, minus infinity where a query may not look."""
    S = k_BGSH.shape[-2]
    scores_BGMIJ = q_BGMIH @ k_BGSH[:, :, None, keys].mT / math.sqrt(q_BGMIH.shape[-1])
    key_J = torch.arange(keys.start, keys.stop, device=q_BGMIH.device)
    if causal and keys.stop - 1 > S - T + rows.start:
        query_I = torch.arange(S - T + rows.start, S - T + rows.stop, device=q_BGMIH.device)
        scores_BGMIJ = scores_BGMIJ.masked_fill(key_J > query_I[:, None], -math.inf)
    if lengths_B is not None:
        padding_BJ = key_J >= lengths_B[:, None].to(key_J.device)
        scores_BGMIJ = scores_BGMIJ.masked_fill(padding_BJ[:, None, None, None], -math.inf)
    return scores_BGMIJ


def _check(
    q_BTNH: Tensor,
    k_BSGH: Tensor,
    v_BSGH: Tensor,
    causal: bool,
    lengths_B: Tensor | None,
    query_tile: int,
    key_tile: int,
) -> None:
    shapes = require_grouped(q_BTNH, k_BSGH, v_BSGH)
    B, T, S = *q_BTNH.shape[:2], k_BSGH.shape[1]
    if T == 0 or S == 0 or (causal and S < T):
        raise ValueError(f"{shapes}: there must be queries and keys, and with causal a key of its own for each query")
    if lengths_B is not None:
        if not isinstance(lengths_B, Tensor) or lengths_B.dtype != torch.int64:
            raise TypeError(f"lengths_B must be int64, got {getattr(lengths_B, 'dtype', type(lengths_B))}")
        if lengths_B.shape != (B,) or bool(((lengths_B < 0) | (lengths_B > S)).any()):
            raise ValueError(f"lengths_B must be [{B}] of 0 to {S}, got {lengths_B.tolist()}")
    require_count("query_tile", query_tile)
    require_count("key_tile", key_tile)
