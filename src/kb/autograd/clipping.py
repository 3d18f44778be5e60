"""Clipping gradients before a step: all together by their norm, or each number by its size.

    g <- g min(1, max_norm / (norm + 1e-6)),  norm = (Σ |g_i|^p)^(1/p) over all numbers of all gradients

which keeps the direction, or g_i <- min(max(g_i, -clip_value), clip_value), which does not. Unusual: the 1e-6 is
torch's, so a clipped norm comes out a little below ``max_norm``. As the optimizers, this is written once for the arrays
of every library with the standard's interface; what a parameter is, ``kb.autograd.optim`` says.

Source: Pascanu, Mikolov and Bengio 2013, On the Difficulty of Training Recurrent Neural Networks, algorithm 1.
"""

import math
from collections.abc import Iterable
from typing import Any

from kb.autograd.backend import Array, device, namespace, quiet
from kb.autograd.optim.parameters import array_of, note_write


def get_total_norm(tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Any:
    """The norm of all numbers in some arrays or tensors, taken together.

    Args:
        tensors: One, or several of one library; of any shapes.
        norm_type: The p of the norm, positive; ``math.inf`` for the largest magnitude.
        error_if_nonfinite: Whether to refuse infinities and NaN.

    Returns:
        An array without axes, of the library, dtype and device of the first; 0.0 where there is no tensor.

    Raises:
        RuntimeError: the norm is not finite, and this was to be an error.
        TypeError: the arrays are of different libraries.
        ValueError: ``norm_type`` is not positive.
    """
    order = _require_positive("norm_type", norm_type)
    arrays = [array_of(one) for one in _listed(tensors)]
    if not arrays:
        return 0.0
    xp, first = namespace(*arrays), arrays[0]
    with quiet():
        norms = [_norm(array, order) for array in arrays if math.prod(array.shape)]
        norms = [xp.asarray(norm, dtype=first.dtype, device=device(first)) for norm in norms]
        total = _norm(xp.stack(norms), order) if norms else xp.zeros((), device=device(first))
        total = xp.asarray(total, dtype=first.dtype, device=device(first))
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(f"the gradients have norm {float(total)}, so they cannot be clipped to one")
    return total


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Any:
    """Scale all gradients, in place, by one factor, so that their norm is at most ``max_norm``.

    Args:
        parameters: One, or several; those without a gradient do not count.
        max_norm: Positive or 0; ``math.inf`` clips nothing.
        norm_type: As of :func:`get_total_norm`.
        error_if_nonfinite: Whether to refuse infinities and NaN. Else an infinite norm makes zeros (and NaN of the
            infinities), and NaN makes NaN of all.

    Returns:
        The norm before, as :func:`get_total_norm` gives it.

    Raises:
        RuntimeError, TypeError: as :func:`get_total_norm`; then nothing was scaled.
        ValueError: ``max_norm`` is negative or ``norm_type`` not positive.
    """
    most = _require_positive("max_norm", max_norm, or_zero=True)
    grads = [parameter.grad for parameter in _listed(parameters) if parameter.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    if most == math.inf or not grads:
        return total
    with quiet():
        xp = namespace(total)
        quotient = most / (total + 1e-6)
        factor = xp.where(quotient > 1.0, xp.ones_like(quotient), quotient)  # no number leaves its device for this
        for grad in grads:
            array = array_of(grad)
            array *= xp.asarray(factor, dtype=array.dtype, device=device(array))
            note_write(grad)
    return total


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Cut every number of every gradient, in place, to [-clip_value, clip_value]; NaN stays NaN.

    Args:
        parameters: One, or several; those without a gradient do not count.
        clip_value: Positive or 0.

    Raises:
        ValueError: ``clip_value`` is negative.
    """
    most = _require_positive("clip_value", clip_value, or_zero=True)
    for parameter in _listed(parameters):
        if parameter.grad is not None:
            array = array_of(parameter.grad)
            array[...] = namespace(array).clip(array, -most, most)
            note_write(parameter.grad)


def _norm(array: Array, order: float) -> Array:
    xp = namespace(array)
    if xp.finfo(array.dtype).bits == 16:  # whose squares overflow from 256 on
        array = xp.astype(array, xp.float32)
    magnitudes = xp.abs(array)
    if order == math.inf:
        return xp.max(magnitudes)
    if order == 2.0:
        return xp.sqrt(xp.sum(array * array))
    return xp.sum(magnitudes**order) ** (1.0 / order)


def _listed(given: Any) -> list[Any]:
    """One parameter or array as a list of one."""
    return list(given) if isinstance(given, Iterable) and not hasattr(given, "shape") else [given]


def _require_positive(name: str, value: Any, *, or_zero: bool = False) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not (value > 0 or (or_zero and value == 0)):
        raise ValueError(f"{name} must be a positive number{' or 0' if or_zero else ''}, got {value!r}")
    return float(value)
