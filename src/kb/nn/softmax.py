"""Softmax and cross-entropy by hand: the naive forms that overflow, the stable ones, and their derivatives.

Softmax does not change when all scores shift, so the largest is taken off first and no exponential is above 1. Its
Jacobian is diag(p) - p pᵀ, a square of the vocabulary. Unusual: nobody needs that square, for its product with a vector
g is p (g - p · g); and of softmax and cross-entropy together only p - y is left.

Sources: Bridle 1990 (softmax); Szegedy et al. 2016, Rethinking the Inception Architecture, section 7 (label smoothing).
Shapes: V classes, the last axis; N rows; ``...`` any leading axes.
"""

import torch
from torch import Tensor

from kb.arguments import is_integer, is_number


def softmax_naive(x: Tensor) -> Tensor:
    """exp(x) over its sum. In float32 NaN for a score above 88.7, and for a row below -103.9 throughout."""
    _floats(x)
    powers = x.exp()
    return powers / powers.sum(-1, keepdim=True)


def softmax(x: Tensor) -> Tensor:
    """Probabilities over the last axis, [..., V]. A row of -inf alone, or with +inf, is NaN, as in torch.

    Raises:
        TypeError: ``x`` is not floating-point.
        ValueError: ``x`` has no axis, or no class.
    """
    _floats(x)
    powers = (x - x.amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def log_softmax_naive(x: Tensor) -> Tensor:
    """log(softmax(x)): -inf where the probability is too small for the dtype, although its logarithm is not."""
    return softmax(x).log()


def log_softmax(x: Tensor) -> Tensor:
    """Log probabilities over the last axis, [..., V]: x less its logarithm of the sum of exponentials."""
    _floats(x)
    shifted = x - x.amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


def softmax_jacobian_loop(p_V: Tensor) -> Tensor:
    """Reference: dp_i / dx_j = p_i (1 if i = j else 0) - p_i p_j, one entry at a time, [V, V]."""
    _floats(p_V)
    if p_V.dim() != 1:
        raise ValueError(f"p_V {tuple(p_V.shape)}: wanted [V]; softmax_jacobian takes leading axes")
    classes = len(p_V)
    jacobian = p_V.new_empty(classes, classes)
    for i in range(classes):
        for j in range(classes):
            jacobian[i, j] = p_V[i] * (float(i == j) - p_V[j])
    return jacobian


def softmax_jacobian(p: Tensor) -> Tensor:
    """diag(p) - p pᵀ of probabilities [..., V], as [..., V, V]: symmetric, its rows sum to 0, no eigenvalue below 0."""
    _floats(p)
    return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]


def softmax_vjp(p: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the scores from that of the probabilities p [..., V]: p (g - p · g), without the Jacobian."""
    _same_shape(p, grad)
    return p * (grad - (p * grad).sum(-1, keepdim=True))


def log_softmax_vjp(p: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the scores from that of the log probabilities: g - p sum(g)."""
    _same_shape(p, grad)
    return grad - p * grad.sum(-1, keepdim=True)


def smoothed_targets(target_N: Tensor, classes: int, label_smoothing: float = 0.0) -> Tensor:
    """y: 1 - s at the target, and s / V more everywhere, [N, V] float64; targets must be classes."""
    y_NV = torch.full((len(target_N), classes), label_smoothing / classes, dtype=torch.float64)
    y_NV[torch.arange(len(target_N)), target_N.cpu()] += 1 - label_smoothing
    return y_NV


def cross_entropy(
    logits_NV: Tensor,
    target_N: Tensor,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """-Σ y log p: per row with "none", [N]; or its sum, or its mean over the rows that count.

    Args:
        logits_NV: Scores, floating.
        target_N: Classes, int64.
        ignore_index: Rows with this target count for nothing; the mean of no row is NaN, as in torch.
        label_smoothing: s, from 0 to 1: that much of y is spread over all classes evenly.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: logits are not floating-point, or targets not int64.
        ValueError: shapes do not fit, a target is no class, ``label_smoothing`` or ``reduction`` is not as above.
    """
    kept_N = _check(logits_NV, target_N, ignore_index, label_smoothing, reduction)
    log_p_NV = log_softmax(logits_NV)
    safe_N = target_N.where(kept_N, 0)
    hit_N = -log_p_NV.gather(1, safe_N[:, None])[:, 0]
    loss_N = hit_N
    if label_smoothing:  # without it no class but the target's may matter: its log probability may be -inf
        loss_N = (1 - label_smoothing) * hit_N - label_smoothing * log_p_NV.mean(-1)
    loss_N = loss_N.where(kept_N, 0)
    if reduction == "none":
        return loss_N
    return loss_N.sum() / (kept_N.sum() if reduction == "mean" else 1)


def cross_entropy_backward(
    logits_NV: Tensor,
    target_N: Tensor,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The gradient of the logits, [N, V]: p - y in each row that counts, over their number for the mean, 0 elsewhere.

    With "none", the gradient of the sum. Arguments and errors as of :func:`cross_entropy`.
    """
    kept_N = _check(logits_NV, target_N, ignore_index, label_smoothing, reduction)
    y_NV = smoothed_targets(target_N.where(kept_N, 0), logits_NV.shape[1], label_smoothing).to(logits_NV)
    grad_NV = (softmax(logits_NV) - y_NV).where(kept_N[:, None], 0)
    return grad_NV / (kept_N.sum().clamp(min=1) if reduction == "mean" else 1)


def _floats(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a floating-point tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
    if x.dim() < 1 or x.shape[-1] < 1:
        raise ValueError(f"x {tuple(x.shape)}: wanted [..., V] with a class at least")


def _same_shape(p: Tensor, grad: Tensor) -> None:
    _floats(p)
    if p.shape != grad.shape:
        raise ValueError(f"p {tuple(p.shape)} and grad {tuple(grad.shape)} must be of one shape")


def _check(logits_NV: Tensor, target_N: Tensor, ignore_index: int, smoothing: float, reduction: str) -> Tensor:
    _floats(logits_NV)
    if not isinstance(target_N, Tensor):
        raise TypeError(f"target must be an int64 tensor, got {type(target_N).__name__}")
    if logits_NV.dim() != 2 or target_N.shape != logits_NV.shape[:1]:
        raise ValueError(f"logits {tuple(logits_NV.shape)}, target {tuple(target_N.shape)}: wanted [N, V] and [N]")
    if target_N.dtype != torch.int64:
        raise TypeError(f"target must be int64, got {target_N.dtype}")
    if not is_integer(ignore_index):
        raise TypeError(f"ignore_index must be an integer, got {ignore_index!r}")
    if not is_number(smoothing) or not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing must be a number of 0 to 1, got {smoothing!r}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, got {reduction!r}")
    kept_N = target_N != ignore_index
    wrong = target_N[kept_N & ((target_N < 0) | (target_N >= logits_NV.shape[1]))]
    if len(wrong):
        raise ValueError(f"target must be classes of 0 to {logits_NV.shape[1] - 1}, got {int(wrong[0])}")
    return kept_N
