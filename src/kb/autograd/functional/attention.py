"""Softmax of scaled products, times values.

Unusual: a query that may look at no key gets zeros and gives no gradient, as in torch, where the formula says 0 / 0.

Source: Vaswani et al. 2017, Attention Is All You Need, equation 1; Ainslie et al. 2023 (grouped queries).
Shapes: N heads of queries, M heads of keys and values, Q queries, K keys, H head width, V width of a value.
"""

import math
from typing import Any

from kb.autograd import backend, ops
from kb.autograd.arguments import array_in, require_floating, require_real
from kb.autograd.backend import Array
from kb.autograd.functional.dropout import dropout


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    generator: Any = None,
) -> Any:
    """softmax(scale query key^T + mask) value.

    Args:
        query: [..., Q, H], floating.
        key: [..., K, H].
        value: [..., K, V].
        attn_mask: Broadcast to [..., Q, K]: booleans, True where a query may look, or numbers that are added.
        dropout_p: Probability that a weight is left out, whether in training or not.
        is_causal: Whether query i may look at keys 0 to i only; not together with a mask.
        scale: Factor of the products; 1 / sqrt(H) if not given.
        enable_gqa: Whether several heads of queries share one of keys and values: [..., N, Q, H] with [..., M, K, H],
            where M divides N.
        generator: As of :func:`kb.autograd.functional.dropout`.

    Returns:
        [..., Q, V].

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: the shapes do not fit, there are both a mask and ``is_causal``, or a number is out of range.
    """
    require_floating(query=query, key=key, value=value)
    require_real("dropout_p", dropout_p, least=0, most=1)
    if attn_mask is not None and is_causal:
        raise ValueError("attn_mask and is_causal=True cannot be given together: put the causal part into the mask")
    width = _check_shapes(query, key, value)
    if enable_gqa:
        key, value = _repeated("key", key, query), _repeated("value", value, query)
    if scale is None:
        scale = 1 / math.sqrt(width) if width else math.inf
    else:
        require_real("scale", scale)
    scores = ops.matmul(query * scale, ops.transposed(key, -2, -1))
    if is_causal:
        attn_mask = _causal(array_in("query", query), query.shape[-2], key.shape[-2])
    weights = ops.softmax(scores, axis=-1) if attn_mask is None else _masked_softmax(scores, attn_mask, is_causal)
    return ops.matmul(dropout(weights, dropout_p, generator=generator), value)


def _check_shapes(query: Any, key: Any, value: Any) -> int:
    """The head width of queries and keys."""
    shapes = [tuple(one.shape) for one in (query, key, value)]
    if min(map(len, shapes)) < 2 or shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
        raise ValueError(f"query, key and value must be [..., Q, H], [..., K, H] and [..., K, V], got {shapes}")
    return shapes[0][-1]


def _masked_softmax(scores: Any, mask: Any, is_causal: bool) -> Any:
    array = array_in("attn_mask", mask)
    xp = backend.namespace(array, array_in("scores", scores))
    wanted = tuple(scores.shape)
    padded = (1,) * (len(wanted) - array.ndim) + tuple(array.shape)
    if len(padded) > len(wanted) or any(n not in (1, m) for n, m in zip(padded, wanted, strict=True)):
        raise ValueError(f"attn_mask {tuple(array.shape)} does not broadcast to [..., Q, K], here {wanted}")
    if xp.isdtype(array.dtype, "bool"):
        scores = ops.where(array, scores, -math.inf)
    elif backend.is_floating(array):
        scores = scores + mask
    else:
        raise TypeError(f"attn_mask must be boolean or floating, got {array.dtype}")
    if is_causal or not wanted[-1]:  # each query may look at the first key at least
        return ops.softmax(scores, axis=-1)
    blind = xp.all(array_in("scores", scores) == -math.inf, axis=-1, keepdims=True)
    if not bool(xp.any(blind)):
        return ops.softmax(scores, axis=-1)
    return ops.where(blind, 0.0, ops.softmax(ops.where(blind, 0.0, scores), axis=-1))


def _causal(like: Array, queries: int, keys: int) -> Array:
    xp, where = backend.namespace(like), backend.device(like)
    return xp.arange(queries, device=where)[:, None] >= xp.arange(keys, device=where)[None, :]


def _repeated(name: str, shared: Any, query: Any) -> Any:
    """[..., M, K, H] to [..., N, K, H]."""
    shape = tuple(shared.shape)
    if len(shape) < 3 or len(query.shape) < 3:
        raise ValueError(f"enable_gqa wants an axis of heads, got query {tuple(query.shape)} and {name} {shape}")
    heads, few = query.shape[-3], shape[-3]
    if not few or heads % few:
        raise ValueError(f"enable_gqa wants heads of {name} that divide those of query, got {few} and {heads}")
    wide = ops.broadcast_to(ops.unsqueezed(shared, -3), to=(*shape[:-2], heads // few, *shape[-2:]))
    return ops.reshape(wide, to=(*shape[:-3], heads, *shape[-2:]))
