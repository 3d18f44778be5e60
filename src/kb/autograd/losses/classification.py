"""Losses of a classification, whose targets are classes or probabilities of classes.

The loss of a row is a weighted sum of its logarithms. Unusual: a mean over rows, some of them ignored or weighted,
divides by the weights that took part, so it is NaN where there are none, with a gradient of 0, as in torch.

Source: Szegedy et al. 2016, Rethinking the Inception Architecture, section 7 (label smoothing).
Shapes: N rows, C classes.
"""

import math
from typing import Any

from kb.arguments import is_integer
from kb.autograd import backend, ops
from kb.autograd.arguments import array_in, require_floating, require_integers, require_real, require_within
from kb.autograd.backend import Array
from kb.autograd.losses.reduction import require_reduction
from kb.autograd.ops.elementwise import gate


def cross_entropy(
    input: Any,  # noqa: A002 - torch's name
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """-log of the probability that the softmax of logits gives to the targets.

    Args:
        input: Logits, [N, C], [C] or [N, C, ...], floating.
        target: Classes, integers in the shape of ``input`` without C; or probabilities in the shape of ``input``.
        weight: [C], a factor for each class; no gradient goes there.
        ignore_index: A class that does not count; only with classes.
        reduction: "mean", over the weights that took part (with probabilities over rows); "sum" or "none".
        label_smoothing: Share of the target that is spread evenly over all classes, from 0 to 1.

    Returns:
        One number, or with "none" one for each row.

    Raises:
        TypeError: a tensor is of the wrong kind, or of another library or dtype.
        ValueError: the shapes do not fit, a class is out of range, or an argument is.
    """
    require_real("label_smoothing", label_smoothing, least=0, most=1)
    _check_classes(input, weight, ignore_index, reduction)
    if tuple(array_in("target", target).shape) == tuple(input.shape):
        if ignore_index != -100:
            raise ValueError(f"ignore_index is for targets that are classes, not probabilities; got {ignore_index}")
        require_floating(input=input, target=target)
        rows, shape = _by_row(input)
        likely, _ = _by_row(target)
        return _of_probabilities(ops.log_softmax(rows, axis=1), likely, weight, reduction, label_smoothing, shape)
    places, shape = _targets(input, target)
    rows, _ = _by_row(input)
    logs = ops.log_softmax(rows, axis=1)
    return _of_classes(logs, places, weight, ignore_index, reduction, label_smoothing, shape)


def nll_loss(
    input: Any,  # noqa: A002
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """Minus the input at the targets, where the input is logarithms of probabilities.

    Arguments, result and errors as of :func:`cross_entropy`, with targets that are classes.
    """
    _check_classes(input, weight, ignore_index, reduction)
    places, shape = _targets(input, target)
    rows, _ = _by_row(input)
    return _of_classes(rows, places, weight, ignore_index, reduction, 0.0, shape)


def _check_classes(input: Any, weight: Any, ignore_index: int, reduction: str) -> None:  # noqa: A002
    require_reduction(reduction)
    if not is_integer(ignore_index):
        raise ValueError(f"ignore_index must be an integer, got {ignore_index!r}")
    require_floating(input=input, weight=weight)
    shape = tuple(input.shape)
    if not shape or not shape[-1 if len(shape) == 1 else 1]:
        raise ValueError(f"input must be [C], [N, C] or [N, C, ...] with at least one class, got shape {shape}")
    classes = shape[0] if len(shape) == 1 else shape[1]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(f"weight must have shape ({classes},), one for each class, got {tuple(weight.shape)}")


def _targets(input: Any, target: Any) -> tuple[Array, tuple[int, ...]]:  # noqa: A002
    """The targets in one axis, and the shape that they had."""
    places = require_integers("target", target, input)
    shape = tuple(input.shape)
    wanted = () if len(shape) == 1 else (shape[0], *shape[2:])
    if tuple(places.shape) != wanted:
        raise ValueError(f"target must have shape {wanted} for input {shape}, got {tuple(places.shape)}")
    return backend.namespace(places).reshape(places, (-1,) if math.prod(wanted) else (0,)), wanted


def _by_row(value: Any) -> tuple[Any, tuple[int, ...]]:
    """[N, C, ...] to [rows, C], and the shape without C."""
    shape = tuple(value.shape)
    if len(shape) == 1:
        return ops.reshape(value, to=(1, *shape)), ()
    rest = (shape[0], *shape[2:])
    if len(shape) > 2:
        order = (0, *range(2, len(shape)), 1)
        value = ops.reshape(ops.permute(value, order=order), to=(math.prod(rest), shape[1]))
    return value, rest


def _of_classes(
    logs: Any,
    places: Array,
    weight: Any,
    ignore_index: int,
    reduction: str,
    smoothing: float,
    shape: tuple[int, ...],
) -> Any:
    """Rows of logarithms and their classes to the loss."""
    rows, classes = logs.shape
    xp = backend.namespace(places)
    counts = places != ignore_index
    ignoring = not bool(xp.all(counts))
    if ignoring:
        places = xp.where(counts, places, 0)
    require_within("target", places, classes)
    factors = None if weight is None else array_in("weight", weight)
    losses = -ops.getitem(logs, (xp.arange(rows, device=backend.device(places)), places))
    if factors is not None:
        losses = losses * factors[places]
    if smoothing:
        spread = ops.sum(logs if factors is None else logs * factors, axis=1)
        losses = losses * (1 - smoothing) - spread * (smoothing / classes)
    if ignoring:
        losses = gate(losses, counts)
    if reduction == "none":
        return ops.reshape(losses, to=shape)
    if reduction == "sum" or (factors is None and not ignoring):
        return ops.sum(losses) if reduction == "sum" else ops.mean(losses)
    parts = xp.astype(counts, logs.dtype) if factors is None else gate(factors[places], counts)
    with backend.quiet():  # where nothing took part, 0 times infinity
        return ops.sum(losses) * (1.0 / xp.sum(parts))


def _of_probabilities(
    logs: Any, likely: Any, weight: Any, reduction: str, smoothing: float, shape: tuple[int, ...]
) -> Any:
    """Rows of logarithms and of probabilities to the loss."""
    if smoothing:
        likely = likely * (1 - smoothing) + smoothing / logs.shape[1]
    terms = logs * likely
    if weight is not None:
        terms = terms * array_in("weight", weight)
    losses = -ops.sum(terms, axis=1)
    if reduction == "none":
        return ops.reshape(losses, to=shape)
    return ops.sum(losses) if reduction == "sum" else ops.mean(losses)
