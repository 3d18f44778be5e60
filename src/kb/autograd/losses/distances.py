"""Losses of a difference: absolute, squared, and the two that are squared near 0 and absolute beyond.

Sources: Huber 1964, Robust Estimation of a Location Parameter; Girshick 2015, Fast R-CNN, equation 3 (smooth L1).
Symbols: d = input - target.
"""

from typing import Any

from kb.autograd import ops
from kb.autograd.arguments import array_in, require_real
from kb.autograd.losses.reduction import reduced, require_alike, require_reduction


def l1_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Any:  # noqa: A002 - torch's name
    """|d|.

    Args:
        input: Any shape, floating.
        target: The same shape; a target of another one is refused, where torch broadcasts with a warning.
        reduction: "mean", "sum" or "none".
        weight: A factor for each element, by whose sum a mean is divided; ones if not given.

    Returns:
        One number, or with "none" one for each element.

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: shapes differ, or ``reduction`` is unknown.
    """
    require_reduction(reduction)
    require_alike(input, target, weight=weight)
    return reduced(ops.absolute(input - target), reduction, weight)


def mse_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Any:  # noqa: A002
    """d²; arguments, result and errors as of :func:`l1_loss`."""
    require_reduction(reduction)
    require_alike(input, target, weight=weight)
    apart = input - target
    return reduced(apart * apart, reduction, weight)


def huber_loss(
    input: Any,  # noqa: A002
    target: Any,
    *,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Any = None,
) -> Any:
    """d² / 2 where |d| is at most ``delta``, else delta (|d| - delta / 2).

    Arguments, result and errors as of :func:`l1_loss`; ``delta`` must be above 0, and a mean is over the elements,
    weighted or not, as in torch.
    """
    require_reduction(reduction)
    _require_positive("delta", delta)
    require_alike(input, target, weight=weight)
    losses = _bent(input - target, delta) * delta
    return reduced(losses if weight is None else losses * weight, reduction)


def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Any:  # noqa: A002
    """d² / (2 beta) where |d| is below ``beta``, else |d| - beta / 2: the Huber loss, divided by its bend.

    Arguments, result and errors as of :func:`l1_loss`; ``beta`` must not be negative, and 0 makes it |d|.
    """
    require_reduction(reduction)
    require_real("beta", beta, least=0)
    require_alike(input, target)
    apart = input - target
    return reduced(_bent(apart, beta) if beta else ops.absolute(apart), reduction)


def _bent(apart: Any, bend: float) -> Any:
    size = ops.absolute(apart)
    far = array_in("input", size) >= bend
    near = ops.where(far, 0.0, apart)  # so that no infinity is squared, whose gradient of 0 would be NaN
    return ops.where(far, size - 0.5 * bend, near * near * (0.5 / bend))


def _require_positive(name: str, value: float) -> None:
    require_real(name, value)
    if value <= 0:
        raise ValueError(f"{name} must be above 0, got {value}")
