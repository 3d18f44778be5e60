"""Numbers left out by chance.

Unusual: what is left out is drawn from a generator that the caller holds, so that a run can be repeated, and resumed in
the middle. A generator of NumPy leaves out the same numbers on every array library.

Source: Srivastava et al. 2014, Dropout, with the survivors scaled up in training instead of down afterwards.
"""

from typing import Any

import numpy as np

from kb.autograd import backend
from kb.autograd.arguments import array_in, require_real
from kb.autograd.backend import Array
from kb.autograd.draws import generator_for


def dropout(
    input: Any,  # noqa: A002 - torch's name
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Any = None,
) -> Any:
    """Each number left out with probability ``p``, the others divided by 1 - p, so that the mean stays.

    Args:
        input: Any shape, floating.
        p: From 0 to 1.
        training: Where False, nothing is left out.
        inplace: Whether to write the result over ``input``.
        generator: ``numpy.random.Generator`` for any array, or a ``torch.Generator`` for those of torch; if not given,
            a new one that the operating system seeds, which cannot be repeated.

    Raises:
        TypeError: ``input`` is not floating, or the generator not one that can draw for it.
        ValueError: ``p`` is not from 0 to 1.
    """
    require_real("p", p, least=0, most=1)
    array = array_in("input", input)
    if not backend.is_floating(array):
        raise TypeError(f"input must be floating, got {array.dtype}")
    if not training or p == 0:
        return input
    factors = _factors(array, p, generator_for(generator))
    if not inplace:
        return input * factors
    out = input
    out *= factors
    return out


def _factors(array: Array, p: float, generator: Any) -> Array:
    """0 with probability p, else 1 / (1 - p)."""
    xp = backend.namespace(array)
    if isinstance(generator, np.random.Generator):
        kept = backend.convert(generator.random(tuple(array.shape)) >= p, backend.library(array), backend.device(array))
    elif backend.library(array) == "torch" and hasattr(generator, "initial_seed"):
        import torch

        kept = torch.rand(array.shape, generator=generator, device=array.device, dtype=torch.float64) >= p
    else:
        kind = type(generator).__name__
        raise TypeError(f"generator must be one of NumPy, or of torch for its arrays, got {kind}")
    return xp.astype(kept, array.dtype) * (1 / (1 - p) if p < 1 else 0.0)
