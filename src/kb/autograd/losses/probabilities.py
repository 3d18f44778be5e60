"""Losses between probabilities: of yes and no, and of two distributions.

Unusual: 0 log 0 is 0 here with a gradient of 0, where torch's gradient to such a target is NaN.

Sources: Kullback and Leibler 1951, On Information and Sufficiency; for the form that does not overflow,
log(sigmoid(x)) = -softplus(-x).
"""

from typing import Any

from kb.autograd import backend, ops
from kb.autograd.arguments import array_in, require_floating
from kb.autograd.losses.reduction import reduced, require_alike, require_reduction


def binary_cross_entropy_with_logits(
    input: Any,  # noqa: A002 - torch's name
    target: Any,
    weight: Any = None,
    *,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """-(p t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x))), with t the target and p ``pos_weight``.

    Args:
        input: Logits, any shape, floating.
        target: Probabilities of yes, the same shape.
        weight: A factor for each element, broadcast to the input; a mean is over the elements all the same.
        reduction: "mean", "sum" or "none".
        pos_weight: A factor for the yes, broadcast to the input.

    Returns:
        One number, or with "none" one for each element.

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    require_reduction(reduction)
    require_alike(input, target)
    require_floating(input=input, weight=weight, pos_weight=pos_weight)
    _require_broadcast("weight", weight, input)
    _require_broadcast("pos_weight", pos_weight, input)
    yes = ops.softplus(-input)
    if pos_weight is not None:
        yes = yes * ((pos_weight - 1.0) * target + 1.0)
    losses = (1.0 - target) * input + yes
    return reduced(losses if weight is None else losses * weight, reduction)


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Any:  # noqa: A002
    """T (log t - x), with x the input, logarithms of probabilities, and t the target.

    Args:
        input: Logarithms of probabilities, any shape, floating.
        target: Probabilities, the same shape.
        reduction: "mean" over elements, "batchmean" (the sum, divided by the size of the first axis, which is what the
            divergence is), "sum" or "none".
        log_target: Whether the target is given as logarithms too.

    Returns:
        One number, or with "none" one for each element.

    Raises:
        TypeError: the tensors are not floating, or not of one library and dtype.
        ValueError: shapes differ, or ``reduction`` is unknown.
    """
    require_reduction(reduction, "batchmean")
    require_alike(input, target)
    if reduction == "batchmean" and not tuple(input.shape):
        raise ValueError("reduction 'batchmean' wants a first axis, got a single number")
    if log_target:
        losses = ops.exp(target) * (target - input)
    else:
        with backend.quiet():  # of a negative number there is no logarithm: NaN, as in torch
            known = ops.where(array_in("target", target) == 0, 1.0, target)
            losses = target * (ops.log(known) - input)
    if reduction != "batchmean":
        return reduced(losses, reduction)
    rows = input.shape[0]
    return ops.sum(losses) * (1.0 / rows if rows else float("nan"))


def _require_broadcast(name: str, value: Any, like: Any) -> None:
    if value is None:
        return
    have, wanted = tuple(value.shape), tuple(like.shape)
    padded = (1,) * (len(wanted) - len(have)) + have
    if len(padded) > len(wanted) or any(n not in (1, m) for n, m in zip(padded, wanted, strict=True)):
        raise ValueError(f"{name} {have} does not broadcast to input {wanted}")
