"""The loop of a training, written once for models and optimizers of this package and of torch.

A framework gives the parts, and this is all that is left to write. Unusual: the gradients are clipped by this package's
own function, which takes the tensors of both.

Source: Robbins and Monro 1951, A Stochastic Approximation Method; Pascanu, Mikolov and Bengio 2013, algorithm 1
(clipping).
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from kb.arguments import is_number
from kb.autograd.clipping import clip_grad_norm_


def fit(
    model: Any,
    batches: Iterable[tuple[Any, Any]],
    loss: Callable[[Any, Any], Any],
    optimizer: Any,
    *,
    scheduler: Any = None,
    max_norm: float | None = None,
) -> list[float]:
    """Take one step for each batch.

    Args:
        model: What makes an output of the inputs.
        batches: Inputs and targets, in the order in which they are used.
        loss: Makes one number of an output and the targets, with a ``backward``.
        optimizer: Of the model's parameters.
        scheduler: Of the optimizer's learning rate, or None; stepped after each batch.
        max_norm: Of all gradients together, which are clipped to it; or None.

    Returns:
        The loss of each batch, before its step.

    Raises:
        TypeError: model or loss cannot be called.
        ValueError: ``max_norm`` is not a positive number, or the scheduler wants metrics.
    """
    for name, value in (("model", model), ("loss", loss)):
        if not callable(value):
            raise TypeError(f"{name} must be callable, got {type(value).__name__}")
    if max_norm is not None and (not is_number(max_norm) or max_norm <= 0):
        raise ValueError(f"max_norm must be a positive number or None, got {max_norm!r}")
    if scheduler is not None and "metrics" in inspect.signature(scheduler.step).parameters:
        raise ValueError(f"{type(scheduler).__name__} wants a metric in each step, which is not handed on")
    losses = []
    for inputs, targets in batches:
        optimizer.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        if max_norm is not None:
            clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(value.item())
    return losses
