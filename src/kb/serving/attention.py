"""Causal attention of the new tokens of many sequences to keys and values that lie in pages.

The new tokens of all requests stand one after the other, with no padding: one row of queries for a request that
decodes, many for one whose prompt (or a chunk of it) is being read. Each query sees its own sequence up to its own
position, found page by page through the block table. Three ways, one answer: the loop that can be read; on a CPU a
numba kernel for the rows that decode, and for the rest a second one where there is AVX-512, or torch's fused kernel; on
CUDA two Triton kernels. Unusual: no slot that a sequence does not own is ever read, so what lies there (NaN, another
sequence) cannot reach its result.

Sources: Kwon et al. 2023, section 4.3 (paged attention); Press et al. 2022, section 3 (ALiBi).
Shapes: T new tokens of all requests, N query heads, G key-value heads, M = N / G, H head width, P pages, S slots of a
page, R requests, Q new tokens of one request, K keys of one request.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import is_integer, require_count
from kb.nn.processor import panels_are_fast
from kb.serving.step_layout import StepLayout

# Queries of one request that share one mask: bounds its memory, and with a window the keys that are gathered in vain.
_TILE = 512


def paged_attention_loop(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    *,
    window: int | None = None,
    alibi_slopes_N: Tensor | None = None,
) -> Tensor:
    """Reference: token by token from the pages, one query of one head at a time; arguments as the fast path's."""
    _check(q_TNH, keys_PSGH, values_PSGH, layout, window, alibi_slopes_N)
    (_, N, H), (_, S, G, _) = q_TNH.shape, keys_PSGH.shape
    precise = torch.promote_types(q_TNH.dtype, torch.float32)
    out_TNH = torch.empty_like(q_TNH)
    row = 0
    for r, (queries, length) in enumerate(zip(layout.queries, layout.lengths, strict=True)):
        for position in range(length - queries, length):
            seen = range(0 if window is None else max(0, position - window + 1), position + 1)
            places = [(int(layout.tables_RW[r, key // S]), key % S) for key in seen]
            for n in range(N):
                g = n // (N // G)
                k_KH = torch.stack([keys_PSGH[page, slot, g] for page, slot in places]).to(precise)
                v_KH = torch.stack([values_PSGH[page, slot, g] for page, slot in places]).to(precise)
                scores_K = k_KH @ q_TNH[row, n].to(precise) / math.sqrt(H)
                if alibi_slopes_N is not None:
                    scores_K += alibi_slopes_N[n] * torch.tensor([key - position for key in seen], device=q_TNH.device)
                weights_K = torch.exp(scores_K - scores_K.max())
                out_TNH[row, n] = weights_K / weights_K.sum() @ v_KH
            row += 1
    return out_TNH


def paged_attention(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    *,
    window: int | None = None,
    alibi_slopes_N: Tensor | None = None,
) -> Tensor:
    """softmax(q · k / sqrt(H) [+ slope (key's position - query's position)]) v over what each query may see.

    For inference: no gradient flows through it.

    Args:
        q_TNH: Queries of the new tokens, whose keys and values are in their pages already.
        keys_PSGH: One layer's keys; N must be a multiple of G.
        values_PSGH: One layer's values.
        layout: Which rows are whose, and where their sequences lie.
        window: How many keys a query sees at most, its own included; None for all.
        alibi_slopes_N: Slope of each head, see :func:`alibi_slopes`; None for no bias.

    Returns:
        [T, N, H], in the dtype of the queries. Sums are taken in float32 at least.

    Raises:
        TypeError: the tensors are not of one floating dtype, or ``window`` is not an integer.
        ValueError: shapes or devices do not fit, or ``window`` is under 1.
    """
    _check(q_TNH, keys_PSGH, values_PSGH, layout, window, alibi_slopes_N)
    q_TNH, slopes_N = q_TNH.detach().contiguous(), alibi_slopes_N
    keys_PSGH, values_PSGH = keys_PSGH.detach(), values_PSGH.detach()
    if slopes_N is not None:
        slopes_N = slopes_N.detach().to(device=q_TNH.device, dtype=torch.promote_types(q_TNH.dtype, torch.float32))
    if q_TNH.device.type == "cuda" and _is_installed("triton"):
        from kb.serving import attention_triton

        return attention_triton.paged_attention_triton(
            q_TNH, keys_PSGH, values_PSGH, layout, window=window, alibi_slopes_N=slopes_N
        )
    out_TNH = torch.empty_like(q_TNH)
    if q_TNH.device.type == "cpu" and q_TNH.dtype == torch.float32 and _is_installed("numba"):
        rest = _attend_by_numba(q_TNH, keys_PSGH, values_PSGH, layout, out_TNH, window, slopes_N)
    else:
        rest = range(len(layout.queries))
    for r in rest:
        attend_request(q_TNH, keys_PSGH, values_PSGH, layout, r, out_TNH, window=window, alibi_slopes_N=slopes_N)
    return out_TNH


def _attend_by_numba(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    out_TNH: Tensor,
    window: int | None,
    slopes_N: Tensor | None,
) -> Sequence[int]:
    """What the kernels of this processor are good at; returns the requests that are left for torch."""
    from kb.serving.attention_numba import attend_rows

    attend_rows(q_TNH, keys_PSGH, values_PSGH, layout, out_TNH, window=window, alibi_slopes_N=slopes_N)
    if not panels_are_fast():
        return layout.chunked
    from kb.serving.chunk_attention_numba import attend_chunks

    attend_chunks(q_TNH, keys_PSGH, values_PSGH, layout, out_TNH, window=window, alibi_slopes_N=slopes_N)
    return ()


def attend_request(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    r: int,
    out_TNH: Tensor,
    *,
    window: int | None = None,
    alibi_slopes_N: Tensor | None = None,
) -> None:
    """One request's rows of ``out_TNH``: its pages gathered to one row of keys, then torch's fused kernel."""
    queries, length, first_row = layout.queries[r], layout.lengths[r], layout.offsets[r]
    start, S = length - queries, layout.block_size
    # A window or a bias needs a mask, which is made a tile of queries at a time; nothing else does in whole prompts.
    masked = alibi_slopes_N is not None or (window is not None and window < length) or start > 0
    tile = _TILE if masked else queries
    for first in range(0, queries, tile):
        last = min(first + tile, queries)
        oldest = 0 if window is None else max(0, start + first - window + 1)
        pages = layout.tables_RW[r, oldest // S : -(-(start + last) // S)]
        k_KGH, v_KGH = (
            pool.index_select(0, pages).flatten(0, 1)[oldest % S : start + last - oldest // S * S]
            for pool in (keys_PSGH, values_PSGH)
        )
        rows = slice(first_row + first, first_row + last)
        bias = _bias(start + first, start + last, oldest, window, alibi_slopes_N, q_TNH) if masked else None
        out_TNH[rows] = _fused(q_TNH[rows], k_KGH, v_KGH, bias)


def _fused(q_QNH: Tensor, k_KGH: Tensor, v_KGH: Tensor, bias: Tensor | None) -> Tensor:
    """Without a bias: one query that sees all keys, or as many queries as keys, causal."""
    dtype = q_QNH.dtype
    if bias is not None and bias.is_floating_point():
        q_QNH, k_KGH, v_KGH = (x.to(bias.dtype) for x in (q_QNH, k_KGH, v_KGH))
    q_1NQH, k_1GKH, v_1GKH = (x.transpose(0, 1)[None] for x in (q_QNH, k_KGH, v_KGH))
    out_1NQH = F.scaled_dot_product_attention(
        q_1NQH,
        k_1GKH,
        v_1GKH,
        attn_mask=bias,
        is_causal=bias is None and len(q_QNH) > 1,
        enable_gqa=q_QNH.shape[1] != k_KGH.shape[1],
    )
    return out_1NQH[0].transpose(0, 1).to(dtype)


def _bias(
    start: int, end: int, oldest: int, window: int | None, slopes_N: Tensor | None, q_TNH: Tensor
) -> Tensor | None:
    """For queries [start, end) of keys [oldest, end): where to look, bool [Q, K], or what is added, [N, Q, K]."""
    if end - start == 1 and slopes_N is None:
        return None
    query_Q1 = torch.arange(start, end, device=q_TNH.device)[:, None]
    key_K = torch.arange(oldest, end, device=q_TNH.device)
    allowed_QK = key_K <= query_Q1
    if window is not None:
        allowed_QK &= key_K > query_Q1 - window
    if slopes_N is None:
        return allowed_QK
    bias_NQK = slopes_N[:, None, None] * (key_K - query_Q1)
    return bias_NQK.masked_fill_(~allowed_QK, -torch.inf)


def alibi_slopes(num_heads: int) -> Tensor:
    """Slope of each head, float32 [N]: 2^(-8 i / N) for head i = 1 to N where N is a power of two.

    Otherwise the slopes of the next smaller power of two, then every other slope of the next greater one, as the
    authors' code does.

    Raises:
        ValueError: ``num_heads`` is not a positive integer.
    """
    require_count("num_heads", num_heads)
    power = 1 << num_heads.bit_length() - 1
    exact = [2.0 ** (-8 * i / power) for i in range(1, power + 1)]
    between = [2.0 ** (-4 * i / power) for i in range(1, 2 * power + 1, 2)]
    return torch.tensor((exact + between)[:num_heads])


@lru_cache
def _is_installed(name: str) -> bool:
    return find_spec(name) is not None


def _check(
    q_TNH: Tensor,
    keys_PSGH: Tensor,
    values_PSGH: Tensor,
    layout: StepLayout,
    window: int | None,
    alibi_slopes_N: Tensor | None,
) -> None:
    shapes = f"q {tuple(q_TNH.shape)}, keys {tuple(keys_PSGH.shape)}, values {tuple(values_PSGH.shape)}"
    if q_TNH.dim() != 3 or keys_PSGH.dim() != 4 or keys_PSGH.shape != values_PSGH.shape:
        raise ValueError(f"{shapes}: wanted q [T, N, H] and keys, values [P, S, G, H]")
    (T, N, H), (_, S, G, width) = q_TNH.shape, keys_PSGH.shape
    if width != H or G == 0 or N % G:
        raise ValueError(f"{shapes}: {N} query heads of {H} cannot share {G} key-value heads of {width} equally")
    if layout.offsets[-1] != T or layout.block_size != S:
        raise ValueError(
            f"{shapes}: the layout is of {layout.offsets[-1]} rows and pages of {layout.block_size} tokens"
        )
    if alibi_slopes_N is not None and alibi_slopes_N.shape != (N,):
        raise ValueError(f"alibi_slopes must be one for each of {N} heads, got {tuple(alibi_slopes_N.shape)}")
    if len({q_TNH.device, keys_PSGH.device, values_PSGH.device, layout.tables_RW.device}) > 1:
        raise ValueError(
            f"q on {q_TNH.device}, keys on {keys_PSGH.device}, values on {values_PSGH.device} and layout on "
            f"{layout.tables_RW.device} must be on one device"
        )
    if not q_TNH.dtype == keys_PSGH.dtype == values_PSGH.dtype or not q_TNH.is_floating_point():
        dtypes = ", ".join(sorted({str(x.dtype) for x in (q_TNH, keys_PSGH, values_PSGH)}))
        raise TypeError(f"q, keys and values must be of one floating dtype, got {dtypes}")
    if window is not None and not is_integer(window):
        raise TypeError(f"window must be an integer or None, got {window!r}")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1 or None, got {window}")
