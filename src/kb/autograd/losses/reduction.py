"""From a loss for each element to what is asked for, and the checks that all of these losses share."""

from typing import Any

from kb.autograd import backend, ops
from kb.autograd.arguments import require_floating


def require_reduction(reduction: str, *more: str) -> None:
    """Refuse an unknown way to reduce.

    Raises:
        ValueError: it is not "mean", "sum", "none" or one of ``more``.
    """
    known = ("mean", "sum", "none", *more)
    if reduction not in known:
        raise ValueError(f"reduction must be one of {', '.join(known)}, got {reduction!r}")


def require_alike(input: Any, target: Any, **more: Any) -> None:  # noqa: A002 - torch's name
    """Refuse tensors that cannot be compared element by element.

    Raises:
        TypeError: they are not floating, or not of one library and dtype.
        ValueError: ``target``, or one of ``more`` that is given, has another shape than ``input``.
    """
    require_floating(input=input, target=target, **more)
    for name, value in {"target": target, **more}.items():
        if value is not None and tuple(value.shape) != tuple(input.shape):
            raise ValueError(f"{name} must have the shape of input, {tuple(input.shape)}, got {tuple(value.shape)}")


def reduced(losses: Any, reduction: str, weight: Any = None) -> Any:
    """The losses themselves, their sum or their mean; weighted, the mean is over the weights."""
    if weight is not None:
        losses = losses * weight
    if reduction == "none":
        return losses
    if reduction == "sum":
        return ops.sum(losses)
    if weight is None:
        return ops.mean(losses)
    with backend.quiet():
        return ops.sum(losses) / ops.sum(weight)
